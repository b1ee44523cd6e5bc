"""What several reads make of a result together, where some are read for some indices only.

A guard may restrict several dimensions at once (a block that is written into another one).  Along
one dimension it is therefore looked at every *cell* of the others by itself: a set of their
indices for which the same reads are at work.  A dimension moves if it does so in every cell.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import product
from math import lcm
from operator import and_

from fieldwise.axes import IndexSet
from fieldwise.graph.calls import constants_of
from fieldwise.shift.proof.combine import joined
from fieldwise.shift.proof.frame import Frame
from fieldwise.shift.proof.layout import (
    Dim,
    Layout,
    cropped,
    has_spectrum,
    is_uniform,
    movers_of,
    moves,
    period_of,
    size_of,
    stays,
    uniform,
)
from fieldwise.shift.proof.signal import BreaksError, DigitGroup, Fault, Moving, with_faults
from fieldwise.shift.proof.windows import side_by_side

GuardSets = Mapping[int, IndexSet]
_CELLS = 256


def joined_dim(
    frame: Frame, layouts: Sequence[Layout], guards: Sequence[GuardSets], dim: int, *, mixed: bool
) -> Dim:
    """One dimension of the result from what every read makes of it.

    guards: per read, the indices of result dimensions for which it is at work
    mixed:  whether constants stand where no read is at work

    Raises BreaksError where the reads do not move alike.
    """
    size = frame.result[dim]
    dims = [layout[dim] for layout in layouts]
    if not dims:
        return stays(size)
    if not any(map(moves, dims)):
        return _still(dims, size, everywhere=all(dim not in guard for guard in guards))
    if any(map(has_spectrum, dims)):
        return _all_joined(frame, [one for one in dims if has_spectrum(one)], dim)
    if not any(guards):
        return _all_joined(frame, dims, dim)
    found: Dim | None = None
    for active in _cells(guards, dim, frame.result):
        here = [guards[n].get(dim) for n in active]
        new = _in_cell(frame, [dims[n] for n in active], here, dim, mixed=mixed)
        found = new if found is None else joined(found, new, frame.explainer, dim)
    return stays(size) if found is None else found


def _still(dims: Sequence[Dim], size: int, *, everywhere: bool) -> Dim:
    if everywhere and len(set(dims)) == 1:
        return dims[0]
    return stays(size)


def _cells(guards: Sequence[GuardSets], dim: int, shape: Sequence[int]) -> Iterator[list[int]]:
    """The reads at work together, for all indices of the other dimensions."""
    others = sorted({other for guard in guards for other in guard} - {dim})
    patterns = [_patterns(guards, other, shape[other]) for other in others]
    every, seen = (1 << len(guards)) - 1, set[int]()
    for count, choice in enumerate(product(*patterns)):
        if count >= _CELLS:
            raise BreaksError(Fault("it writes in too many places to look at each", known=False))
        active = reduce(and_, choice, every)
        if active and active not in seen:
            seen.add(active)
            yield list(IndexSet(0, active))


def _patterns(guards: Sequence[GuardSets], dim: int, size: int) -> Iterable[int]:
    """Which reads are at work at an index of a dimension, as bit masks, every combination once."""
    here = [guard.get(dim) for guard in guards]
    return dict.fromkeys(_at_work(here, _starts(here, size)))


def _at_work(guards: Sequence[IndexSet | None], starts: Sequence[int]) -> list[int]:
    """Per stretch the reads at work in it, as a bit mask; ``starts``: where the stretches begin."""
    free = sum(1 << number for number, guard in enumerate(guards) if guard is None)
    masks = [free] * len(starts)
    for number, guard in enumerate(guards):
        for first, stop in () if guard is None else guard.runs():
            for place in range(bisect_left(starts, first), bisect_left(starts, stop)):
                masks[place] |= 1 << number
    return masks


def _starts(guards: Iterable[IndexSet | None], size: int) -> list[int]:
    """The indices at which a stretch begins whose indices are in the same guards."""
    ends = (end for guard in guards if guard is not None for run in guard.runs() for end in run)
    return sorted({0, *(end for end in ends if 0 < end < size)})


def _in_cell(
    frame: Frame,
    dims: Sequence[Dim],
    guards: Sequence[IndexSet | None],
    place: int,
    *,
    mixed: bool,
) -> Dim:
    if all(guard is None for guard in guards):
        return _all_joined(frame, dims, place)
    runs = _runs(guards, frame.result[place])
    if not mixed and (periodic := _interleaved(frame, dims, guards, place)) is not None:
        return periodic
    explain = frame.explainer.about()
    parts: list[DigitGroup] = []
    for start, stop, readers in runs:
        pieces = [cropped(dims[n], start, stop, explain) for n in readers]
        name = place + len(frame.result) * (start + 1)
        parts += _all_joined(frame, pieces, name) if pieces else _blank(frame, stop - start)
    return side_by_side(parts, explain)


def _blank(frame: Frame, size: int) -> Dim:
    """Places at which no read is at work: alike, where no constants but one fill stand there."""
    source = frame.node.source
    return stays(size) if source is None or constants_of(source) else uniform(size)


def _all_joined(frame: Frame, dims: Sequence[Dim], place: int) -> Dim:
    found = dims[0]
    for other in dims[1:]:
        found = joined(found, other, frame.explainer, place)
    return found


def _runs(guards: Sequence[IndexSet | None], size: int) -> list[tuple[int, int, list[int]]]:
    """Stretches that the same reads read."""
    starts = _starts(guards, size)
    masks = _at_work(guards, starts)
    return [
        (start, stop, list(IndexSet(0, mask)))
        for start, stop, mask in zip(starts, [*starts[1:], size], masks, strict=True)
    ]


def _interleaved(
    frame: Frame, dims: Sequence[Dim], guards: Sequence[IndexSet | None], place: int
) -> Dim | None:
    """Reads that take turns with a period: the result moves by multiples of it."""
    if not all(map(is_window, dims)) or not any(map(moves, dims)):
        return None
    size = size_of(dims[0])
    labels = _at_work(guards, range(size))
    try:
        found = _all_joined(frame, [dim for dim in dims if moves(dim)], place)
    except BreaksError:
        return None
    ((digit,),) = found
    assert isinstance(digit, Moving)
    step = abs(digit.step(lcm(frame.period, period_of((found,)))))
    for by in range(step, size // 2 + 1, step):
        around = not digit.whole or all(labels[i - by] == labels[i] for i in range(by))
        if around and labels[by:] == labels[:-by]:
            turn = None if digit.turn is None else lcm(digit.turn, by)
            origin = (frame.name, place)
            clean = _clean(dims, guards, size)
            new = replace(
                digit, grain=lcm(digit.grain, by), turn=turn, origin=origin, at=0, clean=clean
            )
            return ((with_faults(new, movers_of(found), frame.explainer.about()),),)
    return None


def is_window(dim: Dim) -> bool:
    """Whether a dimension is uniform, or one window."""
    if is_uniform(dim):
        return True
    return len(dim) == 1 and len(dim[0]) == 1 and isinstance(dim[0][0], Moving)


def _clean(dims: Sequence[Dim], guards: Sequence[IndexSet | None], size: int) -> IndexSet:
    """The positions where whatever is read is clean."""
    clean = IndexSet.range(0, size)
    for dim, guard in zip(dims, guards, strict=True):
        for moving in movers_of(dim):
            everywhere = IndexSet.range(0, size)
            clean = clean & (moving.clean if guard is None else moving.clean | everywhere - guard)
    return clean
