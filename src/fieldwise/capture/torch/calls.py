"""Calls that can be executed again: functional twins of in-place ops, and writes through views."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from fieldwise.capture.torch.overloads import TorchOp, out_of_place, results_of
from fieldwise.capture.torch.results import run_on_meta
from fieldwise.graph.calls import replay
from fieldwise.graph.ir import Args, Call, Kwargs


@dataclass(frozen=True, slots=True)
class OutOfPlace:
    """An in-place op that leaves its arguments alone: it writes to copies and returns them."""

    op: Callable[..., object]
    written: tuple[int, ...]

    def __call__(self, *args: Any, **kwargs: object) -> object:
        """Run the op on copies of what it writes to."""
        copied = [a.clone() if n in self.written else a for n, a in enumerate(args)]
        return self.op(*copied, **kwargs)


@dataclass(frozen=True, slots=True)
class WriteThrough:
    """A base with a view of it overwritten: ``shape`` makes the base where all is overwritten."""

    view: Call
    shape: tuple[int, ...]

    def __call__(self, value: Tensor, base: Tensor | None = None) -> Tensor:
        """The base with ``value`` in place of the view."""
        whole = value.new_empty(self.shape) if base is None else base.contiguous().clone()
        (view,) = replay(self.view, [whole])
        view.copy_(value)
        return whole


@dataclass(frozen=True, slots=True)
class ResultPart:
    """One of the results of a view op that has several (split, unbind)."""

    op: Callable[..., Sequence[object]]
    position: int

    def __call__(self, *args: Any, **kwargs: object) -> object:
        """That result alone."""
        return self.op(*args, **kwargs)[self.position]


def constant(value: Tensor) -> Tensor:
    """The value itself, as a call."""
    return value


def functional(op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> Callable[..., object]:
    """The op that computes what an in-place op writes; the op itself where it writes nothing.

    args, kwargs: of the call, on the meta device
    """
    if not op.writes:
        return func
    twin = out_of_place(func)
    if twin is not None and _keeps_dtypes(op, twin, args, kwargs):
        return twin
    return OutOfPlace(func, tuple(op.arguments.index(name) for name in op.writes))


def _keeps_dtypes(op: TorchOp, twin: OpOverload, args: Args, kwargs: Kwargs) -> bool:
    """Whether a twin's results are of the dtypes of what the op writes to.

    Of numbers the twin of a comparison makes booleans, and that of a sum the wider of two dtypes.
    """
    try:
        made = results_of(run_on_meta(twin, args, kwargs))
    except (NotImplementedError, RuntimeError):
        return False
    return [one.dtype for one in made] == [one.dtype for one in op.written(args, kwargs)]


# -------------------------------------------------------------------- pickled calls


def _operator(name: str) -> object:
    """The operator of torch of this name, as 'aten.conv2d.default'."""
    return attrgetter(name)(torch.ops)


def _by_name(operator: torch._ops.OpOverload) -> Any:
    return _operator, (str(operator),)


# torch gives its operators no pickle; the calls of a graph, and so the reports, hold them.
copyreg.pickle(torch._ops.OpOverload, _by_name)
