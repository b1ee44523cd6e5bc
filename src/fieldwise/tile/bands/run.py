"""Run a program step by step: the only place where tensors are kept between bands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.capture.torch.autocast import as_recorded
from fieldwise.capture.torch.tree import map_tensors
from fieldwise.tile.bands.buffers import Buffer
from fieldwise.tile.bands.kernels.constants import ConstantRows, cut
from fieldwise.tile.bands.kernels.registry import Carried
from fieldwise.tile.bands.program import Op, Program
from fieldwise.tile.bands.schedule import Schedule, Task
from fieldwise.tile.errors import StreamError, fault, reason
from fieldwise.tile.inputs import check_complete
from fieldwise.tile.memory_format import Convolved

RowSource = Callable[[int, int, int], Tensor]
"""Gives rows [lo, hi) of input number k, called with (k, lo, hi)."""

OutputRows = tuple[int, int, Tensor]
"""New rows of an output: its value's number, the first row, and the rows."""

PlainState = tuple[
    int, tuple[int, ...], Mapping[int, tuple[int, Tensor]], tuple[Carried, ...] | None
]
"""A ``BandState`` as numbers, tensors, tuples and dicts: steps, done, held, carried."""


Snapshot = tuple[list[int], list[Buffer], int, int]
"""Where an engine is: rows done, buffers, bytes, steps."""


@dataclass(frozen=True, slots=True)
class BandState:
    """A run between two steps, to go on elsewhere; it shares no memory with what comes later.

    done:    per value, its rows done
    held:    values of which rows are still needed: the first of these, and the rows
    carried: what ops carry along (recurrent layers, running sums); None before the first step
    steps:   how many steps are done
    """

    done: tuple[int, ...]
    held: Mapping[int, tuple[int, Tensor]] = field(default_factory=dict)
    carried: tuple[Carried, ...] | None = None
    steps: int = 0

    @property
    def nbytes(self) -> int:
        """The memory of the rows and of what is carried."""
        tensors = [rows for _, rows in self.held.values()]
        for one in (one for state in self.carried or () for one in state.values()):
            tensors += one if isinstance(one, (list, tuple)) else [one]
        return sum(tensor.nbytes for tensor in tensors)

    def to(self, device: torch.device) -> BandState:
        """The same on a device."""
        held, carried = map_tensors(lambda one: one.to(device), (dict(self.held), self.carried))
        return replace(self, held=held, carried=carried)

    def plain(self) -> PlainState:
        """As plain data on the host, to be saved."""
        here = self.to(torch.device("cpu"))
        return here.steps, here.done, dict(here.held), here.carried

    @classmethod
    def of(cls, plain: PlainState) -> BandState:
        """From what ``plain`` gives."""
        steps, done, held, carried = plain
        return cls(tuple(done), dict(held), carried, steps)


class Engine:
    """One run of a program: the buffers, the schedule and the states that ops carry along.

    state: of a run of the same program, or of one that differs in its total length, to go on from
    constants: reads positions of constants
    functional: whether no tensor is written to once it is made, so that the ops of a step can be
            recorded
    nbytes, peak: memory of the rows that are kept now, and the most so far
    steps: how many steps are done; replayed: how many of these a recording has made
    """

    def __init__(
        self,
        program: Program,
        device: torch.device,
        state: BandState | None = None,
        *,
        constants: ConstantRows = cut,
        functional: bool = False,
    ) -> None:
        self.program, self.device, self._constants = program, device, constants
        self.schedule = Schedule(program.wiring)
        self._functional = functional
        dtypes = {value.dtype for value in program.values}
        self._convolved = Convolved(device, dtypes, keeps=not functional)
        self._ranks = program.convolved_ranks
        self.peak = self.replayed = 0
        self._go_on(BandState(tuple(self.schedule.done)) if state is None else state)

    def _go_on(self, state: BandState) -> None:
        state = state.to(self.device)
        self.schedule.go_on(state.done)
        self.buffers = [Buffer(value, self.device) for value in self.program.values]
        self.states: list[Carried] = [dict(one) for one in state.carried or ()]
        self.states = self.states or [{} for _ in self.program.ops]
        self.steps = state.steps
        for value, (lo, rows) in state.held.items():
            self.buffers[value].append(lo, rows)
            self.buffers[value].trim(self.schedule.floor[value])
        self.nbytes = sum(buffer.nbytes for buffer in self.buffers)
        self.peak = max(self.peak, self.nbytes)

    def state(self) -> BandState:
        """What is done, and the rows that are still needed."""
        carried = tuple(dict(one) for one in self.states)
        return BandState(tuple(self.schedule.done), dict(self._held()), carried, self.steps)

    def suspend(self) -> BandState:
        """The state, from which this run itself goes on.

        So whoever starts from it, after a crash or on another machine, computes the same bits.
        """
        state = self.state()
        if not self.is_settled:
            self._go_on(state)
        return state

    @property
    def is_settled(self) -> bool:
        """Whether all that it goes on from lies as in a run that starts from its state.

        Then a step leaves what it keeps where it was, too.
        """
        return not any(self.states) and all(buffer.is_settled for buffer in self.buffers)

    def snapshot(self) -> Snapshot:
        """Where it is, without the contents of its memory."""
        schedule, buffers = self.schedule, [buffer.snapshot() for buffer in self.buffers]
        return list(schedule.done), buffers, self.nbytes, self.steps

    def restore(self, snapshot: Snapshot) -> None:
        """Go back there; what lies in its memory has to be the same."""
        done, self.buffers, self.nbytes, self.steps = snapshot
        self.schedule.go_on(done)

    def shift(self, gains: Sequence[int]) -> None:
        """Count a step that was made by a recording: per value, the rows that it gained."""
        self.schedule.shift(gains)
        for buffer, rows in zip(self.buffers, gains, strict=True):
            buffer.shift(rows)
        self.steps += 1
        self.replayed += 1

    def _held(self) -> Iterator[tuple[int, tuple[int, Tensor]]]:
        """Rows that are still needed; copied, so that no state keeps a whole band alive."""
        schedule = self.schedule
        for value, (lo, hi) in enumerate(zip(schedule.floor, schedule.done, strict=True)):
            if lo < hi:
                yield value, (lo, self.buffers[value].copied(lo, hi))

    def step(
        self, available: Sequence[int], limit: Sequence[int], source: RowSource
    ) -> list[OutputRows]:
        """Compute what can be computed: the new rows of the outputs.

        available: rows of each input that exist by now; limit: at most so many new output rows
        """
        tasks = self.schedule.advance(available, limit)
        uses = Counter(value for task in tasks for value in self._operands(task))
        outputs, found = set(self.program.wiring.outputs), list[OutputRows]()
        with as_recorded():
            for task in tasks:
                before = self._nbytes(task.values)
                made = self._made(task, source)
                self.nbytes += self._nbytes(task.values) - before
                for value, rows in zip(task.values, made, strict=True):
                    if value in outputs:
                        found.append((value, task.lo, rows))
                self.peak = max(self.peak, self.nbytes)
                uses.subtract(self._operands(task))
                for value in {*self._operands(task), *task.values}:
                    if uses[value] <= 0:
                        self._trim(value)
        self.steps += 1
        return found

    def _trim(self, value: int) -> None:
        buffer = self.buffers[value]
        before = buffer.nbytes
        buffer.trim(self.schedule.floor[value])
        self.nbytes -= before - buffer.nbytes

    def _nbytes(self, values: Sequence[int]) -> int:
        return sum(self.buffers[value].nbytes for value in values)

    def _operands(self, task: Task) -> Sequence[int]:
        if task.op is None:
            return ()
        return tuple(self.program.ops[task.op].operands.values())

    def _made(self, task: Task, source: RowSource) -> list[Tensor]:
        """The rows of a task, which the buffers of its values have from then on."""
        is_apart = task.op is not None and not self.program.ops[task.op].executor.pieces
        room = None if is_apart else self._room(task)
        made = self._read(task, source, room) if task.op is None else self._run(task, room)
        room = self._room(task) if is_apart else room
        if room is not None:
            return [made[0] if made[0] is room else room.copy_(made[0])]
        for value, rows in zip(task.values, made, strict=True):
            self.buffers[value].append(task.lo, rows)
        return made

    def _room(self, task: Task) -> Tensor | None:
        """Where the rows of a task are to be written; None where they are a tensor of their own."""
        buffer, rows = self.buffers[task.values[0]], task.hi - task.lo
        if self._functional:
            return None
        if self.program.joins(task, buffer.held):
            return buffer.room(rows)
        like = self._in_pieces(task)
        return None if like is None else buffer.piece(task.lo, rows, like)

    def _in_pieces(self, task: Task) -> Tensor | None:
        """A piece of an operand of an op that goes from seam to seam; None where there is none."""
        if task.op is None or task.op not in self.program.pieced:
            return None
        reads = self.program.wiring.ops[task.op].operands
        read = [(self.buffers[value], reach.span(task.lo, task.hi)) for value, reach in reads]
        if not any(buffer.seams(*span) for buffer, span in read):
            return None
        rank = len(self.program.values[task.values[0]].shape)
        alike = (buffer.last for buffer, _ in read if len(buffer.value.shape) == rank)
        return next(alike, None)

    def _read(self, task: Task, source: RowSource, room: Tensor | None) -> list[Tensor]:
        (value,) = task.values
        number, planned = self.program.wiring.inputs.index(value), self.program.values[value]
        rows = source(number, task.lo, task.hi)
        check_complete(number, rows.shape, planned.band(task.hi - task.lo))
        rank = len(planned.whole)
        if room is None and rank in self._ranks:
            return [self._convolved.rows(rows, rank)]
        return [rows]

    def _run(self, task: Task, room: Tensor | None) -> list[Tensor]:
        assert task.op is not None
        op = self.program.ops[task.op]
        operands = _OperandRows(
            op,
            self.buffers,
            self.states[task.op],
            self._constants,
            self._convolved,
            room,
            recorded=self._functional,
        )
        try:
            found = op.executor.run(operands, task.lo, task.hi)
            made = list(found) if len(found) == 1 else [found[place] for place, _ in op.results]
            pairs = zip(made, task.values, strict=True)
            made = [self._checked(op, value, rows, task.hi - task.lo) for rows, value in pairs]
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise StreamError(
                f"The rows from {task.lo} to {task.hi} could not be computed",
                [reason(op.node, fault(error))],
                _remedy(error),
            ) from error
        return made

    def _checked(self, op: Op, value: int, made: Tensor, rows: int) -> Tensor:
        """A band of another shape or type than planned is a wrong result: never let it pass."""
        planned = self.program.values[value]
        made, shape = planned.unfolded(made), planned.band(rows)
        if list(made.shape) != shape:
            raise RuntimeError(
                f"'{planned.name}' ({op.node.called}) came out as {tuple(made.shape)} instead of "
                f"{tuple(shape)}"
            )
        if made.dtype != planned.dtype:
            raise RuntimeError(
                f"'{planned.name}' ({op.node.called}) came out as {made.dtype}, where torch "
                f"promises {planned.dtype}"
            )
        return made


def _remedy(error: Exception) -> str:
    if isinstance(error, NotImplementedError):
        return "Choose another dtype, or another device."
    return "Until it is repaired, run the model on the whole input."


class _OperandRows:
    """The rows of one op's operands (see kernels.registry.Rows)."""

    __slots__ = ("_buffers", "_op", "constant", "convolved", "recorded", "room", "state")

    def __init__(
        self,
        op: Op,
        buffers: Sequence[Buffer],
        state: Carried,
        constant: ConstantRows,
        convolved: Convolved,
        room: Tensor | None,
        *,
        recorded: bool,
    ) -> None:
        self._op, self._buffers, self.state, self.constant = op, buffers, state, constant
        self.convolved, self.room, self.recorded = convolved, room, recorded

    def inside(self, operand: int, start: int, stop: int) -> Tensor:
        """Rows that exist."""
        buffer = self._buffer(operand)
        is_written = self._op.executor.pieces and self.room is not None
        found = buffer.lent(start, stop) if is_written else buffer.inside(start, stop)
        return buffer.value.folded(found)

    def padded(
        self, operand: int, start: int, stop: int, border: Border, fill: float = 0.0
    ) -> Tensor:
        """Rows of which some may not exist."""
        buffer = self._buffer(operand)
        return buffer.value.folded(buffer.padded(start, stop, border, fill))

    def seams(self, operand: int, start: int, stop: int) -> Sequence[int]:
        """Rows in between with which another chunk begins."""
        return self._buffer(operand).seams(start, stop)

    def _buffer(self, operand: int) -> Buffer:
        made = self._buffers[self._op.operands[operand]]
        seat = self._op.seats.get(operand)
        return made if seat is None else made.seated(seat)
