"""What streaming a model takes: how far it looks ahead, how long a row waits, state and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from fieldwise.errors import CaptureError, Reason, UsageError, did_you_mean
from fieldwise.field import receptive_fields
from fieldwise.field.report import AxisField, Row, largest
from fieldwise.graph.flops import flops
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Shape
from fieldwise.graph.spatial import usual_axes
from fieldwise.reports import Report
from fieldwise.tile.bands.growing import Growing
from fieldwise.tile.bands.latency import period, pushes_to_settle, rates, waits
from fieldwise.tile.bands.plan import plan_of_pushes
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.programs import Programs
from fieldwise.tile.errors import StreamError

Lengths = Literal["any", "multiple", "announced", "refused"]
"""Which total lengths a session takes without being told: any, multiples of a number, none until
it is announced; or there is no session."""


@dataclass(frozen=True, slots=True)
class OutputLatency:
    """When the rows of one output come, in input samples.

    name:       of the output
    per_sample: rows of it per input sample
    look_ahead: how far a row sees beyond its own position; None where that has no bound, or is
                not known (see ``why``)
    past:       how far it sees back; None likewise
    all_past:   whether it sees all that came before
    latency:    how many samples after its own first one a row comes, at most, in the long run: what
                it sees ahead, and what strides wait for; None where it is not streamed
    at_start:   the same of the first rows, which may wait for what is mirrored there
    why:        what makes the look-ahead unbounded or unknown, or None
    """

    name: str
    per_sample: Fraction
    look_ahead: Fraction | None
    past: Fraction | None
    all_past: bool = False
    latency: int | None = None
    at_start: int | None = None
    why: str | None = None

    @property
    def causal(self) -> bool:
        """Whether no row is known to see anything beyond its own position."""
        if self.look_ahead is None:
            return self.latency == 0
        return self.look_ahead <= 0


@dataclass(frozen=True, slots=True)
class LatencyReport(Report):
    """What a stream of live data takes, an entry per output; made by ``latency``.

    input, shape: the value that is streamed, and its shape in the example
    axis:     of it, along which it is streamed
    outputs:  the rows of the report
    lengths:  which total lengths need not be announced: 'any', 'multiple' (of ``grid``), or
              'announced' (it must be); 'refused' where the model cannot be streamed
    grid:     after so many input samples every value has a whole number of rows
    state_bytes: what is kept between two chunks of ``grid`` samples
    state_growth: by how many bytes per input sample that grows, where all of the past is kept
    flops_per_sample: operations per input sample, in the long run
    reasons, remedy: what is in the way of a stream whose length nobody knows, and what helps
    rate:     input samples per second, where that was given
    model:    the name of the model as the command was given it
    """

    input: str
    shape: Shape
    axis: int
    outputs: tuple[OutputLatency, ...]
    lengths: Lengths
    grid: int | None = None
    state_bytes: int | None = None
    state_growth: Fraction | None = None
    flops_per_sample: Fraction | None = None
    reasons: tuple[Reason, ...] = ()
    remedy: str = ""
    rate: Fraction | None = None
    model: str | None = None

    @property
    def rows(self) -> tuple[OutputLatency, ...]:
        """The outputs."""
        return self.outputs

    def __getitem__(self, name: str) -> OutputLatency:
        """The row of an output.  Raises UsageError for an unknown one."""
        for row in self.outputs:
            if row.name == name:
                return row
        known = [row.name for row in self.outputs]
        otherwise = f"there are {', '.join(known)}."
        raise UsageError(f"No output '{name}'; {did_you_mean(name, known, otherwise=otherwise)}")

    @property
    def flops_per_second(self) -> Fraction | None:
        """Operations per second of signal, where the rate is known."""
        if self.rate is None or self.flops_per_sample is None:
            return None
        return self.rate * self.flops_per_sample

    def milliseconds(self, samples: Fraction | int | None) -> Fraction | None:
        """How long so many input samples take, where the rate is known."""
        return None if self.rate is None or samples is None else 1000 * samples / self.rate


def latency_report(run: Programs, *, rate: Fraction | None = None) -> LatencyReport:
    """The report of a model on its example; what is in the way is in it, and raises nothing.

    Raises CaptureError where the model cannot be recorded, UsageError where it takes several
    inputs.
    """
    shape = tuple(run.single_input().shape)
    graph = run.graph((shape,))
    axis = run.axis % len(shape)
    found = LatencyReport(
        graph.inputs[0], shape, axis, tuple(_seen(graph, axis)), "refused", rate=rate
    )
    try:
        program = run.program((shape,))
    except StreamError as error:
        return replace(found, reasons=error.reasons, remedy=_remedy(run, error, shape))
    cost = _flops_per_sample(graph, program)
    found = replace(found, grid=period(program.wiring), flops_per_sample=cost)
    lengths, program, refused = _longest_lived(run, program)
    if refused is not None:
        remedy = _ANNOUNCED[lengths].format(grid=found.grid)
        found = replace(found, reasons=refused.reasons, remedy=remedy)
    return replace(
        found,
        lengths=lengths,
        outputs=tuple(_timed(row, program) for row in found.outputs),
        state_bytes=_state_bytes(program),
        state_growth=_state_growth(program),
    )


def _remedy(run: Programs, error: StreamError, shape: Shape) -> str:
    """What to do about a refusal: the axis that does, where one was tried and does."""
    others = [axis for axis in usual_axes(len(shape)) if axis != run.axis % len(shape)]
    axis = run.axis_that_streams((shape,), others)
    if axis is not None:
        error = error.with_option(
            f"Along axis {axis} it can be streamed: axis={axis} (--axis {axis})."
        )
    return error.in_one_pass().remedy


def _longest_lived(
    run: Programs, announced: Program
) -> tuple[Lengths, Program, StreamError | None]:
    """The program of the session that need be told least, and why not less."""
    grid = period(announced.wiring)
    first: StreamError | None = None
    kinds: tuple[tuple[Lengths, int], ...] = (("any", 1), ("multiple", grid))
    for lengths, multiple in kinds[: 1 + (grid > 1)]:
        try:
            growing, program = Growing.opened(run, multiple)
            program.check_rows_apart()
            return lengths, growing.settled(program), first
        except CaptureError:
            continue  # of such a length there is no whole
        except StreamError as error:
            first = first or error
    return "announced", announced, first


# -------------------------------------------------------------------- what rows see


def _seen(graph: Graph, axis: int) -> Iterator[OutputLatency]:
    """What the rows of each output see, as the field analysis has it."""
    fields = receptive_fields(replace(graph, zeros={}), axes=axis)  # as the kernels are run
    by_name = {row.name: row for row in fields.rows}
    for name, value in zip(graph.output_names, graph.outputs, strict=True):
        if value in by_name:
            yield _of_field(name, by_name[value])


def _of_field(name: str, row: Row) -> OutputLatency:
    parts = [piece.axes[0] for piece in row.pieces] or [row.axes[0]]
    stride = row.axes[0].stride
    return OutputLatency(
        name,
        per_sample=1 / stride if stride else Fraction(1),
        look_ahead=largest([part.look_ahead for part in parts]),
        past=largest([left for part in parts for left, _ in part.context or ((None, None),)]),
        all_past=any(part.past for part in parts),
        why=row.why or _unbounded(parts),
    )


def _unbounded(parts: Sequence[AxisField]) -> str | None:
    """Why rows have no look-ahead, if they have none."""
    for part in parts:
        if part.full:
            return f"'{part.full_by}' sees the whole axis"
        if part.future:
            return "it sees all that comes"
        if part.look_ahead is None:
            return "no closed form of the rows that it sees"
    return None


# -------------------------------------------------------------------- what a session does


def _timed(row: OutputLatency, program: Program) -> OutputLatency:
    if row.name not in program.output_names:
        return row
    value = program.outputs[program.output_names.index(row.name)]
    at_start, latency = waits(program.wiring, value)
    per_sample = rates(program.wiring)[value]
    return replace(row, per_sample=per_sample, latency=latency, at_start=at_start)


def _state_bytes(program: Program) -> int:
    """Rows that are kept between chunks of the grid, and what ops carry along."""
    grid = period(program.wiring)
    plan = plan_of_pushes(program, grid, pushes=pushes_to_settle(program.wiring, grid))
    return plan.state_bytes + sum(op.executor.carried_bytes for op in program.ops)


def _state_growth(program: Program) -> Fraction:
    """The bytes per input sample of the rows that are never forgotten."""
    per_sample = rates(program.wiring)
    operands = (one for op in program.wiring.ops for one in op.operands)
    return sum(
        (
            program.values[value].row_bytes * per_sample[value]
            for value in {value for value, reach in operands if reach.grows}
        ),
        start=Fraction(0),
    )


def _flops_per_sample(graph: Graph, program: Program) -> Fraction:
    """The operations of all streamed nodes: per row of the result, times its rows per sample.

    graph: that of the program
    """
    per_sample = rates(program.wiring)
    counted = {id(op.node): op for op in program.ops}
    return sum(
        (
            Fraction(flops(op.node, graph.values), max(kind.shape[kind.dim], 1)) * per_sample[value]
            for op in counted.values()
            for _, value in op.results[:1]
            for kind in (program.values[value],)
        ),
        start=Fraction(0),
    )


_ANNOUNCED: Mapping[Lengths, str] = {
    "announced": "Announce the length, session(length=...).",
    "multiple": "Announce what the length is a multiple of, session(multiple={grid}).",
}
"""What helps, by what was tried and works."""
