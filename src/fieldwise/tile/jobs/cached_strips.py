"""The streaming engine in strips that hand on columns: nothing is computed twice along either axis.

It is depth-first scheduling with both borders cached.  A strip is streamed band by band as an input
of its own (see ``bands.strip_network``); of every value it leaves the columns at its right end that
the next strip reads, as long as the bands' axis is, in files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from torch import Tensor

from fieldwise.capture.torch.tree import named_state
from fieldwise.errors import CaptureError
from fieldwise.graph.flops import flops_by_result
from fieldwise.graph.ir import Node, Shape
from fieldwise.tile.amounts import enough_text, size_text
from fieldwise.tile.arrays import Interval, Readable, as_numpy, numpy_dtype
from fieldwise.tile.bands.ahead import bytes_ahead, rows_of
from fieldwise.tile.bands.choosing import BAND, STEPS, TooLittleError, candidate_bands, room_on
from fieldwise.tile.bands.column_steps import ColumnStep
from fieldwise.tile.bands.corners import corners
from fieldwise.tile.bands.drive import drive_with_states
from fieldwise.tile.bands.input_rows import telling_rows
from fieldwise.tile.bands.latency import period, rates
from fieldwise.tile.bands.plan import plan_within, work_of
from fieldwise.tile.bands.program import kept_weights
from fieldwise.tile.bands.programs import Programs, Streaming
from fieldwise.tile.bands.run import BandState, Engine
from fieldwise.tile.bands.sections import steps
from fieldwise.tile.bands.steady import grid_of
from fieldwise.tile.bands.strip_network import ColumnStream, CompiledStrip
from fieldwise.tile.certificate import RunCertificate, verify
from fieldwise.tile.crops.parts import AxisPlan, AxisTile
from fieldwise.tile.errors import OffGridError, StreamError
from fieldwise.tile.jobs.banded import BandedInput
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.kept_columns import KeptColumns
from fieldwise.tile.jobs.sides import PieceSides
from fieldwise.tile.jobs.streams import assembled
from fieldwise.tile.jobs.strips import StripView
from fieldwise.tile.jobs.work import Block, JobPiece, JobPlan, Output, PieceState
from fieldwise.written import counted


@dataclass(frozen=True, slots=True)
class CachedStripWork:
    """A model compiled for strips that hand on columns, and its plan (see work.Work).

    across: the axis of the input along which strips are cut; strip: its samples from one to the
            next; every piece is a strip
    kept:   the columns that strips keep; None until there is a place for them
    """

    streaming: Streaming
    stream: ColumnStream
    across: int
    strip: int
    plan: JobPlan
    nodes: tuple[Node, ...]
    kept: KeptColumns | None = field(default=None, compare=False)

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.streaming.call.device

    def prepared(self, source: Readable, checkpoint: Checkpoint | None = None) -> CachedStripWork:  # noqa: ARG002
        """See work.Work: columns are kept beside the saved states."""
        assert checkpoint is not None
        return replace(self, kept=KeptColumns(checkpoint.folder, checkpoint.run))

    def verify(self, source: Readable) -> RunCertificate:
        """See work.Work: on a corner with seams along both axes."""
        along, shape = self.plan.along, self.plan.shape
        run, double = Programs(self.streaming), Programs(self.streaming.doubled())
        strip = min(self.strip, -(-_NARROW // self.grid) * self.grid)
        wide = telling_rows(self.stream.across, shape[self.across], strip)
        first = self.stream.compiled(self.strip, 0).program
        small = _with(_with(shape, self.across, wide), along, telling_rows(
            first, shape[along], self.plan.step))  # fmt: skip
        try:
            self._assembled(run, small, strip)
        except (CaptureError, StreamError):
            small = shape
        return verify(
            lambda x: self._assembled(run, small, strip, x),
            run.whole,
            *corners([source], (small,)),
            double=(lambda x: self._assembled(double, small, strip, x), double.whole),
        )

    @property
    def grid(self) -> int:
        """Samples of which strips are multiples."""
        return strip_grid(self.stream)

    def _assembled(
        self, run: Programs, shape: Shape, strip: int, x: Readable | None = None
    ) -> object:
        """The whole results of an input of another size; of none, only planned."""
        given = replace(BandedInput.of(run, shape), axis=self.plan.along, band=self.plan.step)
        work = cached_strip_work(given, across=self.across, strip=strip)
        if x is None:
            return None
        with scratch(work) as ready:
            return assembled(ready, x)

    def blocks(
        self, piece: JobPiece, source: Readable, saved: PieceState | None = None
    ) -> Iterator[Block | PieceState]:
        """See work.Work.

        Strips before it whose columns are not there (any more) are computed again, and so is what
        it has done itself where the columns that it had kept by then are not.
        """
        kept, number = self._kept, piece.number
        at, ends = (None, ()) if saved is None else saved.at
        state = None if at is None else BandState.of(at)
        whole = number == 0 or kept.has(number - 1, self._compiled(number - 1).kept)
        if not whole:
            self._make_up(number, source)
        if state is not None and whole and kept.begin(number, self._compiled(number).kept, ends):
            yield from self._carried_out(number, source, state)
            return
        kept.begin(number, self._compiled(number).kept)
        yield from self._carried_out(number, source, None, past=state)

    def together(
        self, pieces: Sequence[JobPiece], source: Readable
    ) -> Iterator[Iterator[Block | PieceState]]:
        """See work.Work: each by itself."""
        return (self.blocks(piece, source) for piece in pieces)

    def _make_up(self, number: int, source: Readable) -> None:
        """Compute the columns again that the strips before one of them have kept."""
        there = number - 1
        while there and not self._kept.has(there - 1, self._compiled(there - 1).kept):
            there -= 1
        for earlier in range(there, number):
            self._kept.begin(earlier, self._compiled(earlier).kept)
            for _ in self._carried_out(earlier, source, None):
                pass

    def _carried_out(
        self,
        number: int,
        source: Readable,
        state: BandState | None,
        past: BandState | None = None,
    ) -> Iterator[Block | PieceState]:
        """Stream a strip from its start or a state.

        past: results that are there by then are not given again
        """
        strip, step = self._compiled(number), self._steps[number]
        program, kept = strip.program, self._kept
        (read,) = self.stream.across.wiring.inputs
        given: list[Readable] = [StripView(source, self.across, (step.reads(read),))]
        if number:
            given += kept.arrays(number - 1, self._compiled(number - 1).kept)
        engine = Engine(program, self.device, state)
        bands = steps(program, engine.schedule, self.plan.step, None, engine.steps)
        gone = [0] * len(program.values) if past is None else past.done
        with rows_of(program, self.device, [given[one] for one in strip.inputs]) as rows:
            for part in drive_with_states(engine, bands, rows, to_host=True):
                if isinstance(part, BandState):
                    if past is None or part.steps > past.steps:
                        yield PieceState((part.plain(), kept.ends), before_saving=kept.sync)
                    continue
                value, lo, found = part
                for place, keep in enumerate(strip.keeps):
                    if keep == value:
                        kept.append(place, lo, found)
                if value in strip.outputs and lo >= gone[value]:
                    yield from self._blocks(number, strip, value, lo, found)
        kept.finish(number)

    def _blocks(
        self, number: int, strip: CompiledStrip, value: int, lo: int, rows: Tensor
    ) -> Iterator[Block]:
        """New rows of a strip, in their places in the whole."""
        for place, (one, out) in enumerate(zip(strip.outputs, self.plan.outputs, strict=True)):
            if one == value:
                box = self.plan.pieces[number].writes[place]
                yield (
                    place,
                    tuple(lo if dim == out.dim else start for dim, (start, _) in enumerate(box)),
                    as_numpy(rows),
                )

    @property
    def _kept(self) -> KeptColumns:
        assert self.kept is not None, "prepared first"
        return self.kept

    @property
    def _steps(self) -> Sequence[ColumnStep]:
        return self.stream.steps(self.strip)

    def _compiled(self, number: int) -> CompiledStrip:
        return self.stream.compiled(self.strip, self.stream.firsts(self.strip)[number])


@contextmanager
def scratch(work: CachedStripWork) -> Iterator[CachedStripWork]:
    """The same with a place for columns, for as long as this lasts."""
    with TemporaryDirectory(prefix="fieldwise-") as folder:
        yield replace(work, kept=KeptColumns(Path(folder)))


def cached_strip_work(
    given: BandedInput, *, across: int, strip: int | None = None
) -> CachedStripWork:
    """Plan a job that is streamed in strips which keep columns for each other; each is a piece.

    across: along which axis of the input strips are cut
    strip:  input samples from strip to strip, a multiple of the grid; by default the widest that
            fit in the memory, or in LITTLE

    Raises StreamError where the model cannot be streamed so, OffGridError for a strip off the grid,
    and UsageError where the memory is not enough.
    """
    run = Programs(given.streaming("refuse"), fuses=False)
    shape, device = tuple(given.shape), given.call.device
    graph = run.graph((shape,))
    stream = ColumnStream.of(given.model, graph, device, given.axis, across)
    weights = sum(tensor.nbytes for _, tensor in named_state(given.model))
    weights += kept_weights(graph.nodes, [given.dtype], device)
    choice = _Choice(stream, given, across, weights)
    strip, band, fit = choice.chosen(strip)
    outputs = choice.outputs(strip)
    pieces = choice.pieces(strip, outputs)
    costs = sum(flops_by_result(graph).values())
    plan = JobPlan(
        "stream", given.axis, band, shape, outputs, pieces,
        1.0, fit.peak, choice.notes(fit), axes=(choice.cut(strip, pieces),), cache="both",
        kept_bytes=max(now + then for now, then in pairwise([0, *choice.kept_bytes(strip)])),
        moved_bytes=2 * sum(choice.kept_bytes(strip)), work=choice.work(strip) / max(costs, 1),
    )  # fmt: skip
    streaming = replace(run.streaming, band=band)
    return CachedStripWork(streaming, stream, across, strip, plan, graph.nodes)


@dataclass(frozen=True, slots=True)
class _Fit:
    """What a strip and a band hold at once, and what of it a saved state takes."""

    peak: int
    state: int


@dataclass(frozen=True)
class _Choice:
    """Strips and bands that there may be, and what they take."""

    stream: ColumnStream
    given: BandedInput
    across: int
    weights: int

    def chosen(self, strip: int | None) -> tuple[int, int, _Fit]:
        """The strip and the band that were asked for, or the widest that fit.

        Raises UsageError where the memory is not enough, with the least that is.
        """
        band, memory = self.given.band, self.given.memory
        grid, size = strip_grid(self.stream), self.given.shape[self.across]
        if strip is not None and strip % grid:
            below = strip // grid * grid
            near = f"{below} or {below + grid}" if below else f"{grid}"
            raise OffGridError(
                f"A strip of {strip} along axis {self.across} is not a multiple of the stride "
                f"{grid}; use {near}."
            )
        whole = -(-size // grid) * grid
        wanted = [*self._sides(grid).halves(size)] or [whole] if strip is None else [strip]
        budget = LITTLE if memory is None and strip is None else memory
        for thin in (_THIN, 1):
            for one in wanted:
                bands = list(self._bands(thin))
                if self._fit(one, bands[-1][0], budget) is not None:
                    for rows, enough in bands:
                        fit = self._fit(one, rows, budget)
                        if fit and (band is not None or fit.peak <= enough or rows <= BAND):
                            return one, rows, fit
                self.stream.forget()
        one, rows, fit = self._least(wanted)
        if memory is None:
            return one, rows, fit
        raise TooLittleError(
            f"Strips of {one} in bands of {counted(rows, 'row')} need {size_text(fit.peak)}, and "
            f"--memory is {size_text(memory)}; give more --memory ({enough_text(fit.peak)} is "
            "enough).",
            fit.peak,
        )

    def _least(self, strips: Sequence[int]) -> tuple[int, int, _Fit]:
        """The strip and the narrowest band, thin or not, that hold least at once.

        Narrow strips come first: of the others hardly one is gone through to its end then.
        """
        found = list[tuple[int, int, int, _Fit]]()
        for one in sorted(strips):
            for thin in (_THIN, 1):
                rows = list(self._bands(thin))[-1][0]
                fit = self._fit(one, rows, found[0][0] if found else None)
                if fit is not None:
                    found = [min([*found, (fit.peak, one, rows, fit)], key=lambda it: it[:3])]
            self.stream.forget()
        ((_, strip, band, fit),) = found
        return strip, band, fit

    def _sides(self, grid: int) -> PieceSides:
        """The sides that strips may have."""
        wiring = self.stream.across.wiring
        scales = (rates(wiring)[value] for value in wiring.outputs)
        return PieceSides.of(grid, scales, self.given.multiple)

    def _bands(self, thin: int) -> Iterator[tuple[int, int]]:
        band, rows = self.given.band, self.given.shape[self.given.axis]
        if band is not None:
            yield min(band, rows), 0
            return
        for one, enough in candidate_bands(rows, room_on(self.stream.device, few=STEPS)):
            if one >= min(thin, rows):
                yield min(one, rows), enough

    def _fit(self, strip: int, band: int, most: int | None) -> _Fit | None:
        """What they take; None where it is more than ``most`` bytes."""
        waiting = sum(_row_bytes(out) * (self.given.grains(out) - 1)
                      for out in self.outputs(strip))  # fmt: skip
        widest = max(step[1] - step[0] for step in self._reads(strip))
        held = self.weights + waiting + self.given.beside * widest // self.given.shape[self.across]
        if most is not None and held > most:
            return None
        numbers = sorted(set(self.stream.firsts(strip)))
        programs = [self.stream.compiled(strip, n).program for n in numbers]
        held += max(bytes_ahead(program, self.stream.device, band) for program in programs)
        peak = state = 0
        for program in programs:
            plan = plan_within(program, band, None if most is None else most - held)
            if plan is None:
                return None
            state = max(state, plan.state_bytes)
            peak = max(peak, plan.peak_bytes + plan.state_bytes)
        return _Fit(peak + held, state + waiting)

    def _reads(self, strip: int) -> list[Interval]:
        (read,) = self.stream.across.wiring.inputs
        return [step.reads(read) for step in self.stream.steps(strip)]

    def outputs(self, strip: int) -> tuple[Output, ...]:
        """The results; their columns begin at multiples of the strip's."""
        program, found = self.stream.across, []
        for value in program.wiring.outputs:
            kind = program.values[value]
            name = program.output_names[program.outputs.index(value)]
            columns = int(rates(program.wiring)[value] * strip)
            steps = _with((None,) * len(kind.shape), kind.dim, columns)
            along = self.stream.along[kind.name].dim
            found.append(Output(name, kind.shape, numpy_dtype(kind.dtype), along, steps))
        return tuple(found)

    def pieces(self, strip: int, outputs: Sequence[Output]) -> tuple[JobPiece, ...]:
        """The strips."""
        program, found = self.stream.across, []
        whole = tuple((0, size) for size in self.given.shape)
        for number, step in enumerate(self.stream.steps(strip)):
            writes = tuple(
                _with(tuple((0, n) for n in out.shape), program.values[value].dim,
                      step.writes(place, value))
                for place, (value, out) in enumerate(
                    zip(program.wiring.outputs, outputs, strict=True))
            )  # fmt: skip
            reads = _with(whole, self.across, self._reads(strip)[number])
            found.append(JobPiece(number, reads, writes))
        return tuple(found)

    def cut(self, strip: int, pieces: Sequence[JobPiece]) -> AxisPlan:
        """How the axis across the bands is cut: nothing is read twice, and nothing dropped."""
        program, places = self.stream.across, range(len(self.stream.across.wiring.outputs))
        dims = [program.values[value].dim for value in program.wiring.outputs]
        tiles = []
        for piece in pieces:
            writes = tuple(piece.writes[place][dims[place]] for place in places)
            gives = tuple(hi - lo for lo, hi in writes)
            keeps = tuple((0, given) for given in gives)
            tiles.append(AxisTile((piece.reads[self.across],), keeps, writes, gives))
        grid, size = strip_grid(self.stream), self.given.shape[self.across]
        return AxisPlan(self.across, size, strip, grid, (0, 0), "kept", tuple(tiles))

    def kept_bytes(self, strip: int) -> list[int]:
        """What each strip keeps for the next one."""
        firsts = self.stream.firsts(strip)
        return [self.stream.compiled(strip, n).kept_bytes for n in firsts]

    def work(self, strip: int) -> int:
        """The operations of all strips."""
        counts = Counter(self.stream.firsts(strip))
        compiled = {n: self.stream.compiled(strip, n) for n in counts}
        return sum(
            times * work_of(compiled[n].program, flops_by_result(compiled[n].graph))
            for n, times in counts.items()
        )

    def notes(self, fit: _Fit) -> tuple[str, ...]:
        """What a user should know."""
        return (
            "strips are computed in their order, and each keeps columns for the next one in files "
            "beside the result",
            "every few seconds the state of an unfinished strip is saved there, for --resume; it "
            + (f"takes about {size_text(fit.state)}" if fit.state else "is a few numbers"),
        )


def strip_grid(stream: ColumnStream) -> int:
    """Samples of which strips are multiples."""
    if stream.endless is not None:
        return grid_of(stream.endless)
    return period(stream.across.wiring)


def _row_bytes(out: Output) -> int:
    """A row of an output within a strip."""
    sizes = [step or size for step, size in zip(out.steps, out.shape, strict=True)]
    return prod(sizes) // sizes[out.dim] * out.dtype.itemsize


T = TypeVar("T")


def _with(items: Sequence[T], at: int, one: T) -> tuple[T, ...]:
    return (*items[:at], one, *items[at + 1 :])


LITTLE = 1 << 30
"""Bytes in which strips are as wide as they may be, where no memory is given."""
_THIN = 16
"""Rows of a band that is not thin: thinner ones only where no strip is narrow enough."""
_NARROW = 64
"""Columns of strips that are compared with the whole."""
