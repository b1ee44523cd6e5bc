"""A stream handed on: its start, its steady step and its end as plain modules of torch ops.

A step of the engine is recorded once, at its own absolute positions; since steps are alike, the
record is every step's.  What it keeps goes in and comes out as tensors, the states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd

import torch
from torch import Tensor

from fieldwise.errors import Reason, UsageError
from fieldwise.tile.amounts import check_count
from fieldwise.tile.arrays import Interval
from fieldwise.tile.bands.counted import COUNTER, CountedTables
from fieldwise.tile.bands.emitted import EmittedFrom, EmittedOutput, EmittedState, EmittedStream
from fieldwise.tile.bands.endless import agree
from fieldwise.tile.bands.growing import Growing
from fieldwise.tile.bands.kernels.constants import laws_among
from fieldwise.tile.bands.latency import period, rates
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.programs import Programs
from fieldwise.tile.bands.recorded import recorded
from fieldwise.tile.bands.steady import Steady, check_on_grid, grid_of, steady_state
from fieldwise.tile.bands.stepping import StateLayout, Stepping
from fieldwise.tile.errors import StreamError, reason


def emit_stream(
    run: Programs, *, chunk: int | None = None, rest: int = 0, longest: int | None = None
) -> EmittedStream:
    """The stream of a model as three modules (see ``StreamedModel.emit``)."""
    rest = check_count(rest, "The rest of a stream is", 0)
    if chunk is not None and not isinstance(chunk, int):
        chunk = check_count(chunk, "A chunk is", 1)
    stride = period(run.program((tuple(run.single_input().shape),)).wiring)
    growing, program = _endless(run, gcd(chunk or stride, rest))
    grid = grid_of(program)
    chunk = -(-run.band // grid) * grid if chunk is None else chunk
    check_on_grid(chunk, grid)
    steady = steady_state(program, chunk)
    if program.lasts:
        return _Maker(run, program, steady, rest, None).emitted()
    if longest is None:
        raise StreamError("The stream has no steady state", _endless_tables(program), _LONGEST)
    if longest < steady.first + rest:
        raise UsageError(
            f"This stream has {steady.first + rest} samples at least, and the longest {longest}."
        )
    longer = growing.program(max(longest, program.captured))
    agree(program, longer)
    return _Maker(run, longer, steady_state(longer, chunk), rest, longest).emitted()


def _endless_tables(program: Program) -> list[Reason]:
    why = "a table of positions in it is as long as the stream"
    return [
        reason(op.node, why)
        for op in program.ops
        if not all(law.lasts for law in laws_among(op.nodes, program.laws))
    ]


_LONGEST = (
    "Say how many samples the longest stream has, emit(longest=...), or stream it with a session."
)


def _endless(run: Programs, multiple: int) -> tuple[Growing, Program]:
    """The program without an end, of lengths that are multiples of what all lengths here are.

    It is captured at a length at which windows of attention are seen to be windows, and tables to
    come back, if they do.
    """
    try:
        growing, program = Growing.opened(run, None)
    except StreamError:
        if multiple == 1:
            raise
        growing, program = Growing.opened(run, multiple)
    return growing, growing.settled(program)


@dataclass(frozen=True)
class _Maker:
    """What the parts are recorded from: a program without an end, and where it is steady."""

    run: Programs
    program: Program
    steady: Steady
    rest: int
    longest: int | None

    def emitted(self) -> EmittedStream:
        first, chunk, rest = self.steady.first, self.steady.chunk, self.rest
        tables = CountedTables.of(self.program, chunk)
        start = self._stepping(self.program, (0, first), None, tables)
        begun, state = start(*self._samples(first))
        layout = StateLayout.of(state)
        names = layout.names(self.program) + [COUNTER] * bool(tables.tables)
        states = list(start.flat(*self._samples(first))[len(begun) :])
        step = self._stepping(self.program, (first, first + chunk), layout, tables)
        ended = self._ended(first + rest)
        last_tables = tables.standing_in(self.program, ended)
        finish = self._stepping(ended, (first, first + rest), layout, last_tables)
        going, last = [*self._samples(chunk), *states], [*self._samples(rest), *states]
        rows = [begun, step(*going)[0], finish(*last)[0]]
        tables.check_asked(self.program)
        return EmittedStream(
            start=recorded(start.flat, self._samples(first), self._names),
            step=recorded(step.flat, going, self._names),
            finish=recorded(finish.last, last, self._names),
            dim=self.run.axis % len(self._shape(chunk)),
            shape=self._shape(chunk),
            dtype=going[0].dtype,
            first=first,
            rest=rest,
            outputs=tuple(self._outputs(rows)),
            states=tuple(
                EmittedState(name, tuple(one.shape), one.dtype)
                for name, one in zip(names, states, strict=True)
            ),
            longest=self.longest,
            source=EmittedFrom(self.run, self.program, self._doubled),
        )

    def _stepping(
        self,
        program: Program,
        samples: Interval,
        layout: StateLayout | None,
        tables: CountedTables,
    ) -> Stepping:
        return Stepping(program, self.run.device, samples, layout, tables)

    def _outputs(self, rows: Sequence[Sequence[Tensor]]) -> Iterator[EmittedOutput]:
        """What is known of each output, from the rows that each part gives."""
        per_sample = rates(self.program.wiring)
        names, values = self.program.output_names, self.program.outputs
        for name, value, *parts in zip(names, values, *rows, strict=True):
            dim = self.program.values[value].dim
            start, step, finish = (part.shape[dim] for part in parts)
            delay = self.steady.first - start / per_sample[value]
            yield EmittedOutput(name, dim, start, step, finish, delay)

    @cached_property
    def _names(self) -> dict[int, str]:
        """Of the model's parameters and buffers, by identity."""
        model = self.run.call.model
        return {id(one): name for name, one in (*model.named_parameters(), *model.named_buffers())}

    def _samples(self, count: int) -> list[Tensor]:
        """So many samples of the input, all zero, as a part is given them."""
        kind = self.program.values[self.program.wiring.inputs[0]]
        shape = self._shape(count)
        return [torch.zeros(shape, dtype=kind.dtype, device=self.run.device)] * (count > 0)

    def _shape(self, count: int) -> tuple[int, ...]:
        return tuple(self.program.values[self.program.wiring.inputs[0]].band(count))

    def _doubled(self) -> EmittedStream:
        run = Programs(self.run.streaming.doubled(), fuses=False)
        chunk, rest = self.steady.chunk, self.rest
        return emit_stream(run, chunk=chunk, rest=rest, longest=self.longest)

    def _ended(self, length: int) -> Program:
        """The program of a stream that ends there; it does what the endless one does before."""
        program = self.run.program((self._shape(length),))
        agree(self.program, program)
        return program
