"""Folding tools side by side on one model: what they remove, and whether the result is right.

Weights, statistics and affine parameters are drawn at random, everything is computed in float64,
and fieldwise runs without its own verification, so that nothing but the algebra is judged and no
wrong fold can be undone.  Ops are counted as they run, by capturing the result, so that all tools
are measured alike.
"""

from __future__ import annotations

import copy
import math
import re
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

SECONDS = 600
RIGHT = 1e-9
RIGHT_IN_SINGLE = 1e-3


# ---------------------------------------------------------------------- random statistics


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw, in place, whatever initialisation leaves constant.

    BatchNorm: mean N(0, .5), var U(.3, 3), γ U(.5, 1.5), β N(0, .3).  Other parameters with one
    and the same value throughout (LayerScale, zero biases) get generic ones of that size.

    >>> norm = randomise(nn.BatchNorm2d(3))
    >>> bool((norm.running_mean != 0).all())
    True
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: set[int] = set()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(getattr(module, "running_mean", None), Tensor):
                drawn |= _draw_norm(module, generator)
        for parameter in model.parameters():
            constant = (
                parameter.ndim > 0 and parameter.numel() > 1 and parameter.is_floating_point()
            )
            if (
                id(parameter) not in drawn
                and constant
                and bool((parameter == parameter.flatten()[0]).all())
            ):
                _draw_like(parameter, generator)
    return model


def _draw_norm(norm: nn.Module, generator: torch.Generator) -> set[int]:
    def normal(tensor: Tensor, spread: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    normal(norm.running_mean, 0.5)
    uniform(norm.running_var, 0.3, 3)
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if weight is not None:
        uniform(weight, 0.5, 1.5)
    if bias is not None:
        normal(bias, 0.3)
    return {id(weight), id(bias)}


def _draw_like(parameter: Tensor, generator: torch.Generator) -> None:
    if float(parameter.flatten()[0]) == 0:
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    else:
        parameter.mul_(torch.rand(parameter.shape, generator=generator) + 0.5)


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
    possible: affine ops of any kind that our rules can fold exactly
    done:     how many of them are folded, graph module allowed
    stays:    why BatchNorm ops stay even then, with counts
    """

    spec: str
    ops: int = 0
    attempts: dict[str, Attempt] = field(default_factory=dict)
    possible: int = 0
    done: int = 0
    stays: Counter[str] = field(default_factory=Counter)
    failed: str = ""

    @property
    def dense(self) -> bool:
        """Whether its BatchNorms read a concat that grows, and that others read before it does."""
        return "densenet" in self.spec


def measure(spec: str, shape: str | None = None) -> Result:
    """All tools on one architecture; every exception is a failure with its text."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _measure(spec, shape)
    except Exception as error:  # noqa: BLE001  (a benchmark counts whatever goes wrong)
        return Result(spec, failed=_text(error))
    finally:
        signal.alarm(0)


def _give_up(*_: object) -> None:
    raise TimeoutError(f"no answer after {SECONDS} s")


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
    return Result(spec, ops, attempts, possible, report.folded, stays)


def kind(reason: str) -> str:
    """A reason without the names and numbers in it.

    >>> kind("'conv' is also read by 'a', 'b' and 3 more")
    '… is also read by …'
    """
    unnamed = re.sub(r"\(?'[^']*'\)?(, '[^']*')*( and \d+ more)?", "…", reason)
    return re.sub(r"\d+", "n", unnamed)


def random_model(spec: str, shape: str | None = None) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """An architecture with generic weights and statistics, and inputs for it, in float64.

    In float32 where its forward insists on that.
    """
    from fieldwise.capture.specs import load_model

    torch.manual_seed(0)
    loaded = load_model(spec, shape)
    assert isinstance(loaded.source, nn.Module)
    model = randomise(loaded.source).double()
    example = tuple(torch.randn(shape, dtype=torch.float64) for shape in loaded.shapes)
    try:
        outputs(model, example)
    except RuntimeError:
        return model.float(), tuple(tensor.float() for tensor in example)
    return model, example


def attempt(
    tool: Tool,
    model: nn.Module,
    example: tuple[Tensor, ...],
    expected: Sequence[Tensor],
    ops: int,
) -> Attempt:
    """One tool on a copy of the model."""
    start = time.perf_counter()
    try:
        result = tool(copy.deepcopy(model), example)
        seconds = time.perf_counter() - start
        error = difference(outputs(result, example), expected)
        limit = RIGHT if expected[0].dtype == torch.float64 else RIGHT_IN_SINGLE
        return Attempt(ops - count(result, example), error, "", round(seconds, 3), limit)
    except TimeoutError:
        raise
    except Exception as error:  # noqa: BLE001  (a benchmark counts whatever goes wrong)
        return Attempt(0, math.nan, _text(error))


def outputs(model: nn.Module, example: tuple[Tensor, ...]) -> list[Tensor]:
    """All tensors that the model returns."""
    from fieldwise.capture.torch.capture import named_tensors

    with torch.no_grad():
        return [tensor for _, tensor in named_tensors(model(*example))]


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference over the largest value, the worst over the outputs."""
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]:
        return math.inf
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-300)) for a, b in pairs)


def count(model: nn.Module, example: tuple[Tensor, ...]) -> int:
    """How many BatchNorm ops one run takes."""
    from fieldwise.capture.torch import capture

    return sum(node.op == "batch_norm" for node in capture(model, example).nodes)
