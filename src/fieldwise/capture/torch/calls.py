"""Calls that can be executed again: functional twins of in-place ops, and writes through views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldwise.graph.ir import Call, Ref


@dataclass(frozen=True, slots=True)
class OutOfPlace:
    """An in-place op that leaves its arguments alone: it writes to copies and returns them."""

    op: Callable[..., Any]
    written: tuple[int, ...]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
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
        view_of(self.view, whole).copy_(value)
        return whole


def view_of(view: Call, base: Tensor) -> Tensor:
    """The view op of a call, applied to another base."""
    args = [base if isinstance(arg, Ref) else arg for arg in view.args]
    found = view.target(*args, **view.kwargs)
    assert isinstance(found, Tensor)
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """One of the results of a view op that has several (split, unbind)."""

    op: Callable[..., Any]
    position: int

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """That result alone."""
        return self.op(*args, **kwargs)[self.position]


def constant(value: Tensor) -> Tensor:
    """The value itself, as a call."""
    return value


def functional(func: Any, writes: Sequence[str]) -> Any:
    """The op that computes what an in-place op writes; the op itself where it writes nothing."""
    if not writes:
        return func
    name = func._schema.name.split("::")[1]
    namespace = getattr(torch.ops, func.namespace)
    packet = getattr(namespace, name.removesuffix("_"), None) if name.endswith("_") else None
    twin = getattr(packet, func._overloadname, None) if packet is not None else None
    if twin is not None and len(twin._schema.arguments) == len(func._schema.arguments):
        return twin
    names = [argument.name for argument in func._schema.arguments]
    return OutOfPlace(func, tuple(names.index(write) for write in writes))
