"""Scalars where an op takes a dimension: torch counts them as lines of one element.

``x.cumsum(0)``, ``x.gather(0, index)`` and their like take tensors without dimensions.  A rule
sees lines there, so that it need not know of scalars; what it says is told of the scalars.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from fieldwise.axes import IndexSet
from fieldwise.capture.torch.registry import OpCall, Reads, Rule
from fieldwise.graph.ir import Along, Coord, Fixed, Read, Ref, Reshape, Separable, Whole, separable

_LINES = ("self", "input", "index", "src", "source")
_TRUE_LINES = _LINES[:3]
"""Where one of these is a scalar; ``select_scatter`` wants a scalar to write into a line."""
_ONE = (1,)
_FIRST = IndexSet(0, 1)


def reads_with_lines(rule: Rule, call: OpCall) -> Reads:
    """What a rule says of a call; scalars that torch counts as lines are lines to it."""
    if not (_counts(call.args.get("dim")) or _counts(call.args.get("dims"))):
        return rule(call)
    scalars = [name for name in _LINES if _is_scalar(call, name)]
    if not any(name in scalars for name in _TRUE_LINES):
        return rule(call)
    numbers = {call.operand(name) for name in scalars}
    shown = replace(
        call,
        args={name: _as_line(arg) if name in scalars else arg for name, arg in call.args.items()},
        operands=tuple(_ONE if n in numbers else shape for n, shape in enumerate(call.operands)),
        results=tuple(shape or _ONE for shape in call.results),
    )
    return tuple(
        tuple(
            told
            for read in reads
            if (told := _of_scalars(read, read.operand in numbers, not result)) is not None
        )
        for reads, result in zip(rule(shown), call.results, strict=True)
    )


def _is_scalar(call: OpCall, name: str) -> bool:
    return isinstance(call.args.get(name), (Ref, Tensor)) and not call.shape(name)


def _counts(dims: object) -> bool:
    """Whether an argument names a dimension."""
    return isinstance(dims, int) or (isinstance(dims, (list, tuple)) and len(dims) > 0)


def _as_line(arg: object) -> object:
    return arg.reshape(1) if isinstance(arg, Tensor) else arg


def _of_scalars(read: Read, of_scalar: bool, for_scalar: bool) -> Read | None:
    """A read of or for lines as one of or for scalars; None where it reads nothing."""
    (step, *more) = read.steps
    if of_scalar and for_scalar and not more and isinstance(step, Separable):
        found = [_reads_first(coord) for coord in step.coords]
        if None not in found:
            opened = all(0 in indices for _, indices in step.where)
            return separable(read.operand, kind=read.kind) if opened and all(found) else None
    before, after = (Reshape(),) * of_scalar, (Reshape(),) * for_scalar
    steps, shapes = (*before, *read.steps, *after), read.shapes
    shapes = (_ONE,) * of_scalar + shapes + (_ONE,) * for_scalar
    return Read(read.operand, steps, shapes, read.kind)


def _reads_first(coord: Coord) -> bool | None:
    """Whether the first index reads the first element; None where nobody knows."""
    if isinstance(coord, Whole):
        return True
    if isinstance(coord, Fixed):
        return bool(coord.indices & _FIRST)
    return 0 in coord.map(0) if isinstance(coord, Along) else None
