"""The streaming engine in strips: bands along one axis, within strips along another.

From band to band the rows of every layer are kept; what two strips see of each other is computed in
both.  So memory grows neither with the length of the input nor with its width.  It is the mixed
mode of depth-first scheduling: borders along the one axis are cached, along the other recomputed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fieldwise.capture.torch.capture import record
from fieldwise.errors import CaptureError, UsageError
from fieldwise.graph.flops import flops_by_result
from fieldwise.graph.ir import Node, Shape
from fieldwise.tile.arrays import Interval, Numbers, Readable, as_numpy
from fieldwise.tile.bands.choosing import TooLittleError
from fieldwise.tile.bands.corners import corners
from fieldwise.tile.bands.input_rows import telling_rows
from fieldwise.tile.bands.programs import Programs
from fieldwise.tile.certificate import RunCertificate, verify
from fieldwise.tile.crops.grid import geometry
from fieldwise.tile.crops.parts import Tile
from fieldwise.tile.crops.plan import TilePlan
from fieldwise.tile.crops.planner import plan_at
from fieldwise.tile.crops.sizes import Sizes
from fieldwise.tile.crops.targets import PlannedModel
from fieldwise.tile.errors import StreamError, TileError
from fieldwise.tile.jobs.banded import BandedInput
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.sides import PieceSides
from fieldwise.tile.jobs.streams import StreamWork, assembled, stream_work
from fieldwise.tile.jobs.work import Block, JobPiece, JobPlan, Output, PieceState


@dataclass(frozen=True, slots=True)
class Strip:
    """One strip of the input, streamed as an input of its own.

    across: the axis along which strips are cut; tile: what it reads, and what is kept of it
    dims:   per output, the dimension that this axis becomes
    """

    across: int
    tile: Tile
    dims: tuple[int, ...]
    work: StreamWork

    def piece(self, one: JobPiece, number: int) -> JobPiece:
        """A piece of the strip, as a piece of the whole."""
        read = self.tile.reads[self.across]
        reads = _with(one.reads, self.across, (read[0][0], read[-1][1]))
        writes = tuple(
            _with(box, dim, (kept[dim].start, kept[dim].stop))
            for box, dim, kept in zip(one.writes, self.dims, self.tile.writes, strict=True)
        )
        return JobPiece(number, reads, writes)

    def blocks(
        self, one: JobPiece, source: Readable, saved: PieceState | None
    ) -> Iterator[Block | PieceState]:
        """What a piece of the strip gives, in its place in the whole."""
        view = StripView(source, self.across, self.tile.reads[self.across])
        for block in self.work.blocks(one, view, saved):
            if isinstance(block, PieceState):
                yield block
                continue
            number, start, values = block
            dim, kept = self.dims[number], self.tile.keeps[number]
            cut = tuple(kept[d] if d == dim else slice(None) for d in range(values.ndim))
            first = self.tile.writes[number][dim].start
            moved = tuple(first if d == dim else at for d, at in enumerate(start))
            yield number, moved, values[cut]


@dataclass(frozen=True, slots=True)
class StripView:
    """A strip of a source, with the dimensions of the model: intervals of an axis, side by side."""

    source: Readable
    across: int
    intervals: tuple[Interval, ...]

    @property
    def shape(self) -> Shape:
        """Of the strip."""
        width = sum(hi - lo for lo, hi in self.intervals)
        return _with(self.source.shape, self.across, width)

    def __getitem__(self, index: tuple[slice, ...]) -> Numbers:
        before = (*index, *[slice(None)] * self.across)[: self.across]
        behind = index[self.across + 1 :]
        parts = [
            as_numpy(self.source[(*before, slice(*interval), *behind)])
            for interval in self.intervals
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, self.across)


@dataclass(frozen=True, slots=True)
class StripWork:
    """A model compiled for strips of one input size, and its plan (see work.Work).

    where: per piece, its strip, and its number within that
    """

    tiles: TilePlan
    strips: tuple[Strip, ...]
    where: tuple[tuple[int, int], ...]
    plan: JobPlan

    @property
    def nodes(self) -> tuple[Node, ...]:
        """See work.Work."""
        return self.strips[0].work.nodes

    def prepared(self, source: Readable, checkpoint: Checkpoint | None = None) -> StripWork:  # noqa: ARG002
        """See work.Work: a strip needs to know nothing else."""
        return self

    def verify(self, source: Readable) -> RunCertificate:
        """See work.Work: on a corner with seams along both axes."""
        across, along = self.plan.axes[0].axis, self.plan.along
        widest = max((one.work for one in self.strips), key=lambda work: work.plan.shape[across])
        rows = telling_rows(widest.program, self.plan.shape[along], self.plan.step)
        wide = _with(self.plan.shape, across, self.tiles.shortened().axes[0].size)
        run, double = Programs(widest.streaming), Programs(widest.streaming.doubled())
        corner = _with(wide, along, rows)
        try:
            self._planned_again(run, corner)
        except (CaptureError, StreamError, TileError):
            corner = wide
        return verify(
            lambda x: assembled(self._planned_again(run, corner), x),
            run.whole,
            *corners([source], (corner,)),
            double=(lambda x: assembled(self._planned_again(double, corner), x), double.whole),
        )

    def _planned_again(self, run: Programs, shape: Shape) -> StripWork:
        """The same on another size; pieces as short as they may be."""
        given = replace(BandedInput.of(run, shape), axis=self.plan.along, band=self.plan.step)
        cut = self.plan.axes[0]
        return strip_work(given, across=cut.axis, strip=cut.tile, section=self.plan.step)

    def blocks(
        self, piece: JobPiece, source: Readable, saved: PieceState | None = None
    ) -> Iterator[Block | PieceState]:
        """See work.Work."""
        number, within = self.where[piece.number]
        strip = self.strips[number]
        return strip.blocks(strip.work.plan.pieces[within], source, saved)

    def together(
        self, pieces: Sequence[JobPiece], source: Readable
    ) -> Iterator[Iterator[Block | PieceState]]:
        """See work.Work: each by itself."""
        return (self.blocks(piece, source) for piece in pieces)


def strip_work(
    given: BandedInput, *, across: int, strip: int, section: int | None = None
) -> StripWork:
    """Plan a job that is streamed in strips, on one input.

    across:  along which axis of the input strips are cut
    strip:   input samples from strip to strip, a multiple of the grid
    section: input rows per piece, at least (see ``stream_work``)

    Raises TileError where no strips are exact, and what ``stream_work`` raises.
    """
    tiles = PlannedModel(given.call, strip, (across,)).plan(tuple(given.shape))
    return _work_in(given, tiles, section)


def widest_strip_work(
    given: BandedInput, *, across: int, nearest: TooLittleError, section: int | None = None
) -> StripWork:
    """The same in the widest strips that fit the memory.

    nearest: of bands as wide as the input, in which they do not fit; raised where no strips do, or
             that of the strips for which less memory is enough

    Raises what ``stream_work`` raises.
    """
    tried = list[TilePlan]()
    nowhere = replace(given, elsewhere=0)
    with suppress(TileError):
        for tiles in _strips_by_halves(given, across):
            try:
                return _work_in(nowhere, tiles, section)
            except UsageError:
                tried.append(tiles)
    most = nearest.needed - 1
    for tiles in reversed(tried):
        try:
            _work_in(replace(given, elsewhere=most), tiles, section)
        except TooLittleError as error:
            nearest, most = error, error.needed
        except UsageError:
            continue
    raise nearest


def _work_in(given: BandedInput, tiles: TilePlan, section: int | None) -> StripWork:
    """A job in strips that are planned."""
    shape, (cut,) = tuple(given.shape), tiles.axes
    across = cut.axis
    planned: dict[int, StreamWork] = {}
    band = given.band

    def widened(narrow: Output) -> Output:
        return _widened(narrow, tiles)

    for width in sorted({piece.length for piece in cut.pieces}, reverse=True):
        narrowed = replace(
            given,
            shape=_with(shape, across, width),
            band=band,
            grains=lambda narrow: given.grains(widened(narrow)),
            beside=given.beside * width // cut.size,
        )
        planned[width] = stream_work(narrowed, section=section)
        band = planned[width].plan.step
    first = next(iter(planned.values())).plan
    outputs = tuple(map(widened, first.outputs))
    order = {out.name: number for number, out in enumerate(tiles.outputs)}
    dims = tuple(tiles.outputs[order[out.name]].dims[0] for out in outputs)
    strips = tuple(
        Strip(across, _ordered(tile, [order[out.name] for out in outputs]), dims, planned[length])
        for tile, length in zip(tiles.tiles(), (one.length for one in cut.pieces), strict=True)
    )
    where = tuple(
        (number, within)
        for number, one in enumerate(strips)
        for within in range(len(one.work.plan.pieces))
    )
    pieces = tuple(
        strips[number].piece(strips[number].work.plan.pieces[within], piece)
        for piece, (number, within) in enumerate(where)
    )
    plans = [one.plan for one in planned.values()]
    plan = JobPlan(
        "stream", first.along, first.step, shape, outputs, pieces,
        tiles.recompute * max(one.reread for one in plans),
        max(one.peak_bytes for one in plans), first.notes, axes=tiles.axes,
        work=_work(given, strips),
    )  # fmt: skip
    return StripWork(tiles, strips, where, plan)


def _work(given: BandedInput, strips: Sequence[Strip]) -> float:
    """Operations of all strips over those of one forward pass."""
    whole = sum(flops_by_result(record(given.model, given.call.example)).values())
    costs = {id(one.work): sum(flops_by_result(one.work.graph).values()) for one in strips}
    found = sum((one.work.plan.work or 1.0) * costs[id(one.work)] for one in strips)
    return found / max(whole, 1)


def strip_widths(given: BandedInput, across: int) -> Iterator[int]:
    """Strips that there may be, each half as wide as the one before, on the grid.

    Raises TileError where no strips are exact.
    """
    yield from _widths(given, Sizes.of(given.model, given.call.example, (across,)))


def _widths(given: BandedInput, sizes: Sizes) -> Iterator[int]:
    found = geometry(sizes.whole(), sizes.axes)
    (grid,), scales = found.grid, (scale for (scale,) in found.scales)
    yield from PieceSides.of(grid, scales, given.multiple).halves(*sizes.image)


def _strips_by_halves(given: BandedInput, across: int) -> Iterator[TilePlan]:
    """The same, planned."""
    sizes = Sizes.of(given.model, given.call.example, (across,))
    yield from (plan_at(sizes, width) for width in _widths(given, sizes))


def _widened(narrow: Output, tiles: TilePlan) -> Output:
    """An output of a strip, as an output of the whole: strips begin at multiples of its step."""
    whole = next(out for out in tiles.outputs if out.name == narrow.name)
    (dim,), (scale,) = whole.dims, whole.scales
    steps = _with(narrow.steps, dim, int(tiles.axes[0].tile * scale))
    return replace(narrow, shape=whole.shape, steps=steps)


def _ordered(tile: Tile, order: Sequence[int]) -> Tile:
    """A tile whose outputs stand in this order."""
    return Tile(
        tile.reads,
        tuple(tile.keeps[number] for number in order),
        tuple(tile.writes[number] for number in order),
        tuple(tile.shapes[number] for number in order),
    )


T = TypeVar("T")


def _with(items: Sequence[T], at: int, one: T) -> tuple[T, ...]:
    return (*items[:at], one, *items[at + 1 :])
