"""One step of the proof: how the result of a node moves, given how its operands do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import lcm
from typing import Any

from fieldwise.axes import IndexSet, Table
from fieldwise.graph.calls import arguments, is_tensor, op_name
from fieldwise.graph.ir import (
    Along,
    Coord,
    Fixed,
    Ref,
    Reshape,
    Separable,
    Shape,
    Unknown,
    Whole,
    step_shapes,
)
from fieldwise.shift.combine import joined, reshaped
from fieldwise.shift.constants import Constant, checked, constant, tensors
from fieldwise.shift.contract import Frame, contracted, read_whole
from fieldwise.shift.layout import (
    Dim,
    Layout,
    cropped,
    is_uniform,
    length,
    movers_of,
    moves,
    period_of,
    read_along,
    size_of,
    stays,
    uniform,
)
from fieldwise.shift.moving import BreaksError, Fault, Moving, Part, Still, blamed, side_by_side
from fieldwise.shift.reasons import ORDERED, ordered, undescribed, varies
from fieldwise.shift.spectral import check_phases, is_spectral, transformed
from fieldwise.shift.treatment import CONTRACTIONS, TABLE, Treatment

Guard = IndexSet | None


def advanced(frame: Frame) -> Layout:
    """The layout of a node's result, of whose operands some move.

    Raises BreaksError with the reason where nothing can be said of it.
    """
    op = frame.node.op
    if is_spectral(frame):
        check_phases(frame)
    if op == "fft":
        return transformed(frame)
    if op in CONTRACTIONS:
        return contracted(frame)
    treatment = TABLE.get(op)
    if treatment is None or (treatment.results or 99) <= frame.position:
        raise BreaksError(undescribed(op))
    if op == "dropout" and _is_random(frame):
        raise BreaksError(Fault("dropout is active", "call model.eval()"))
    layout = _from_reads(frame, treatment)
    if treatment.channels and moves(layout[_channel(frame)]):
        raise BreaksError(ordered(op))
    return _with_constants(frame, treatment, layout)


def _is_random(frame: Frame) -> bool:
    given = arguments(frame.node)
    return bool(given.get("train", given.get("training", False))) and given.get("p") != 0


def _channel(frame: Frame) -> int:
    """The dimension whose positions have weights of their own."""
    given, rank = arguments(frame.node), len(frame.result)
    name = op_name(frame.node)
    if name == "conv_tbc" or "batch_first" in given:
        return rank - 1
    if frame.node.op.startswith("conv") and isinstance(given.get("stride"), (list, tuple)):
        weight = given["weight"]
        spatial = (
            len(frame.graph.shape(frame.node.operands[weight.operand]))
            if isinstance(weight, Ref)
            else len(weight.shape)
        ) - 2
        return rank - spatial - 1
    return min(1, rank - 1)


# -------------------------------------------------------------------- reads


def _from_reads(frame: Frame, treatment: Treatment) -> Layout:
    """What the reads of all operands make together."""
    guards: list[dict[int, IndexSet]] = []
    layouts: list[Layout] = []
    for read in frame.node.reads[frame.position]:
        layout = frame.layout(read.operand)
        before = frame.graph.shape(frame.node.operands[read.operand])
        guard: dict[int, IndexSet] = {}
        for step, (old, new) in zip(
            read.steps, step_shapes(read, before, frame.result), strict=True
        ):
            if isinstance(step, Reshape):
                layout, guard = reshaped(layout, old, new, frame.voice), {}
            else:
                layout = _separable(frame, treatment, layout, step, (old, new))
                guard = {} if treatment.constants == "broadcast" else dict(step.where)
            frame.met.append(period_of(layout))
        layouts.append(layout)
        guards.append(guard)
    return tuple(_joined_dim(frame, layouts, guards, dim) for dim in range(len(frame.result)))


def _separable(
    frame: Frame, treatment: Treatment, layout: Layout, step: Separable, shapes: tuple[Shape, Shape]
) -> Layout:
    after = shapes[1]
    dims: dict[int, Dim] = {}
    for number, (dim, coord) in enumerate(zip(layout, step.coords, strict=True)):
        along = _followed(frame, treatment, dim, coord, number, shapes)
        if along is not None and not _pools_all(frame, treatment, dim, along, after[along.dim]):
            new = read_along(dim, along, after[along.dim], frame.voice, averages=treatment.averages)
            known = dims.get(along.dim)
            dims[along.dim] = new if known is None else joined(known, new, frame.voice, along.dim)
    return tuple(dims.get(dim, uniform(size)) for dim, size in enumerate(after))


def _pools_all(frame: Frame, treatment: Treatment, dim: Dim, along: Along, after: int) -> bool:
    """Whether the only window of a symmetric op holds the same samples after some shift.

    A pool as wide as the axis does after every shift; one with gaps, after shifts by a gap.
    """
    window = dim[0][0]
    if treatment.whole != "symmetric" or after != 1 or not isinstance(window, Moving):
        return False
    size, read = window.size, along.map(0)
    if not _is_window(dim) or not window.whole or window.turn != size or read.clip(size) != read:
        return False
    gap = next(by for by in range(1, size + 1) if read.shift(by).modulo(size) == read)
    if gap == size:
        return False
    frame.met.append((window.rate / gap).denominator)
    return True


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
            raise BreaksError(ordered(frame.node.op))
        return coord
    if isinstance(coord, Whole) and treatment.whole == "kept" and shapes[0] == shapes[1]:
        read_whole(dim)
        return Along(number)
    if not moves(dim):
        return None
    if isinstance(coord, Whole):
        if treatment.whole == "ordered":
            raise BreaksError(ordered(frame.node.op))
        read_whole(dim)
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
                Fault("it picks a position of the axis", "reduce over the axis instead"),
                *(fault for moving in movers_of((part,)) for _, fault in moving.faults),
            )
        start += length(part)


# -------------------------------------------------------------------- several reads


def _joined_dim(
    frame: Frame, layouts: Sequence[Layout], guards: Sequence[dict[int, IndexSet]], dim: int
) -> Dim:
    """One dimension of the result from what every read makes of it."""
    size = frame.result[dim]
    here = [guard.get(dim) for guard in guards]
    dims = [layout[dim] for layout in layouts]
    if not dims:
        return stays(size)
    if not any(map(moves, dims)):
        return _still(dims, size, everywhere=all(guard is None for guard in here))
    if all(guard is None for guard in here):
        return _all_joined(frame, dims, dim)
    runs = _runs(here, size)
    periodic = _interleaved(frame, dims, here, dim)
    if periodic is not None:
        return periodic
    tell = frame.voice.about()
    parts: list[Part] = []
    for start, stop, readers in runs:
        pieces = [cropped(dims[n], start, stop, tell) for n in readers]
        parts += _all_joined(frame, pieces, dim) if pieces else ((Still(stop - start),),)
    return side_by_side(parts, tell)


def _still(dims: Sequence[Dim], size: int, *, everywhere: bool) -> Dim:
    if everywhere and len(set(dims)) == 1:
        return dims[0]
    return stays(size)


def _all_joined(frame: Frame, dims: Sequence[Dim], place: int) -> Dim:
    found = dims[0]
    for other in dims[1:]:
        found = joined(found, other, frame.voice, place)
    return found


def _runs(guards: Sequence[Guard], size: int) -> list[tuple[int, int, list[int]]]:
    """Stretches that the same reads read."""
    readers = [
        [n for n, guard in enumerate(guards) if guard is None or index in guard]
        for index in range(size)
    ]
    runs: list[tuple[int, int, list[int]]] = []
    for index, now in enumerate(readers):
        if runs and runs[-1][2] == now:
            runs[-1] = (runs[-1][0], index + 1, now)
        else:
            runs.append((index, index + 1, now))
    return runs


def _interleaved(
    frame: Frame, dims: Sequence[Dim], guards: Sequence[Guard], place: int
) -> Dim | None:
    """Reads that take turns with a period: the result moves by multiples of it."""
    if list(_listed(frame)) or not all(map(_is_window, dims)):
        return None
    size = size_of(dims[0])
    labels = [tuple(guard is None or i in guard for guard in guards) for i in range(size)]
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
            origin = (frame.voice.name, place)
            clean = _clean(dims, guards, size)
            new = replace(
                digit, grain=lcm(digit.grain, by), turn=turn, origin=origin, at=0, clean=clean
            )
            return ((blamed(new, movers_of(found), frame.voice.about()),),)
    return None


def _is_window(dim: Dim) -> bool:
    return is_uniform(dim) or (len(dim) == 1 and len(dim[0]) == 1 and moves(dim))


def _clean(dims: Sequence[Dim], guards: Sequence[Guard], size: int) -> IndexSet:
    """The positions where whatever is read is clean."""
    clean = IndexSet.range(0, size)
    for dim, guard in zip(dims, guards, strict=True):
        for moving in movers_of(dim):
            everywhere = IndexSet.range(0, size)
            clean = clean & (moving.clean if guard is None else moving.clean | everywhere - guard)
    return clean


# -------------------------------------------------------------------- constants


def _with_constants(frame: Frame, treatment: Treatment, layout: Layout) -> Layout:
    """The layout after the op's constants have been looked at."""
    given = arguments(frame.node)
    if treatment.constants == "broadcast":
        for name, tensor in tensors(given):
            layout = _against(frame, layout, _aligned(constant(tensor, name), len(layout)), name)
    elif treatment.constants == "trailing":
        for name in ("weight", "bias"):
            if is_tensor(given.get(name)):
                known = _aligned(constant(given[name], name), len(layout))
                layout = _against(frame, layout, known, name)
    elif treatment.constants == "listed":
        for tensor in _listed(frame):
            dim = given["dim"] % len(layout)
            layout = _beside(frame, layout, constant(tensor, "a constant"), dim)
    return layout


def _listed(frame: Frame) -> Iterator[Any]:
    """The constant tensors that stand beside what derives from the input."""
    for name, tensor in tensors(arguments(frame.node)):
        if name in ("tensors", "self", "src") and tensor.numel():
            yield tensor


def _aligned(known: Constant, rank: int) -> Constant:
    return known.as_dims((1,) * (rank - len(known.shape)) + known.shape)


def _beside(frame: Frame, layout: Layout, known: Constant, dim: int) -> Layout:
    """A constant that fills some indices of ``dim``: it matters how it varies along the others."""
    if len(known.shape) < len(layout):
        known = known.as_dims((*known.shape[:dim], 1, *known.shape[dim:]))
    own = stays(known.shape[dim])
    found = _against(frame, (*layout[:dim], own, *layout[dim + 1 :]), known, "a constant")
    return (*found[:dim], layout[dim], *found[dim + 1 :])


def _against(frame: Frame, layout: Layout, known: Constant, name: str) -> Layout:
    names = frame.node.parameters
    what = f"'{names[0]}'" if len(names) == 1 else "a constant"
    if frame.node.op == "layer_norm":
        what = name
    elif len(names) > 1:
        what = f"a constant made of '{names[0]}' and others"
    fault = varies(frame.node.op, what)
    return tuple(
        checked(layout, known, period=frame.period, axis_size=frame.axis_size, fault=fault)
    )
