"""Two halves of what turns, joined by an op that does not mind their order: a turn half as long.

y[i] = f(x[i], x[i + n/2]) repeats after n/2 where f is symmetric, so that folding the axis keeps
the equivariance, although each half alone has lost it: sums of neighbours as of two samples
(cumulative_trapezoid), samples that are overlapped and added.
"""

from __future__ import annotations

from dataclasses import replace

from fieldwise.graph.calls import arguments
from fieldwise.graph.ir import Ref
from fieldwise.shift.proof.frame import Advanced, Frame
from fieldwise.shift.proof.layout import Dim, movers
from fieldwise.shift.proof.signal import Moving

COMMUTES = frozenset(
    "add mul multiply maximum minimum fmax fmin logaddexp logaddexp2 hypot max min".split()
)
"""Ops of two operands that do not mind their order."""


def folded(frame: Frame) -> Advanced | None:
    """What becomes of two halves of one signal that are joined; None for all else."""
    given = arguments(frame.node)
    if given.get("alpha", 1) != 1:
        return None
    items = [given.get("self"), given.get("other")]
    if not all(isinstance(item, Ref) for item in items):
        return None
    one, two = (frame.layout(item.operand) for item in items if isinstance(item, Ref))
    if len(one) != len(two) or any(len(list(movers(layout))) != 1 for layout in (one, two)):
        return None
    pairs = enumerate(zip(one, two, strict=True))
    found = tuple(_half(a, b, (frame.name, n)) for n, (a, b) in pairs)
    return None if None in found else Advanced.of(tuple(dim for dim in found if dim is not None))


def _half(one: Dim, two: Dim, origin: tuple[object, ...]) -> Dim | None:
    if not any(movers((one,))):
        return one if one == two else None
    left, right = one[0][0], two[0][0]
    if len(one) > 1 or len(two) > 1 or len(one[0]) > 1 or len(two[0]) > 1:
        return None
    if not isinstance(left, Moving) or not isinstance(right, Moving):
        return None
    same = replace(right, at=left.at, grain=left.grain) == left and left.grain == right.grain
    opposite = left.turn == 2 * left.size and (right.at - left.at) % left.turn == left.size
    if not same or not opposite or left.clean.count < left.size:
        return None
    return ((replace(left, turn=left.size, origin=origin, at=0, faults=()),),)
