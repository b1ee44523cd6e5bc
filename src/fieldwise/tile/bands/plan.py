"""What a run will keep and compute, worked out with integers before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from fieldwise.errors import op_in
from fieldwise.graph.ir import Node
from fieldwise.reports import Report
from fieldwise.tile.amounts import size_text
from fieldwise.tile.bands.alike import AlikeSteps, Stand
from fieldwise.tile.bands.kernels.registry import ENDLESS
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.bands.schedule import Schedule, Task
from fieldwise.tile.bands.sections import BandStep, Section, rows_computed, steps


@dataclass(frozen=True, slots=True)
class Kept:
    """A value whose rows are kept between bands: at most how many, and their memory.

    of: how many it has; None while the total length is not known
    """

    name: str
    rows: int
    of: int | None
    nbytes: int

    def __str__(self) -> str:
        total = "" if self.of is None else f" of {self.of}"
        return f"keeps {self.rows}{total} rows of '{self.name}', {size_text(self.nbytes)}"


@dataclass(frozen=True, slots=True)
class StreamPlan(Report):
    """The memory of a streamed run.

    band:       input rows per step; steps: how many of them
    kept:       values that are kept between steps, the largest first
    held_whole: values that must be there whole before what follows can begin (what reads
                backwards or around the far end), or of which nothing is forgotten, with the op
                that asks for it
    passes:     the layers for whose sake the input is gone through once more, per pass
    state_bytes: the most that is kept between steps
    peak_bytes: the most that is there at once, inputs and rows at hand included, and what a layer
                reads whole, and what convolutions of sequences lay out anew on a CPU; weights,
                whole inputs and outputs, and other workspace of torch's own kernels are not counted
    kept_bytes: the most that is kept between passes, in memory or in files
    work:       operations of all passes over those of one forward pass
    """

    band: int
    steps: int
    kept: tuple[Kept, ...]
    held_whole: tuple[tuple[str, str], ...]
    state_bytes: int
    peak_bytes: int
    passes: tuple[tuple[str, ...], ...] = ()
    kept_bytes: int = 0
    work: float = 1.0

    @property
    def rows(self) -> tuple[Kept, ...]:
        """The values that are kept between steps."""
        return self.kept

    def after(
        self,
        passes: Sequence[StreamPlan],
        nodes: Sequence[Sequence[Node]],
        *,
        kept_bytes: int,
        work: float,
    ) -> StreamPlan:
        """This plan as the last of several passes, each for the sake of some nodes."""
        plans = [*passes, self]
        return replace(
            self,
            kept_bytes=kept_bytes,
            work=work,
            steps=sum(plan.steps for plan in plans),
            state_bytes=max(plan.state_bytes for plan in plans),
            peak_bytes=max(plan.peak_bytes for plan in plans),
            passes=tuple(tuple(op_in(n.module, n.called) for n in group) for group in nodes),
        )

    def __str__(self) -> str:
        lines = [
            f"{self.steps} steps of {self.band} input rows; {size_text(self.state_bytes)} kept "
            f"between steps, at most {size_text(self.peak_bytes)} at once"
        ]
        lines += [f"  {one}" for one in self.kept]
        if self.passes:
            kept = f"; {size_text(self.kept_bytes)} kept between passes" if self.kept_bytes else ""
            lines.append(f"  {self.work:.2f} times the operations of one forward pass{kept}")
        for number, nodes in enumerate(self.passes, start=1):
            lines.append(f"  pass {number} of {len(self.passes) + 1} is for {', '.join(nodes)}")
        lines += [f"  {name} is held whole: {why}" for name, why in self.held_whole]
        return "\n".join(lines)


def plan_of(program: Program, band: int) -> StreamPlan:
    """Go through the schedule of a run without running it."""
    plan = plan_within(program, band, None)
    assert plan is not None
    return plan


def plan_within(program: Program, band: int, most: int | None) -> StreamPlan | None:
    """The same as far as it takes no more than ``most`` bytes, its saved state included; else None.

    What a run takes at most only grows from step to step, so that the first steps may refuse it.
    """
    tally, alike = _Tally(program, band), AlikeSteps(program, band)
    bands = steps(program, tally.schedule, band)
    while (step := next(bands, None)) is not None:
        tally.take(step)
        if most is not None and tally.peak + tally.state > most:
            return None
        turns, turn, rows = alike.shift(tally.stand, tally.spare)
        if turns:
            tally.skip(turns, rows)
            tally.count += turns * turn
            bands = steps(program, tally.schedule, band, done=tally.count)
    return tally.plan()


def work_of(program: Program, efforts: Mapping[str, int]) -> int:
    """The operations of a run, of those of its nodes by their first results."""
    return sum(efforts[op.node.results[0]] for op in program.ops)


def work_in_sections(
    program: Program, efforts: Mapping[str, int], sections: Sequence[Section]
) -> Fraction:
    """The same of a run in sections, which compute again what two of them need."""
    total = Fraction(0)
    for op, rows in zip(program.ops, rows_computed(program, sections), strict=True):
        _, value = op.results[0]
        total += Fraction(efforts[op.node.results[0]] * rows, program.values[value].rows or 1)
    return total


def plan_of_pushes(program: Program, chunk: int, *, pushes: int) -> StreamPlan:
    """Go through the schedule of a session with chunks of ``chunk`` rows."""
    length = program.wiring.rows[program.wiring.inputs[0]]
    ends = (min(chunk * (n + 1), length or ENDLESS) for n in range(pushes))
    limit = [ENDLESS] * len(program.wiring.outputs)
    tally = _Tally(program, chunk)
    for end in ends:
        tally.take(([end], limit))
        if tally.schedule.finished:
            break
    return tally.plan()


class _Tally:
    """The memory of each step, as the engine would have it.

    start, stop: the rows of each value that are held; chunk: where its last chunk starts
    spare: rows of each value in memory that waits to be used again (see ``Buffer``)
    """

    def __init__(self, program: Program, band: int) -> None:
        self.program, self.band = program, band
        self.schedule = Schedule(program.wiring)
        self.bytes = [value.row_bytes for value in program.values]
        self.start = [0] * len(program.values)
        self.stop = [0] * len(program.values)
        self.chunk = [0] * len(program.values)
        self.spare = [0] * len(program.values)
        self.most = [0] * len(program.values)
        self.held = self.peak = self.state = self.count = 0

    def take(self, step: BandStep) -> None:
        """The next step of a run."""
        available, limit = step
        self._step(self.schedule.advance(available, limit))
        self.count += 1

    @property
    def stand(self) -> Stand:
        """Where the run stands, by the rows of every value."""
        return self.schedule.done, self.schedule.floor, self.start, self.stop, self.chunk

    def skip(self, turns: int, rows: Sequence[int]) -> None:
        """So many turns of steps that do as the last ones did, each so many rows further."""
        for value, shift in enumerate(rows):
            for held in (self.start, self.stop, self.chunk):
                held[value] += turns * shift
        ended = [done + turns * shift for done, shift in zip(self.schedule.done, rows, strict=True)]
        self.schedule.go_on(ended)

    def plan(self) -> StreamPlan:
        """Of the steps so far."""
        kept = [
            Kept(value.name, rows, value.rows, rows * value.row_bytes)
            for value, rows in zip(self.program.values, self.most, strict=True)
            if rows
        ]
        kept.sort(key=lambda one: -one.nbytes)
        held = _held_whole(self.program)
        return StreamPlan(self.band, self.count, tuple(kept), held, self.state, self.peak)

    def _step(self, tasks: Sequence[Task]) -> None:
        uses = Counter(value for task in tasks for value, _ in self._operands(task))
        for task in tasks:
            self._run(task)
            uses.subtract(value for value, _ in self._operands(task))
            for value in (*(v for v, _ in self._operands(task)), *task.values):
                if uses[value] <= 0:
                    self._trim(value, self.schedule.floor[value])
        self.state = max(self.state, self.held)
        rows = (stop - start for start, stop in zip(self.start, self.stop, strict=True))
        self.most = [max(pair) for pair in zip(self.most, rows, strict=True)]

    def _operands(self, task: Task) -> Sequence[tuple[int, RowReach]]:
        return () if task.op is None else self.program.wiring.ops[task.op].operands

    def _run(self, task: Task) -> None:
        joined = sum(self._joined(value, task, reach) for value, reach in self._operands(task))
        beside = self._beside(task)
        for value in task.values:
            self._add(value, task)
        self.peak = max(self.peak, self.held + joined + beside)

    def _beside(self, task: Task) -> int:
        """The workspace of torch's kernel, then rows that are still to be copied to others."""
        read = apart = 0
        for value, reach in self._operands(task):
            start, stop = reach.span(task.lo, task.hi)
            rows = (stop - start) * self.bytes[value]
            first = max(self.chunk[value], self.start[value])
            read += rows
            apart += rows if first < start or (first == start and stop < self.stop[value]) else 0
        made = (task.hi - task.lo) * sum(self.bytes[value] for value in task.values)
        if task.op is None:
            return 0
        op, first = self.program.ops[task.op], task.values[0]
        joins = self.program.joins(task, self.stop[first] - self.start[first])
        moved = made if joins and not (op.executor.pieces or op.is_view) else 0
        return max(op.executor.beside(read, apart, made), moved)

    def _add(self, value: int, task: Task) -> None:
        held, new = self.stop[value] - self.start[value], task.hi - task.lo
        if not held:
            self.start[value] = task.lo
        self.chunk[value] = task.lo
        if self.program.joins(task, held):
            self.chunk[value] = self.start[value]
            self.held += (held - self.spare[value]) * self.bytes[value]
            self.spare[value] = held
        self.stop[value] = task.hi
        self.held += new * self.bytes[value]

    def _joined(self, value: int, task: Task, reach: RowReach) -> int:
        """The copy of rows that lie in several chunks, or partly outside; else there is none.

        An op that goes by pieces joins the windows across a seam alone, but at an end.
        """
        assert task.op is not None
        start, stop = reach.raw(task.lo, task.hi)
        copies = self.program.ops[task.op].executor.copies(task.lo, task.hi)
        is_pieced = task.op in self.program.pieced and start >= 0 and stop <= self.stop[value]
        if not copies:
            size = self.program.values[value].rows
            start, stop = max(start, 0), stop if size is None else min(stop, size)
        if start >= self.chunk[value] and stop <= self.stop[value]:
            return 0
        rows = stop - start
        return (min(rows, reach.across) if is_pieced else rows) * self.bytes[value]

    def _trim(self, value: int, floor: int) -> None:
        start, stop = self.start[value], self.stop[value]
        kept = min(max(floor, start), stop)
        if start < kept < stop and stop - kept != self.spare[value]:
            self.peak = max(self.peak, self.held + (stop - kept) * self.bytes[value])
        self.held -= (kept - start + self.spare[value]) * self.bytes[value]
        self.start[value], self.spare[value] = kept, 0


def _held_whole(program: Program) -> tuple[tuple[str, str], ...]:
    found = {}
    for op, dependence in zip(program.ops, program.wiring.ops, strict=True):
        for value, reach in dependence.operands:
            kind, asked = program.values[value], f"'{op.node.results[0]}' ({op.node.called})"
            if reach.holds_whole:
                found[kind.name] = f"{asked} reads its far end early"
            elif reach.grows:
                more = size_text(kind.row_bytes)
                found[kind.name] = f"{asked} reads all of its past, which grows by {more} a row"
    return tuple(found.items())
