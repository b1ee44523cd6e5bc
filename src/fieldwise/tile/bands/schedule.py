"""When each row is computed and when it is forgotten: integers only, no tensors.

One step makes some input rows available and asks every output for its next rows.  Rows are asked
for from the outputs back to the inputs (pull); each node computes what of that can be computed by
now, never a row twice, and every value forgets the rows that nobody will read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldwise.tile.bands.reach import RowReach


@dataclass(frozen=True, slots=True)
class Dependence:
    """One op of a program: values by number.

    results:  made together, row by row alike
    operands: (value, reach) of each that it reads
    ordered:  whether it needs every row, from the first on
    tail:     of the rows that will exist at least, so many at the end may still be others
    """

    results: tuple[int, ...]
    operands: tuple[tuple[int, RowReach], ...]
    ordered: bool = False
    tail: int = 0


@dataclass(frozen=True, slots=True)
class Wiring:
    """A program without its ops: rows of each value (None: endless), inputs, outputs, ops."""

    rows: tuple[int | None, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ops: tuple[Dependence, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """Rows [lo, hi) to compute: of an op's results, or of an input (op is None)."""

    op: int | None
    values: tuple[int, ...]
    lo: int
    hi: int


class Schedule:
    """The state of a run: per value, how many rows are done and from which row on they are kept."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.done = [0] * len(wiring.rows)
        self.floor = [0] * len(wiring.rows)
        self._update_floors()

    @classmethod
    def started_at(cls, wiring: Wiring, rows: Sequence[int]) -> Schedule:
        """A schedule of which each output has yet to make its rows from ``rows`` on.

        What an op needs of an output's earlier rows is made too; the results of one op begin
        together.
        """
        schedule = cls(wiring)
        for value, row in zip(wiring.outputs, rows, strict=True):
            schedule.done[value] = row
        together = [*((value,) for value in wiring.inputs), *(op.results for op in wiring.ops)]
        begun = [values for values in together if not set(values).isdisjoint(wiring.outputs)]
        while True:
            schedule._update_floors()
            before = list(schedule.done)
            for values in begun:
                first = min(schedule.floor[value] for value in values)
                for value in values:
                    schedule.done[value] = first
            if schedule.done == before:
                return schedule

    def advance(self, available: Sequence[int], limit: Sequence[int]) -> list[Task]:
        """One step: what to compute, in order.  Afterwards ``floor`` says what to keep.

        available: rows of each input that exist by now
        limit:     at most this many new rows of each output are asked for
        """
        ready = self.ready(available)
        tasks = self._tasks(self._wanted(limit), ready)
        for task in tasks:
            for value in task.values:
                self.done[value] = task.hi
        self._update_floors()
        return tasks

    def go_on(self, done: Sequence[int]) -> None:
        """Start from where another schedule of the same ops stands: per value, its rows done."""
        self.done = list(done)
        self._update_floors()

    def shift(self, gains: Sequence[int]) -> None:
        """Count a step that did what the one before did: per value, the rows that it gained."""
        self.done = [row + gain for row, gain in zip(self.done, gains, strict=True)]
        self.floor = [row + gain for row, gain in zip(self.floor, gains, strict=True)]

    @property
    def finished(self) -> bool:
        """Whether every output has all its rows."""
        return all(self.done[value] == self.wiring.rows[value] for value in self.wiring.outputs)

    def ready(self, available: Sequence[int]) -> list[int]:
        """How many rows of each value can be computed from so many rows of the inputs.

        With an open end, only rows that will exist however soon it comes.
        """
        ready = [0] * len(self.wiring.rows)
        certain = [0] * len(self.wiring.rows)
        for value, rows in zip(self.wiring.inputs, available, strict=True):
            ready[value] = certain[value] = rows
        for op in self.wiring.ops:
            exist = min(reach.certain(certain[value]) for value, reach in op.operands)
            rows = min(
                reach.ready(ready[value], complete=ready[value] == reach.size)
                for value, reach in op.operands
            )
            for value in op.results:
                ready[value], certain[value] = max(min(rows, exist - op.tail), 0), exist
        return ready

    def _wanted(self, limit: Sequence[int]) -> list[tuple[int, int]]:
        """Per value, the rows [lo, hi) that are asked for; what is done already has lo = hi."""
        low = [*self.done]
        high = [*self.done]
        for value, most in zip(self.wiring.outputs, limit, strict=True):
            rows, done = self.wiring.rows[value], self.done[value]
            high[value] = done + most if rows is None else min(done + most, rows)
        for op in reversed(self.wiring.ops):
            done = self.done[op.results[0]]
            lo = done if op.ordered else max(done, min(self.floor[v] for v in op.results))
            hi = max(high[value] for value in op.results)
            for value in op.results:
                low[value], high[value] = lo, hi
            if lo < hi:
                for value, reach in op.operands:
                    high[value] = max(high[value], reach.span(lo, hi)[1])
        for value in self.wiring.inputs:
            low[value] = max(self.done[value], self.floor[value])
        return list(zip(low, high, strict=True))

    def _tasks(self, wanted: Sequence[tuple[int, int]], ready: Sequence[int]) -> list[Task]:
        tasks = []
        for value in self.wiring.inputs:
            lo, hi = wanted[value][0], min(wanted[value][1], ready[value])
            if lo < hi:
                tasks.append(Task(None, (value,), lo, hi))
        for number, op in enumerate(self.wiring.ops):
            lo, hi = wanted[op.results[0]]
            hi = min(hi, ready[op.results[0]])
            if lo < hi:
                tasks.append(Task(number, op.results, lo, hi))
        return tasks

    def _update_floors(self) -> None:
        """Per value, the least row that some op or the user still reads."""
        rows, done = self.wiring.rows, self.done
        floor = [done[v] if size is None else size for v, size in enumerate(rows)]
        for value in self.wiring.outputs:
            floor[value] = min(floor[value], done[value])
        for op in reversed(self.wiring.ops):
            first = done[op.results[0]]
            if not op.ordered:
                first = max(first, min(floor[value] for value in op.results))
            for value, reach in op.operands:
                floor[value] = min(floor[value], reach.floor(first, done[value]))
        self.floor = floor
