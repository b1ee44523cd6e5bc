"""Folding tools side by side on one model: what they remove, and whether the result is right.

Weights, statistics and affine parameters are drawn at random, everything is computed in float64,
and fieldwise runs without its own verification, so that nothing but the algebra is judged and no
wrong fold can be undone.  Ops are counted as they run, by capturing the result, so that all tools
are measured alike.
"""

from __future__ import annotations

import copy
import json
import math
import re
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from itertools import pairwise

import torch
from fold_subjects import (
    RIGHT,
    RIGHT_IN_SINGLE,
    count,
    difference,
    outputs,
    random_model,
)
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

SECONDS_PER_TOOL = 180


# ------------------------------------------------------------------------------ the tools

Tool = Callable[[nn.Module, tuple[Tensor, ...]], nn.Module]


def by_fieldwise(model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
    """Folding in the modules of the model."""
    from fieldwise import fold

    return fold(model, example, verify=False).model


def by_fieldwise_graph(model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
    """Folding in a graph module where the modules cannot carry it."""
    from fieldwise import fold

    return fold(model, example, verify=False, allow_graph=True).model


def by_fx(model: nn.Module, _: tuple[Tensor, ...]) -> nn.Module:
    """PyTorch's own, on a symbolic trace."""
    from torch.fx.experimental.optimization import fuse

    return fuse(model)


def by_adjacency(model: nn.Module, _: tuple[Tensor, ...]) -> nn.Module:
    """What many scripts do: fold neighbours in the order of definition."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    result = copy.deepcopy(model)
    leaves = [
        (path, module)
        for path, module in result.named_modules()
        if isinstance(module, _BatchNorm) or not list(module.children())
    ]
    for (path, conv), (norm_path, norm) in pairwise(leaves):
        convolves = isinstance(conv, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        if convolves and isinstance(norm, _BatchNorm) and conv.out_channels == norm.num_features:
            _put(result, path, fuse_conv_bn_eval(conv, norm))
            _put(result, norm_path, nn.Identity())
    return result


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def by_torchao(model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
    """The folding step of pt2e quantisation, on an exported program."""
    from torchao.quantization.pt2e.utils import _fuse_conv_bn_

    exported = torch.export.export(model, example).module()
    _fuse_conv_bn_(exported)
    return exported


def tools() -> dict[str, Tool]:
    """By name; torchao only where it is installed."""
    found: dict[str, Tool] = {
        "fieldwise": by_fieldwise,
        "fieldwise, graph": by_fieldwise_graph,
        "torch.fx": by_fx,
        "adjacency": by_adjacency,
    }
    if find_spec("torchao"):
        found["torchao"] = by_torchao
    return found


# -------------------------------------------------------------------------- one measurement


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one tool made of one model.

    removed: BatchNorm ops that no longer run
    error:   of the outputs, relative to the largest; NaN where the result does not run
    failed:  the error that the tool or its result raised
    limit:   the largest error of a right model
    """

    removed: int = 0
    error: float = 0.0
    failed: str = ""
    seconds: float = 0.0
    limit: float = RIGHT

    @property
    def wrong(self) -> bool:
        """It gave a model, and that model computes something else."""
        return not self.failed and not self.error <= self.limit


@dataclass(frozen=True, slots=True)
class Result:
    """One model under all tools.

    ops:      BatchNorm ops in one run
    possible: affine ops of any kind and parallel branches that our rules can fold exactly
    done:     how many of them are folded, graph module allowed
    merged:   how many of those are branches
    stays:    why BatchNorm ops stay even then, with counts
    """

    spec: str
    ops: int = 0
    attempts: dict[str, Attempt] = field(default_factory=dict)
    possible: int = 0
    done: int = 0
    merged: int = 0
    stays: dict[str, int] = field(default_factory=dict)
    failed: str = ""

    @classmethod
    def from_json(cls, text: str) -> Result:
        """What ``to_json`` wrote."""
        held = json.loads(text)
        attempts = {name: Attempt(**tried) for name, tried in held.pop("attempts").items()}
        return cls(**held, attempts=attempts)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @property
    def dense(self) -> bool:
        """Whether its BatchNorms read a concat that grows, and that others read before it does."""
        return "densenet" in self.spec


def measure(spec: str, shape: str | None = None) -> Result:
    """All tools on one architecture; every exception is a failure with its text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _measure(spec, shape)
    except Exception as error:  # noqa: BLE001  (a benchmark counts whatever goes wrong)
        return Result(spec, failed=_text(error))


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _measure(spec: str, shape: str | None) -> Result:
    from fieldwise import fold

    torch.set_num_threads(1)
    model, example = random_model(spec, shape)
    expected = outputs(model, example)
    ops = count(model, example)
    attempts = {
        name: attempt(tool, model, example, expected, ops) for name, tool in tools().items()
    }
    possible = fold(model, example, verify=False).report.exact_possible
    report = fold(model, example, verify=False, allow_graph=True).report
    stays = Counter(
        kind(item.because or "")
        for item in report.items
        if item.op == "batch_norm" and not item.folded
    )
    merged = sum(item.folded and item.op in BRANCHES for item in report.items)
    return Result(spec, ops, attempts, possible, report.folded, merged, dict(stays))


BRANCHES = ("conv", "add", "sub")


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError where Python gets control again after so many seconds."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"no answer after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def kind(reason: str) -> str:
    """A reason without the names and numbers in it.

    >>> kind("'conv' is also read by 'a', 'b' and 3 more")
    '… is also read by …'
    """
    unnamed = re.sub(r"\(?'[^']*'\)?(, '[^']*')*( and \d+ more)?", "…", reason)
    return re.sub(r"\d+", "n", unnamed)


def attempt(
    tool: Tool,
    model: nn.Module,
    example: tuple[Tensor, ...],
    expected: Sequence[Tensor],
    ops: int,
) -> Attempt:
    """One tool on a copy of the model; an error, or no end, is an answer too."""
    start = time.perf_counter()
    try:
        with limited(SECONDS_PER_TOOL):
            result = tool(copy.deepcopy(model), example)
            seconds = time.perf_counter() - start
            error = difference(outputs(result, example), expected)
            limit = RIGHT if expected[0].dtype == torch.float64 else RIGHT_IN_SINGLE
            return Attempt(ops - count(result, example), error, "", round(seconds, 3), limit)
    except Exception as error:  # noqa: BLE001  (a benchmark counts whatever goes wrong)
        return Attempt(0, math.nan, _text(error))
