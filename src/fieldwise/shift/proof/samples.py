"""Positions that are picked one by one, what is made of each, and how they stand beside each other.

``x[:, t]`` alone does not move: position t of the result is not what t + 1 was.  But it is a
*sample*: one of a family, of which there is one at every place.  Whatever is done to samples, and
done alike wherever they stand, makes samples again; put side by side in even steps they are a
window onto a signal.  So a loop that was unrolled is a signal again, whatever its body.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import floor, lcm

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.graph.calls import arguments, is_tensor, op_name
from fieldwise.graph.constants import told_apart
from fieldwise.graph.ir import Along, Coord, Fixed, Node, Ref, Separable, Shape
from fieldwise.shift.proof.frame import Frame
from fieldwise.shift.proof.layout import Dim, Layout, movers, moves, period_of, size_of, stays
from fieldwise.shift.proof.signal import DigitGroup, Moving, Still, length, with_faults
from fieldwise.shift.proof.signal_names import copies
from fieldwise.shift.proof.states import Follows, Lost, ProofState
from fieldwise.shift.proof.step import is_random
from fieldwise.shift.proof.windows import doubted


@dataclass(frozen=True, slots=True)
class Sample:
    """A value as one of a family that has one for every place along the shifted axis.

    Where the input is shifted by a multiple of ``period``, the member that is t samples further on
    becomes what this one was.

    origin: which family
    place:  in input samples
    turn:   after how many of them the family repeats; None: never (the interior theorem)
    wraps:  whether what it was picked from went through circular padding
    """

    origin: int
    place: Fraction
    turn: Fraction | None
    period: int
    wraps: bool = False

    def beyond(self, place: Fraction) -> Fraction:
        """How far it lies beyond a place; the short way round, if there is one."""
        far = self.place - place
        if self.turn is None:
            return far
        far %= self.turn
        return far if 2 * far <= self.turn else far - self.turn


@dataclass(frozen=True, slots=True)
class SampleBlock:
    """Indices [start, start + count) of a dimension that hold a sample."""

    start: int
    count: int
    sample: Sample


@dataclass(frozen=True, slots=True)
class SampleRows:
    """A dimension of a value along which samples stand, in ascending order."""

    dim: int
    blocks: tuple[SampleBlock, ...]


class PickedSamples:
    """The samples that a sweep meets."""

    def __init__(self) -> None:
        self._origins: dict[Hashable, int] = {}
        self._samples: dict[str, Sample] = {}
        self._rows: dict[str, SampleRows] = {}

    def knows(self, node: Node) -> bool:
        """Whether an operand of a node is a sample, or has rows that are."""
        return bool(self._samples) and any(
            name in self._samples or name in self._rows for name in node.operands
        )

    def followed(self, frame: Frame, states: Mapping[int, ProofState]) -> Follows | None:
        """What a result is of which samples are the rows, if they follow the axis.

        states: of the operands that are read, by operand number
        """
        known = self.knows(frame.node)
        sample = self._made(frame, states) if known else self._cut(frame, states)
        if sample is not None:
            self._samples[frame.name] = sample
        if not known or (rows := self._gathered(frame)) is None:
            return None
        self._rows[frame.name] = rows
        if (layout := _layout(frame, rows)) is None:
            return None
        wraps = any(block.sample.wraps for block in rows.blocks)
        return Follows(layout, lcm(frame.period, period_of(layout)), wraps)

    # ---------------------------------------------------------------- what is a sample

    def _origin(self, *key: Hashable) -> int:
        return self._origins.setdefault(key, len(self._origins))

    def _cut(self, frame: Frame, states: Mapping[int, ProofState]) -> Sample | None:
        """What picks fixed positions of the one window of its operand."""
        reads = frame.node.reads[frame.position]
        if len(reads) != 1 or reads[0].kind.combines != "one":
            return None
        step, state = reads[0].single, states[reads[0].operand]
        if step is None or step.where or not isinstance(state, Follows):
            return None
        layout = state.layout
        if len(list(movers(layout))) != 1:
            return None
        [dim, *more] = [dim for dim, parts in enumerate(layout) if moves(parts)]
        picked = _picked(step.coords[dim], size_of(layout[dim]), frame.result)
        if more or picked is None or not copies(frame):
            return None
        places, pattern = picked
        window = _window(layout[dim], places)
        if window is None:
            return None
        start, moving = window
        others = tuple(coord for number, coord in enumerate(step.coords) if number != dim)
        return Sample(
            self._origin(moving.origin, dim, pattern, others, _form(frame)),
            Fraction(moving.at + places.first - start) / moving.rate,
            None if moving.turn is None else moving.turn / abs(moving.rate),
            lcm(moving.period, frame.period),
            state.wraps,
        )

    def _made(self, frame: Frame, states: Mapping[int, ProofState]) -> Sample | None:
        """What is made of samples, and of what no shift of the input changes."""
        operands = frame.node.operands
        found = {n: self._samples[operands[n]] for n in states if operands[n] in self._samples}
        if (
            not found
            or is_random(frame)
            or not all(n in found or _is_still(state) for n, state in states.items())
        ):
            return None
        first = found[min(found)]
        if len(states) == 1 and _hands_on(frame):
            return first
        given = arguments(frame.node)
        if not given or any(sample.turn != first.turn for sample in found.values()):
            return None

        def operand(ref: Ref) -> Hashable:
            value = frame.graph.values[operands[ref.operand]]
            if ref.operand not in states:
                return ("shape", value.shape, value.dtype)
            if ref.operand not in found:
                return ("value", value.name)
            sample = found[ref.operand]
            return ("sample", sample.origin, sample.beyond(first.place))

        done = tuple((name, _called(value, operand)) for name, value in sorted(given.items()))
        return Sample(
            self._origin(frame.node.op, op_name(frame.node), frame.position, done, _form(frame)),
            first.place,
            first.turn,
            lcm(frame.period, *(sample.period for sample in found.values())),
            any(
                one.wraps
                for one in (*found.values(), *states.values())
                if not isinstance(one, Lost)
            ),
        )

    # ---------------------------------------------------------------- samples side by side

    def _gathered(self, frame: Frame) -> SampleRows | None:
        """The rows of what copies each of its operands to some indices of one dimension."""
        reads = frame.node.reads[frame.position]
        steps = [(read.operand, step) for read in reads if (step := read.single) and step.where]
        dims = {dim for _, step in steps for dim, _ in step.where}
        if len(steps) < len(reads) or len(dims) != 1 or not copies(frame):
            return None
        [dim] = dims
        blocks = [
            block
            for operand, step in steps
            for block in self._blocks(frame, frame.node.operands[operand], step, dim)
        ]
        return (
            SampleRows(dim, tuple(sorted(blocks, key=lambda block: block.start)))
            if blocks
            else None
        )

    def _blocks(
        self, frame: Frame, operand: str, step: Separable, dim: int
    ) -> Iterator[SampleBlock]:
        """Where the samples of an operand come to stand."""
        [(_, here)] = step.where
        rows, sample = self._rows.get(operand), self._samples.get(operand)
        others = tuple(c for c in step.coords if not isinstance(c, Along) or c.dim != dim)
        along = [n for n, c in enumerate(step.coords) if isinstance(c, Along) and c.dim == dim]
        if not along and sample is not None and here.count == 1:
            yield self._block(frame, sample, others, here)
        for number in along:
            start = _shift(step.coords[number])
            if start is not None and rows is not None and rows.dim == number:
                if _is_straight(frame, operand, step, dim):
                    yield from _within(rows.blocks, start, here)
            elif start == here.first and sample is not None and here.is_contiguous:
                yield self._block(frame, sample, others, here)

    def _block(
        self, frame: Frame, sample: Sample, others: Sequence[Coord], here: IndexSet
    ) -> SampleBlock:
        value = frame.graph.values[frame.name]
        origin = self._origin("row", sample.origin, tuple(others), value.dtype)
        return SampleBlock(here.first, here.count, replace(sample, origin=origin))


def _within(blocks: Iterable[SampleBlock], start: int, here: IndexSet) -> Iterator[SampleBlock]:
    for block in blocks:
        first = block.start + start
        if IndexSet.range(first, first + block.count).issubset(here):
            yield replace(block, start=first)


def _shift(coord: Coord) -> int | None:
    """Where index 0 of an operand comes to stand, if only that is changed."""
    if not isinstance(coord, Along) or not isinstance(coord.map, AxisMap):
        return None
    plain = coord.map.advance == coord.map.period == 1 and coord.map.is_single
    return -coord.map(0).first if plain and coord.map(0) else None


def _is_straight(frame: Frame, operand: str, step: Separable, dim: int) -> bool:
    """Whether an operand is copied as it is, but for where it stands along a dimension."""
    before, after = frame.graph.values[operand], frame.graph.values[frame.name]
    return before.dtype == after.dtype and all(
        isinstance(coord, Along)
        and coord.dim == number
        and (number == dim or coord.keeps(before.shape[number], after.shape[number]))
        for number, coord in enumerate(step.coords)
    )


# -------------------------------------------------------------------- what picks positions


def _picked(coord: Coord, size: int, after: Shape) -> tuple[IndexSet, Hashable] | None:
    """Which positions of a dimension are picked, and in which pattern from the first on.

    None where not each is one by itself, or all of them are.
    """
    if isinstance(coord, Fixed):
        return (coord.indices, None) if coord.indices.count == 1 else None
    if not isinstance(coord, Along) or coord.keeps(size, after[coord.dim]):
        return None
    index, count = coord.map, after[coord.dim]
    if not isinstance(index, AxisMap) or index.period > 1 or not index.is_single or not count:
        return None
    places = index.pull(IndexSet.range(0, count))
    if not places or places.first < 0 or places.last >= size:
        return None
    return places, (coord.dim, index.advance, count)


def _window(dim: Dim, places: IndexSet) -> tuple[int, Moving] | None:
    """The window on which these positions of a dimension lie, clean, and where it starts."""
    start = 0
    for part in dim:
        size = length(part)
        if start <= places.first and places.last < start + size:
            [lead, *more] = part
            clean = isinstance(lead, Moving) and places.shift(-start).issubset(lead.clean)
            return (start, lead) if isinstance(lead, Moving) and clean and not more else None
        start += size
    return None


# -------------------------------------------------------------------- what a name is made of


def _form(frame: Frame) -> tuple[Shape, str]:
    value = frame.graph.values[frame.name]
    return value.shape, value.dtype


def _called(value: object, operand: Callable[[Ref], Hashable]) -> Hashable:
    """What an argument is called: a constant after its values, a parameter after itself."""
    if isinstance(value, Ref):
        return operand(value)
    if isinstance(value, (list, tuple)):
        return tuple(_called(item, operand) for item in value)
    return told_apart(value) if is_tensor(value) else (type(value).__name__, repr(value))


def _hands_on(frame: Frame) -> bool:
    """Whether a node copies its operand as it is."""
    reads = frame.node.reads[frame.position]
    step = reads[0].single
    if step is None or len(reads) > 1 or step.where or not copies(frame):
        return False
    value = frame.graph.values[frame.node.operands[reads[0].operand]]
    return step.is_identity and (value.shape, value.dtype) == _form(frame)


def _is_still(state: ProofState) -> bool:
    """Whether no shift of the input changes a value."""
    return isinstance(state, Follows) and not any(map(moves, state.layout))


# -------------------------------------------------------------------- rows as a window


def _layout(frame: Frame, rows: SampleRows) -> Layout | None:
    """The layout of a value with these rows, if most of them follow the axis in even steps."""
    families: dict[Hashable, list[SampleBlock]] = {}
    for block in rows.blocks:
        key = (block.sample.origin, block.sample.turn, block.count)
        families.setdefault(key, []).append(block)
    family = max(families.values(), key=lambda blocks: len(blocks) * blocks[0].count)
    found = _even_steps(family)
    if found is None:
        return None
    first, step = found
    count = first.count
    aligned = {
        (block.start - first.start) // count: block
        for block in rows.blocks
        if block.count == count and (block.start - first.start) % count == 0
    }
    low, high = min(aligned), max(aligned)
    clean = IndexSet.of(
        number - low
        for number, block in sorted(aligned.items())
        if block in family and not block.sample.beyond(first.sample.place + number * step)
    )
    explain = frame.explainer.about()
    window = _as_signal(first.sample, first.sample.place + low * step, step, count)
    window = with_faults(replace(window, size=high - low + 1, clean=clean), (), explain)
    if "dirty" in window.conditions:
        window = doubted(window)
    head = first.start + low * count
    tail = frame.result[rows.dim] - head - window.size * count
    parts: list[DigitGroup] = [
        *([(Still(head),)] if head else []),
        (window,) if count == 1 else (window, Still(count)),
        *([(Still(tail),)] if tail else []),
    ]
    return tuple(
        tuple(parts) if dim == rows.dim else stays(size) for dim, size in enumerate(frame.result)
    )


def _even_steps(family: Sequence[SampleBlock]) -> tuple[SampleBlock, Fraction] | None:
    """A block, and by how many input samples each is beyond the one before it, as a rule."""
    moved: dict[Fraction, list[SampleBlock]] = {}
    for before, after in pairwise(family):
        gap = (after.start - before.start) // before.count
        far = after.sample.beyond(before.sample.place) / gap
        moved.setdefault(far, []).append(before)
    step, blocks = max(moved.items(), key=lambda item: len(item[1]), default=(Fraction(0), []))
    return (blocks[0], step) if step else None


def _as_signal(sample: Sample, place: Fraction, step: Fraction, count: int) -> Moving:
    """The signal that the members of a family are, one every ``step`` samples from a place on."""
    rate = 1 / step
    period = lcm(sample.period, rate.denominator)
    at = floor(place / step)
    return Moving(
        size=1,
        rate=rate,
        turn=None if sample.turn is None else (sample.turn / abs(step)).numerator,
        clean=IndexSet.of([0]),
        origin=("rows", sample.origin, count, step, place - at * step),
        at=at,
        grain=abs(int(rate * period)),
    )
