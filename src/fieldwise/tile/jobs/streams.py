"""The streaming engine as a job: long bands, each streamed from its own start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from fieldwise.capture.torch.tree import named_state
from fieldwise.errors import UsageError, op_in
from fieldwise.graph.flops import flops_by_result
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Shape
from fieldwise.tile.amounts import enough_text, size_text
from fieldwise.tile.arrays import Numbers, Readable, as_numpy, numpy_dtype
from fieldwise.tile.bands.ahead import bytes_ahead, rows_of
from fieldwise.tile.bands.choosing import BAND, STEPS, TooLittleError, candidate_bands, room_on
from fieldwise.tile.bands.corners import corners, telling_shapes
from fieldwise.tile.bands.drive import clipped, drive_with_states, state_at_start
from fieldwise.tile.bands.pass_run import PassDriver, Prepared, SavedPasses, run_passes
from fieldwise.tile.bands.plan import StreamPlan, plan_within, work_in_sections, work_of
from fieldwise.tile.bands.program import Program, kept_weights
from fieldwise.tile.bands.programs import Planned, Programs, Streaming
from fieldwise.tile.bands.run import BandState, Engine, OutputRows
from fieldwise.tile.bands.sections import Section, sections_of, steps
from fieldwise.tile.bands.store import Store
from fieldwise.tile.certificate import RunCertificate, verify
from fieldwise.tile.choices import GlobalOps
from fieldwise.tile.jobs.banded import BandedInput
from fieldwise.tile.jobs.kept import FileStore
from fieldwise.tile.jobs.work import Block, Box, JobPiece, JobPlan, Output, PieceState, Work
from fieldwise.written import counted


class SavedInFolder(SavedPasses, Protocol):
    """Where the passes so far are saved, and the folder of the values that they keep."""

    @property
    def folder(self) -> Path:
        """See Checkpoint."""


@dataclass(frozen=True, slots=True)
class StreamWork:
    """A model compiled for one input size, and its plan (see work.Work).

    program: gives the outputs, once the passes are gone through
    passes:  how often the input is gone through before the first piece
    kept:    what these have kept for the pieces to read
    """

    streaming: Streaming
    graph: Graph
    program: Program
    passes: int
    sections: tuple[Section, ...]
    plan: JobPlan
    kept: Mapping[str, Readable] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """See work.Work."""
        return self.graph.nodes

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.streaming.call.device

    def prepared(
        self,
        source: Readable,
        checkpoint: SavedInFolder | None = None,
        go_through: PassDriver | None = None,
    ) -> StreamWork:
        """See work.Work: the passes are gone through, by others where ``go_through`` is given."""
        if not self.passes:
            return self
        store = Store() if checkpoint is None else FileStore(checkpoint.folder)
        store.device = self.streaming.call.device
        planner = self.streaming.planner(self.graph)
        found = run_passes(planner, [source], go_through or self.driven, store, checkpoint)
        return replace(self, program=found.program, kept=store.arrays)

    def verify(self, source: Readable) -> RunCertificate:
        """See work.Work: sections and bands as narrow as they may be, so that there are seams."""
        run = Programs(self.streaming)
        (shape,) = telling_shapes(
            lambda sizes: run.planned(sizes).program,
            (self.plan.shape,),
            axis=self.plan.along,
            band=self.plan.step,
        )
        double = Programs(self.streaming.doubled())
        return verify(
            _pieces_of(run, shape),
            run.whole,
            *corners([source], (shape,)),
            double=(_pieces_of(double, shape), double.whole),
            names=self.program.output_names,
        )

    def blocks(
        self, piece: JobPiece, source: Readable, saved: PieceState | None = None
    ) -> Iterator[Block | PieceState]:
        """See work.Work."""
        section, program = self.sections[piece.number], self.program
        state = state_at_start(program, section) if saved is None else BandState.of(saved.at)
        prepared = Prepared.of(program, self.graph, [source], self.kept)
        for part in self.driven(prepared, state, section, to_host=True):
            if isinstance(part, BandState):
                yield PieceState(part.plain())
            else:
                yield from self._block(clipped(program, part, section.rows))
            del part  # before the next step takes its memory

    def together(
        self, pieces: Sequence[JobPiece], source: Readable
    ) -> Iterator[Iterator[Block | PieceState]]:
        """See work.Work: each by itself."""
        return (self.blocks(piece, source) for piece in pieces)

    def driven(
        self,
        prepared: Prepared,
        state: BandState | None,
        section: Section | None = None,
        *,
        to_host: bool = False,
    ) -> Iterator[OutputRows | BandState]:
        """Go through the inputs of a program, or through a section, from its start or a state.

        to_host: see drive_with_states
        """
        program = prepared.program
        engine = Engine(program, self.device, state)
        bands = steps(program, engine.schedule, self.plan.step, section, engine.steps)
        ends = [] if section is None else [hi for _, hi in section.reads]
        with rows_of(program, self.device, prepared.arrays, ends) as rows:
            yield from drive_with_states(engine, bands, rows, to_host=to_host)

    def _block(self, found: OutputRows | None) -> Iterator[Block]:
        if found is None:
            return
        value, lo, rows = found
        dim = self.program.values[value].dim
        start = tuple(lo if d == dim else 0 for d in range(rows.dim()))
        yield self.program.wiring.outputs.index(value), start, as_numpy(rows)


def stream_work(
    given: BandedInput,
    *,
    section: int | None = None,
    global_ops: GlobalOps = "refuse",
) -> StreamWork:
    """Plan a streamed job on one input.

    section: input rows per piece, at least; by default see sections.sections_of
    global_ops: what is done with layers that need the whole axis (see ``programs.Streaming``)

    Raises StreamError where a layer needs the whole axis and may not have it, and UsageError where
    ``memory`` is not enough for the narrowest band, and for an output without the streamed axis.
    """
    shape, grains = tuple(given.shape), given.grains
    streaming = given.streaming(global_ops)
    planned = Programs(streaming).planned((shape,))
    passes, program = planned.passes, planned.program
    program.check_rows_apart()
    if program.fixed:
        named = ", ".join(f"'{name}'" for _, name, _ in program.fixed)
        raise UsageError(
            f"The output {named} has no streamed axis, and a job writes files of those that have; "
            "in Python, fieldwise.streamed with global_ops='multipass' gives it, or let the model "
            "return the others alone."
        )
    outputs = tuple(_output(program, value) for value in program.wiring.outputs)
    weights = sum(tensor.nbytes for _, tensor in named_state(given.model))
    dtypes = {value.dtype for value in program.values}
    weights += kept_weights(planned.graph.nodes, dtypes, streaming.call.device)
    waiting = sum(_row_bytes(out) * (grains(out) - 1) for out in outputs)
    held = {
        "weights take": weights,
        "chunks of the input": given.beside,
        "rows that wait for their file": waiting,
    }
    band, peak, state = _chosen_band(planned, given, held)
    sections = sections_of(program, band, [grains(out) for out in outputs], rows=section)
    pieces = tuple(_piece(planned, outputs, n, one) for n, one in enumerate(sections))
    plan = JobPlan(
        "stream", given.axis % len(shape), band, shape, outputs, pieces,
        _reread(program, sections), peak + sum(held.values()),
        _notes(planned, band, state + waiting), work=_work(planned, sections),
    )  # fmt: skip
    streaming = replace(streaming, band=band)
    return StreamWork(streaming, planned.graph, program, len(passes), sections, plan)


def _pieces_of(run: Programs, shape: Shape) -> Callable[[Readable], dict[str, Numbers]]:
    """A whole result put together from the shortest pieces; outputs by name."""

    def pieces(x: Readable) -> dict[str, Numbers]:
        work = stream_work(
            BandedInput.of(run, shape), section=run.band, global_ops=run.streaming.global_ops
        )
        return assembled(work.prepared(x), x)

    return pieces


def assembled(work: Work, source: Readable) -> dict[str, Numbers]:
    """The whole results, by name, put together from the pieces."""
    found = [np.empty(out.shape, out.dtype) for out in work.plan.outputs]
    for piece in work.plan.pieces:
        for block in work.blocks(piece, source):
            if isinstance(block, PieceState):
                continue
            number, start, values = block
            ends = zip(start, values.shape, strict=True)
            found[number][tuple(slice(lo, lo + size) for lo, size in ends)] = values
    return {out.name: one for out, one in zip(work.plan.outputs, found, strict=True)}


def _chosen_band(
    planned: Planned, given: BandedInput, held: Mapping[str, int]
) -> tuple[int, int, int]:
    """The band that was asked for or the widest of use, its peak memory, and its state's.

    held: what is there beside it, whatever the band

    Raises UsageError where the memory is not enough, with the least that is.

    What is kept between steps is there twice once it is saved (see ``Engine.suspend``), until the
    next step.  Rows that are read ahead count too.
    """
    band, memory, rows = given.band, given.memory, given.shape[given.axis]
    beside, device = sum(held.values()), given.call.device
    left = None if memory is None else memory - beside
    room = room_on(device, few=STEPS)
    for wanted, enough in candidate_bands(rows, room) if band is None else [(band, 0)]:
        wanted = min(wanted, rows)
        most = [] if band is not None or wanted <= BAND else [enough]
        most += [] if left is None else [left]
        fit = _taken_by(planned, device, wanted, min(most, default=None))
        if fit is not None:
            return wanted, *fit
    assert memory is not None
    interest = None if given.elsewhere is None else given.elsewhere - beside
    least = _taken_by(planned, device, wanted, interest)
    if least is None:
        raise UsageError(
            f"A band of {counted(wanted, 'row')} needs more than --memory {size_text(memory)}."
        )
    peak, _ = least
    assert memory is not None
    taken = ", ".join(f"{what} {size_text(nbytes)}" for what, nbytes in held.items() if nbytes)
    narrower = "" if wanted == 1 else ", a narrower --band"
    raise TooLittleError(
        f"A band of {counted(wanted, 'row')} needs {size_text(peak)}, and "
        f"{size_text(max(memory - beside, 0))} of --memory {size_text(memory)} is left"
        f"{f' ({taken})' if taken else ''}; give more --memory ({enough_text(peak + beside)} is "
        f"enough){narrower}.",
        peak + beside,
    )


def _taken_by(
    planned: Planned, device: torch.device, band: int, most: int | None
) -> tuple[int, int] | None:
    """The peak memory of a band, and its state's; None where it takes more than ``most`` bytes."""
    ahead = bytes_ahead(planned.program, device, band)
    left = None if most is None else most - ahead
    peak = state = 0
    ways: list[Callable[[int, int | None], StreamPlan | None]]
    ways = [partial(plan_within, planned.program), *(one.plan_within for one in planned.passes)]
    for way in ways:
        plan = way(band, left)
        if plan is None:
            return None
        peak = max(peak, plan.peak_bytes + plan.state_bytes)
        state = max(state, plan.state_bytes)
    return (peak + ahead, state) if left is None or peak <= left else None


def _output(program: Program, number: int) -> Output:
    value = program.values[number]
    name = program.output_names[program.outputs.index(number)]
    steps = (None,) * len(value.shape)
    return Output(name, value.shape, numpy_dtype(value.dtype), value.dim, steps)


def _row_bytes(out: Output) -> int:
    return int(np.prod(out.shape)) // out.shape[out.dim] * out.dtype.itemsize


def _reread(program: Program, sections: Sequence[Section]) -> float:
    """Rows that all sections read of the longest input, over those that it has."""
    rows = [program.values[value].rows or 0 for value in program.wiring.inputs]
    longest = rows.index(max(rows))
    read = sum(one.reads[longest][1] - one.reads[longest][0] for one in sections)
    return max(read / rows[longest], 1.0)


def _work(planned: Planned, sections: Sequence[Section]) -> float:
    """Operations of all passes and sections, over those of one forward pass."""
    costs = flops_by_result(planned.graph)
    passes = sum(work_of(one.program, costs) for one in planned.passes)
    found = passes + work_in_sections(planned.program, costs, sections)
    return float(found / max(sum(costs.values()), 1))


def _piece(planned: Planned, outputs: Sequence[Output], number: int, section: Section) -> JobPiece:
    """A piece; where it reads only what was kept, that stems from all of the input."""
    program, (name,) = planned.program, planned.graph.inputs
    writes = tuple(
        _box(out.shape, out.dim, rows) for out, rows in zip(outputs, section.rows, strict=True)
    )
    reads = tuple((0, size) for size in planned.graph.shape(name))
    for read, rows in zip(program.wiring.inputs, section.reads, strict=True):
        if (value := program.values[read]).name == name:
            reads = _box(value.shape, value.dim, rows)
    return JobPiece(number, reads, writes)


def _box(shape: Sequence[int], dim: int, rows: tuple[int, int]) -> Box:
    return tuple(rows if d == dim else (0, size) for d, size in enumerate(shape))


def _notes(planned: Planned, band: int, standing: int) -> tuple[str, ...]:
    program, passes = planned.program, planned.passes
    takes = f"takes about {size_text(standing)}" if standing else "is a few numbers"
    notes = [
        f"every few seconds the state of an unfinished piece is saved beside the result, for "
        f"--resume; it {takes}"
    ]
    if passes:
        first = passes[0].nodes[0]
        called = op_in(first.module, first.called)
        notes.append(
            f"before the first piece the input is gone through "
            f"{counted(len(passes), 'time')} more, for {called} and the like"
        )
        plan = planned.plan(band)
        kept = (
            f", and at most {size_text(plan.kept_bytes)} beside the result"
            if plan.kept_bytes
            else ""
        )
        notes.append(f"that takes {plan.work:.2f} times the operations of one forward pass{kept}")
    carrying = [
        op.node.module or op.node.called
        for op, dependence in zip(program.ops, program.wiring.ops, strict=True)
        if dependence.ordered
    ]
    if carrying:
        notes.append(
            f"'{carrying[0]}' keeps a state from row to row, so every piece starts at row 0"
        )
    return tuple(notes)
