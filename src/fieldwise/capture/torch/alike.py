"""Calls that are alike: what was found of one holds for all.

Networks repeat their layers, and a network is analysed again and again.  What a call reads and how
its results lie in memory follow from the op, the layouts of its tensors and its other arguments,
so that both are worked out once per process.  A rule that looked at the values of a constant is
asked again each time, and so is one from elsewhere, which may look in ways that nobody notes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from fieldwise.capture.torch.memory import storage_key
from fieldwise.capture.torch.registry import Reads, Rule
from fieldwise.graph.ir import Args, Kwargs, Ref, Shape
from fieldwise.remembered import Remembered

TensorLayout = tuple[Hashable, ...]
"""Of a tensor among the arguments: its operand number, shape, strides, dtype; see ``layout_of``."""
_CONSTANT = -1
_OURS = f"{__name__.partition('.')[0]}."
META = torch.device("meta")


@dataclass(frozen=True, slots=True)
class KnownCall:
    """What is the same of all calls that are alike.

    op:      its canonical name
    target:  what a recorded call of them runs
    reads:   per result, how it reads the operands
    types:   shape and dtype of every result
    layouts: of the results where these are new memory, else None: they are views, or written to
    sequence: what holds the results; None where the only result is returned as it is
    """

    op: str
    target: Callable[..., object]
    reads: Reads
    types: tuple[tuple[Shape, str], ...]
    layouts: tuple[tuple[Shape, tuple[int, ...], torch.dtype], ...] | None
    sequence: type | None

    def made(self) -> object:
        """New results on the meta device."""
        assert self.layouts is not None
        results = (
            torch.empty_strided(shape, strides, dtype=dtype, device=META)
            for shape, strides, dtype in self.layouts
        )
        return next(results) if self.sequence is None else self.sequence(results)


CALLS = Remembered[KnownCall](most=1 << 14)
"""What is known of calls by what they have in common (``key_of``)."""


def layout_of(tensor: Tensor, operand: int | None = None) -> TensorLayout | None:
    """What a call's results depend on of an operand, or of a constant; None of an odd tensor."""
    if type(tensor) not in _PLAIN or tensor.layout is not torch.strided or tensor.is_complex():
        return None
    if operand is not None:
        return operand, tensor.shape, tensor.stride(), tensor.dtype
    return _CONSTANT, tensor.shape, tensor.stride(), tensor.dtype, tensor.requires_grad


_PLAIN = (Tensor, nn.Parameter)


def new_memory(
    results: Sequence[Tensor], shared: Callable[[Tensor], object]
) -> tuple[tuple[Shape, tuple[int, ...], torch.dtype], ...] | None:
    """The layouts of results, if each is new memory of its own; else None.

    shared: what else looks at a tensor's memory, or None
    """
    owners = {storage_key(result) for result in results}
    if len(owners) < len(results) or any(shared(result) is not None for result in results):
        return None
    if any(layout_of(result) is None or result.storage_offset() for result in results):
        return None
    return tuple((tuple(r.shape), r.stride(), r.dtype) for r in results)


def key_of(
    func: OpOverload,
    rule: Rule | None,
    layouts: Sequence[TensorLayout | None],
    args: Args,
    kwargs: Kwargs,
    *surroundings: Hashable,
) -> Hashable | None:
    """What calls have in common that are alike; None for one that is like no other.

    An op from elsewhere may be described anew at any time, and a rule from elsewhere may look at
    constants in ways that nobody notes.
    """
    if func.namespace != "aten" or None in layouts:
        return None
    if _is_foreign(rule) and any(layout[0] == _CONSTANT for layout in layouts if layout):
        return None
    try:
        spelled = tuple(map(_spelled, args))
        named = tuple((name, _spelled(value)) for name, value in kwargs.items()) if kwargs else ()
    except _UnlikeOthersError:
        return None
    return func, rule, spelled, named, torch.get_default_dtype(), surroundings, *layouts


def _is_foreign(rule: Rule | None) -> bool:
    return rule is not None and not rule.__module__.startswith(_OURS)


class _UnlikeOthersError(Exception):
    """An argument of no type that is known here."""


def _spelled(value: object) -> Hashable:
    """An argument as part of a key: 1, 1.0 and True differ, and tensors are not told apart."""
    kind = type(value)
    if kind is int or value is None:
        return value
    if kind is Ref or isinstance(value, Tensor):
        return Ref
    if kind in (list, tuple):
        return tuple(map(_spelled, value))  # type: ignore[call-overload]
    if kind in _SCALARS:
        return kind, value
    raise _UnlikeOthersError


_SCALARS = frozenset(
    (bool, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format)
)
