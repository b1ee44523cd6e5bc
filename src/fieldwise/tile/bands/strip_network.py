"""A strip as a network of its own: new columns, and those that were kept, in; results and those to
keep out.

It is one step of the engine along the axis across the bands, recorded.  What comes out is a graph
like any other, which is streamed along the bands: so every value is computed once, whatever borders
strips and bands have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.capture import record
from fieldwise.capture.torch.example import meta_tensor
from fieldwise.errors import Reason
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Shape
from fieldwise.tile.bands.column_steps import ColumnStep, Likeness, column_steps
from fieldwise.tile.bands.compile import compile_program
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.fusing import as_run_on
from fieldwise.tile.bands.known import Known
from fieldwise.tile.bands.program import Program, Streamed
from fieldwise.tile.bands.reading import reading
from fieldwise.tile.bands.run import BandState, Engine
from fieldwise.tile.errors import StreamError, reason


class StripNetwork(nn.Module):
    """A strip of a model: (new columns, if there are any, kept ones …) → (results, kept ones …)."""

    def __init__(
        self, model: nn.Module, program: Program, device: torch.device, step: ColumnStep
    ) -> None:
        super().__init__()
        self.model, self._program, self._device, self._step = model, program, device, step
        self.training = False

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """One step of the engine."""
        program, step = self._program, self._step
        (source,) = program.wiring.inputs
        start, stop = step.reads(source)
        chunk, kept = (given[:1], given[1:]) if start < stop else ((), given)
        pairs = zip(step.given, kept, strict=True)
        held = {value: (lo, columns) for (value, lo, _), columns in pairs}
        engine = Engine(program, self._device, BandState(step.before, held), functional=True)
        read = reading(program, self._device, chunk, [start])
        parts: dict[int, list[Tensor]] = {value: [] for value in program.wiring.outputs}
        for value, _, columns in engine.step(step.available, step.limit, read):
            parts[value].append(columns)
        dims = {value: program.values[value].dim for value in parts}
        results = (torch.cat(parts[value], dims[value]) for value in program.outputs)
        keeps = (engine.buffers[value].inside(lo, hi) for value, lo, hi in step.keeps)
        return (*results, *keeps)


@dataclass(frozen=True, slots=True)
class CompiledStrip:
    """A strip and the program that streams it along the bands.

    outputs: per output of the model, in the order of its wiring, its value in the program
    keeps:   per value that is kept for the next strip, its value in the program
    inputs:  per input of the program, 0 for new columns, else 1 + its place among those given
    """

    step: ColumnStep
    graph: Graph
    program: Program
    outputs: tuple[int, ...]
    keeps: tuple[int, ...]
    inputs: tuple[int, ...]

    @property
    def kept(self) -> list[Streamed]:
        """The columns that it keeps, as values of the program."""
        return [self.program.values[value] for value in self.keeps]

    @property
    def kept_bytes(self) -> int:
        """Of these."""
        return sum(kind.row_bytes * (kind.rows or 0) for kind in self.kept)


@dataclass(frozen=True)
class ColumnStream:
    """A model streamed along both axes: strips one after the other, each band by band.

    across: its program along the axis across the bands; endless: without a right end, if it has one
    along:  where the axis of the bands lies in the input, and in other values by name
    """

    model: nn.Module
    device: torch.device
    across: Program
    endless: Program | None
    dtype: torch.dtype
    axis: int
    along: dict[str, AxisPlace]
    _compiled: dict[tuple[int, int], CompiledStrip] = field(default_factory=dict)
    _likeness: dict[int, Likeness] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, graph: Graph, device: torch.device, axis: int, across: int
           ) -> ColumnStream:  # fmt: skip
        """Of a graph of the model.

        Raises StreamError where it cannot be streamed along either axis, or columns cannot be kept.
        """
        one, other = compile_program(graph, axis), compile_program(graph, across)
        other.check_rows_apart()
        places = {value.name: value.axis for value in one.values}
        _check_columns(other)
        try:
            endless = compile_program(graph, across, endless=True, laws={})
            alike = [v.name for v in endless.values] == [v.name for v in other.values]
        except StreamError:
            alike = False
        (source,) = graph.inputs
        dtype = getattr(torch, graph.values[source].dtype)
        return cls(model, device, other, endless if alike else None, dtype, axis, places)

    def steps(self, strip: int) -> Sequence[ColumnStep]:
        """The strips, along the axis across the bands (see ``column_steps``)."""
        return self._alike(strip).steps

    def firsts(self, strip: int) -> list[int]:
        """Per strip, the number of the first that does the same."""
        return self._alike(strip).firsts

    def _alike(self, strip: int) -> Likeness:
        if strip not in self._likeness:
            steps = column_steps(self.across, strip)
            self._likeness[strip] = Likeness(steps, strip, self.across.wiring, self.endless)
        return self._likeness[strip]

    def compiled(self, strip: int, number: int) -> CompiledStrip:
        """The program of one of the strips, or of another that does the same; made once."""
        if (strip, number) not in self._compiled:
            self._compiled[strip, number] = self._compile(self.steps(strip)[number])
        return self._compiled[strip, number]

    def forget(self) -> None:
        """Drop the programs of strips of widths that were only tried."""
        self._compiled.clear()

    def _compile(self, step: ColumnStep) -> CompiledStrip:
        (source,) = self.across.wiring.inputs
        shapes = [self._shape(value, lo, hi) for value, lo, hi in step.given]
        types = [self.across.values[value].dtype for value, _, _ in step.given]
        new = step.reads(source)
        if new[0] < new[1]:
            shapes, types = [self._shape(source, *new), *shapes], [self.dtype, *types]
        given = tuple(map(meta_tensor, shapes, types))
        graph = record(StripNetwork(self.model, self.across, self.device, step), given)
        fresh = len(given) - len(step.given)
        kept = {
            name: self._place(value)
            for name, (value, _, _) in zip(graph.inputs[fresh:], step.given, strict=True)
        }
        as_run = as_run_on(self.device, graph)
        program = compile_program(as_run, self.axis, known=Known(kept=kept))
        program.check_rows_apart()
        number = dict(zip(graph.inputs, range(1 - fresh, len(given) + 1), strict=False))
        results = program.outputs[: len(self.across.outputs)]
        places = [self.across.outputs.index(value) for value in self.across.wiring.outputs]
        return CompiledStrip(
            step,
            graph,
            program,
            tuple(results[place] for place in places),
            program.outputs[len(results) :],
            tuple(number[program.values[value].name] for value in program.wiring.inputs),
        )

    def _shape(self, value: int, lo: int, hi: int) -> Shape:
        return tuple(self.across.values[value].band(hi - lo))

    def _place(self, value: int) -> AxisPlace:
        """Where the axis of the bands lies in columns of a value.

        Raises StreamError where they are no columns of it.
        """
        kind = self.across.values[value]
        place = self.along.get(kind.name)
        if place is None or place.lead > 1 or kind.lead > 1 or place.dim == kind.dim:
            why = f"the two axes do not lie in two dimensions of '{kind.name}'"
            raise StreamError(_NOT_SO, [Reason("", "", why)], _ROWS)
        return place


def _check_columns(program: Program) -> None:
    """Raise StreamError where a strip would have to keep more than columns at its end."""
    reasons = []
    for op, dependence in zip(program.ops, program.wiring.ops, strict=True):
        if dependence.ordered:
            reasons.append(reason(op.node, "it keeps a state from column to column"))
        elif any(reach.holds_whole or reach.grows for _, reach in dependence.operands):
            reasons.append(reason(op.node, "it reads columns as far back as there are any"))
    if reasons:
        raise StreamError(_NOT_SO, reasons, _ROWS)


_NOT_SO = "The model cannot be streamed in strips that keep columns"
_ROWS = "Strips that keep rows alone may do: --cache rows."
