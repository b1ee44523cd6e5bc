"""Run a program step by step: the only place where tensors are kept between bands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.capture.torch.autocast import as_recorded
from fieldwise.tile.bands.buffers import Buffer
from fieldwise.tile.bands.program import Op, Program
from fieldwise.tile.bands.schedule import Schedule, Task
from fieldwise.tile.errors import StreamError, fault, reason
from fieldwise.tile.inputs import check_complete

RowSource = Callable[[int, int, int], Tensor]
Emit = Callable[[int, int, Tensor], None]


@dataclass(frozen=True, slots=True)
class BandState:
    """A run between two steps, to go on elsewhere; it shares no memory with the run.

    done:    per value, its rows done
    held:    values of which rows are still needed: the first of these, and the rows
    carried: what ops carry along (recurrent layers, running sums); None before the first step
    """

    done: tuple[int, ...]
    held: Mapping[int, tuple[int, Tensor]] = field(default_factory=dict)
    carried: tuple[dict[str, Any], ...] | None = None


class Engine:
    """One run of a program: the buffers, the schedule and the states that ops carry along.

    nbytes, peak: memory of the rows that are kept now, and the most so far
    """

    def __init__(self, program: Program, device: torch.device) -> None:
        self.program = program
        self.schedule = Schedule(program.wiring)
        self.buffers = [Buffer(value, device) for value in program.values]
        self.states: list[dict[str, Any]] = [{} for _ in program.ops]
        self._row_bytes = [value.row_bytes for value in program.values]
        self.nbytes = self.peak = 0

    @classmethod
    def started_at(cls, program: Program, device: torch.device, rows: Sequence[int]) -> Engine:
        """A run of which each output has yet to make its rows from ``rows`` on."""
        engine = cls(program, device)
        engine.schedule = Schedule.started_at(program.wiring, rows)
        return engine

    @classmethod
    def restored(cls, program: Program, device: torch.device, state: BandState) -> Engine:
        """A run that goes on from a state of a run of the same program."""
        engine = cls(program, device)
        engine.schedule.go_on(state.done)
        for value, (lo, rows) in state.held.items():
            engine.buffers[value].append(lo, rows.to(device))
            engine.nbytes += engine.buffers[value].nbytes
        engine.peak = engine.nbytes
        if state.carried is not None:
            engine.states = [dict(one) for one in state.carried]
        return engine

    def state(self) -> BandState:
        """Where the run stands: what is done, and the rows that are still needed."""
        carried = tuple(dict(one) for one in self.states)
        return BandState(tuple(self.schedule.done), dict(self._held()), carried)

    def _held(self) -> Iterator[tuple[int, tuple[int, Tensor]]]:
        """Rows that are still needed; copied, so that no state keeps a whole band alive."""
        schedule = self.schedule
        for value, (lo, hi) in enumerate(zip(schedule.floor, schedule.done, strict=True)):
            if lo < hi:
                yield value, (lo, self.buffers[value].inside(lo, hi).clone().cpu())

    def step(
        self, available: Sequence[int], limit: Sequence[int], source: RowSource, emit: Emit
    ) -> None:
        """Compute what can be computed.

        available: rows of each input that exist by now; limit: at most so many new output rows
        source:    gives rows [lo, hi) of input number k
        emit:      is given each new piece of an output: its value's number, its first row
        """
        tasks = self.schedule.advance(available, limit)
        uses = Counter(value for task in tasks for value in self._operands(task))
        outputs = set(self.program.wiring.outputs)
        with as_recorded():
            for task in tasks:
                made = self._made(task, source)
                for value, rows in zip(task.values, made, strict=True):
                    self.buffers[value].append(task.lo, rows)
                    self.nbytes += (task.hi - task.lo) * self._row_bytes[value]
                    if value in outputs:
                        emit(value, task.lo, rows)
                self.peak = max(self.peak, self.nbytes)
                uses.subtract(self._operands(task))
                for value in {*self._operands(task), *task.values}:
                    if uses[value] <= 0:
                        self._trim(value)

    def follow(self, other: Engine) -> None:
        """Go on where another run of the same ops has stopped (its total length is known now)."""
        self.schedule.go_on(other.schedule.done)
        self.states = other.states
        for mine, theirs in zip(self.buffers, other.buffers, strict=True):
            mine.take_over(theirs)
        self.nbytes = other.nbytes

    def _trim(self, value: int) -> None:
        buffer = self.buffers[value]
        before = buffer.nbytes
        buffer.trim(self.schedule.floor[value])
        self.nbytes -= before - buffer.nbytes

    def _operands(self, task: Task) -> Sequence[int]:
        if task.op is None:
            return ()
        return tuple(self.program.ops[task.op].operands.values())

    def _made(self, task: Task, source: RowSource) -> list[Tensor]:
        if task.op is None:
            number = self.program.wiring.inputs.index(task.values[0])
            rows = source(number, task.lo, task.hi)
            planned = self.program.values[task.values[0]]
            check_complete(number, rows.shape, planned.band(task.hi - task.lo))
            return [_channels_last(rows)]
        op = self.program.ops[task.op]
        operands = _OperandRows(op, self.buffers, self.states[task.op])
        try:
            found = op.run(operands, task.lo, task.hi)
            made = list(found) if len(found) == 1 else [found[place] for place, _ in op.results]
            for tensor, value in zip(made, task.values, strict=True):
                self._check(op, value, tensor, task.hi - task.lo)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise StreamError(
                f"The rows from {task.lo} to {task.hi} could not be computed",
                [reason(op.node, fault(error))],
                "Until it is mended, run the model on the whole input.",
            ) from error
        return made

    def _check(self, op: Op, value: int, made: Tensor, rows: int) -> None:
        """A band of another shape than planned would be a wrong result: never let it pass."""
        planned = self.program.values[value]
        shape = planned.band(rows)
        if list(made.shape) != shape:
            raise RuntimeError(
                f"'{planned.name}' ({op.node.op}) came out as {tuple(made.shape)} instead of "
                f"{tuple(shape)}"
            )


def _channels_last(rows: Tensor) -> Tensor:
    """The same rows with the channels beside each other in memory, as far as they are images.

    A band of rows is then one piece of memory, so that bands are joined and cut at once, and
    torch's convolutions on CPUs run without reordering what they make (and keep the layout).
    """
    if rows.dim() != 4 or rows.device.type != "cpu":
        return rows
    return rows.contiguous(memory_format=torch.channels_last)


class _OperandRows:
    """The rows of one op's operands (see executors.registry.Rows)."""

    __slots__ = ("_buffers", "_op", "state")

    def __init__(self, op: Op, buffers: Sequence[Buffer], state: dict[str, Any]) -> None:
        self._op, self._buffers, self.state = op, buffers, state

    def inside(self, operand: int, start: int, stop: int) -> Tensor:
        """Rows that exist."""
        return self._buffers[self._op.operands[operand]].inside(start, stop)

    def padded(
        self, operand: int, start: int, stop: int, border: Border, fill: float = 0.0
    ) -> Tensor:
        """Rows of which some may not exist."""
        return self._buffers[self._op.operands[operand]].padded(start, stop, border, fill)
