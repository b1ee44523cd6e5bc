"""What the reads of a node make of the layouts of its operands."""

from __future__ import annotations

from fieldwise.axes import IndexSet, Region, Table
from fieldwise.graph.ir import (
    Along,
    Coord,
    Fixed,
    Read,
    Reshape,
    Separable,
    Shape,
    Unknown,
    Whole,
)
from fieldwise.graph.treatment import Treatment
from fieldwise.shift.proof.combine import joined, reshaped
from fieldwise.shift.proof.constants import is_mixed
from fieldwise.shift.proof.frame import Advanced, Frame, check_read_whole
from fieldwise.shift.proof.guards import is_window, joined_dim
from fieldwise.shift.proof.layout import (
    Dim,
    Layout,
    movers_of,
    moves,
    read_along,
    stays,
    uniform,
)
from fieldwise.shift.proof.reasons import ORDERED, PICKED, ordered
from fieldwise.shift.proof.rules.spectra import check_zeros, is_spectral
from fieldwise.shift.proof.signal import BreaksError, Fault, Moving, length

Guard = dict[int, IndexSet]
"""Per result dimension the indices at which a read is at work; all where it says nothing."""

_PARTS = 64


def from_reads(frame: Frame, treatment: Treatment, *, mixed: bool | None = None) -> Advanced:
    """What the reads of all operands make together."""
    guards: list[Guard] = []
    layouts: list[Layout] = []
    periods: list[int] = []
    for read in frame.node.reads[frame.position]:
        made, parts = _of_read(frame, treatment, read)
        layouts += [made.layout] * len(parts)
        guards += parts
        periods.append(made.period)
    if any(guards) and is_spectral(frame):
        guards = check_zeros(frame, layouts, guards)
    if mixed is None:
        mixed = any(guards) and is_mixed(frame)
    driven = _driven(frame, treatment)
    layout = tuple(
        joined_dim(frame, layouts, guards, dim, mixed=mixed)
        if dim in driven or treatment.repeats
        else stays(size)
        for dim, size in enumerate(frame.result)
    )
    return Advanced.of(layout, *periods)


def _of_read(frame: Frame, treatment: Treatment, read: Read) -> tuple[Advanced, list[Guard]]:
    """What one read makes, and of which indices of the result: of those in any of the guards."""
    made, guards = Advanced(frame.layout(read.operand), frame.period), [Guard()]
    before = frame.graph.shape(frame.node.operands[read.operand])
    for step, old, new in read.forward(before, frame.result):
        if isinstance(step, Reshape):
            made = Advanced.of(reshaped(made.layout, old, new, frame.explainer), made.period)
            guards = [part for guard in guards for part in _regrouped(guard, old, new)]
        else:
            after = separable_step(frame, treatment, made.layout, step, (old, new))
            made = Advanced.of(after.layout, after.period, made.period)
            guards = [_carried(guard, step, (old, new)) for guard in guards]
            if treatment.constants == "broadcast":
                guards = [Guard()]
    return made, guards


def _regrouped(guard: Guard, before: Shape, after: Shape) -> list[Guard]:
    """The guards that together let through, in another shape, what one does."""
    if not guard:
        return [guard]
    sides = tuple(guard.get(dim, IndexSet.range(0, size)) for dim, size in enumerate(before))
    found = Region.of([sides]).reshape(before, after).disjoint()
    if len(found) > _PARTS:
        raise BreaksError(Fault("it writes in too many places to look at each", known=False))
    return [
        {
            dim: side
            for dim, (side, size) in enumerate(zip(product, after, strict=True))
            if side.count < size
        }
        for product in found
    ]


def _carried(guard: Guard, step: Separable, shapes: tuple[Shape, Shape]) -> Guard:
    """The guard after a step, whose own there is besides.

    Raises BreaksError where a guarded dimension is read in another order.
    """
    found = dict(step.where)
    for dim, side in guard.items():
        coord = step.coords[dim]
        if not isinstance(coord, Along) or not coord.keeps(shapes[0][dim], shapes[1][coord.dim]):
            raise BreaksError(Fault("it reads on where only some indices are read", known=False))
        found[coord.dim] = side & found.get(coord.dim, side)
    return found


def _driven(frame: Frame, treatment: Treatment) -> set[int]:
    """The dimensions of the result along which some operand is read at other places."""
    found: set[int] = set()
    for read in frame.node.reads[frame.position]:
        before = frame.graph.shape(frame.node.operands[read.operand])
        step, old, new = read.forward(before, frame.result)[-1]
        if isinstance(step, Reshape):
            return set(range(len(frame.result)))
        kept = treatment.whole == "kept" and old == new
        for number, coord in enumerate(step.coords):
            if isinstance(coord, Along):
                found.add(coord.dim)
            elif isinstance(coord, Whole) and kept:
                found.add(number)
    return found


def separable_step(
    frame: Frame, treatment: Treatment, layout: Layout, step: Separable, shapes: tuple[Shape, Shape]
) -> Advanced:
    """What one step of a read makes, between values of these two shapes.

    Raises BreaksError where what moves is read in a way that does not follow.
    """
    after, periods = shapes[1], list[int]()
    dims: dict[int, Dim] = {}
    for number, (dim, coord) in enumerate(zip(layout, step.coords, strict=True)):
        along = _followed(frame, treatment, dim, coord, number, shapes)
        if along is None:
            continue
        if (period := _pools_all(treatment, dim, along, after[along.dim])) is not None:
            periods.append(period)
            continue
        new = read_along(dim, along, after[along.dim], frame.explainer, averages=treatment.averages)
        known = dims.get(along.dim)
        dims[along.dim] = new if known is None else joined(known, new, frame.explainer, along.dim)
    layout = tuple(dims.get(dim, uniform(size)) for dim, size in enumerate(after))
    return Advanced.of(layout, *periods)


def _pools_all(treatment: Treatment, dim: Dim, along: Along, after: int) -> int | None:
    """The least shift after which the only window of a symmetric op holds the same samples.

    A pool as wide as the axis holds them after every shift; one with gaps, after shifts by a gap.
    None for all else.
    """
    if treatment.whole != "symmetric" or after != 1 or not dim:
        return None
    window = dim[0][0]
    if not isinstance(window, Moving):
        return None
    size, read = window.size, along.map(0)
    if not is_window(dim) or not window.whole or window.turn != size or read.clip(size) != read:
        return None
    gap = next(by for by in range(1, size + 1) if read.shift(by).modulo(size) == read)
    return None if gap == size else (window.rate / gap).denominator


def _followed(
    frame: Frame,
    treatment: Treatment,
    dim: Dim,
    coord: Coord,
    number: int,
    shapes: tuple[Shape, Shape],
) -> Along | None:
    """The result dimension that an operand dimension drives; None for one that is gone.

    Raises BreaksError where it moves and is read in a way that does not follow.
    """
    if isinstance(coord, Along):
        if isinstance(coord.map, Table) and frame.node.op in ORDERED and moves(dim):
            raise BreaksError(ordered(frame.node))
        return coord
    if isinstance(coord, Whole) and treatment.whole == "kept" and shapes[0] == shapes[1]:
        check_read_whole(dim)
        return Along(number)
    if not moves(dim):
        return None
    if isinstance(coord, Whole):
        if treatment.whole == "ordered":
            raise BreaksError(ordered(frame.node))
        check_read_whole(dim)
    elif isinstance(coord, Fixed):
        _check_fixed(dim, coord.indices)
    elif isinstance(coord, Unknown):
        raise BreaksError(Fault(coord.why, known=False))
    return None


def _check_fixed(dim: Dim, indices: IndexSet) -> None:
    """Fixed indices may lie in parts that do not move (a class token)."""
    start = 0
    for part in dim:
        here = IndexSet.range(start, start + length(part))
        if moves((part,)) and not indices.isdisjoint(here):
            raise BreaksError(
                PICKED,
                *(fault for moving in movers_of((part,)) for _, fault in moving.faults),
            )
        start += length(part)
