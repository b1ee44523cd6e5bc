"""Which columns of every value each strip computes, is given and keeps: integers only.

Strips are the steps of a stream along the axis across the bands.  A strip asks the outputs for
their columns up to its end; of every value it computes what that takes and no strip before it has
computed, and keeps what the next one still reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from fieldwise.tile.arrays import Interval
from fieldwise.tile.bands.alike import AlikeSteps
from fieldwise.tile.bands.input_rows import stops
from fieldwise.tile.bands.latency import rates
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.schedule import Schedule, Task, Wiring
from fieldwise.tile.bands.steady import grid_of
from fieldwise.tile.errors import StreamError

Columns = tuple[int, int, int]
"""The number of a value, and an interval of its columns, [lo, hi)."""


@dataclass(frozen=True, slots=True)
class ColumnStep:
    """One strip, along the axis across its bands.

    before:    per value, its columns done by the strips before
    available: per input, the columns that exist; limit: per output, the new ones to ask for
    tasks:     what is computed
    given:     columns that the strip before has kept; keeps: those that the next one still reads
    """

    before: tuple[int, ...]
    available: tuple[int, ...]
    limit: tuple[int, ...]
    tasks: tuple[Task, ...]
    given: tuple[Columns, ...]
    keeps: tuple[Columns, ...]

    def shifted(self, by: Sequence[int], inputs: Sequence[int]) -> ColumnStep:
        """The same so many columns of every value further."""
        return ColumnStep(
            tuple(done + by[value] for value, done in enumerate(self.before)),
            tuple(end + by[value] for value, end in zip(inputs, self.available, strict=True)),
            self.limit,
            tuple(
                replace(task, lo=task.lo + by[task.values[0]], hi=task.hi + by[task.values[0]])
                for task in self.tasks
            ),
            *(
                tuple((value, lo + by[value], hi + by[value]) for value, lo, hi in columns)
                for columns in (self.given, self.keeps)
            ),
        )

    def reads(self, value: int) -> Interval:
        """The new columns of an input."""
        for task in self.tasks:
            if task.op is None and value in task.values:
                return task.lo, task.hi
        return self.before[value], self.before[value]

    def writes(self, place: int, value: int) -> Interval:
        """The new columns of an output, which is the ``place``-th of the wiring."""
        return self.before[value], self.before[value] + self.limit[place]


def column_steps(program: Program, strip: int) -> list[ColumnStep]:
    """The strips of an input, ``strip`` of its columns from one to the next.

    program: along the axis across the bands

    Outputs are cut at multiples of the strip, and the last strip takes what is left of them.

    Raises StreamError where an output does not come in step with the input.
    """
    wiring = program.wiring
    counts = [program.values[value].rows or 0 for value in wiring.outputs]
    per_strip = [rates(wiring)[value] * strip for value in wiring.outputs]
    pairs = list(zip(counts, per_strip, strict=True))
    number = min(-int(-count // step) for count, step in pairs)
    schedule, found = Schedule(wiring), list[ColumnStep]()
    alike = AlikeSteps(program, strip)
    while len(found) < max(number, 1):
        place = len(found) + 1
        last = place >= number
        ends = [count if last else int(step * place) for count, step in pairs]
        needed = stops(program, ends)
        available = tuple(needed[value] for value in wiring.inputs)
        before, given = tuple(schedule.done), tuple(_held(schedule))
        limit = [end - before[value] for value, end in zip(wiring.outputs, ends, strict=True)]
        tasks = schedule.advance(available, limit)
        if [schedule.done[value] for value in wiring.outputs] != ends:
            what = "The model cannot be cut into strips that keep columns"
            raise StreamError(what, [], "Its outputs do not follow the input column by column.")
        keeps = tuple(_held(schedule))
        found.append(ColumnStep(before, available, tuple(limit), tuple(tasks), given, keeps))
        turns, turn, columns = alike.shift((schedule.done, schedule.floor))
        if turns and _follow(columns, wiring.outputs, [turn * step for step in per_strip]):
            pattern = found[-turn:]
            for number_of_turn in range(1, turns + 1):
                by = [number_of_turn * shift for shift in columns]
                found += [step.shifted(by, wiring.inputs) for step in pattern]
            schedule.go_on([one + by[value] for value, one in enumerate(schedule.done)])
    return found


def _follow(columns: Sequence[int], outputs: Sequence[int], steps: Sequence[Fraction]) -> bool:
    """Whether a turn moves every output by its strips."""
    return all(columns[value] == step for value, step in zip(outputs, steps, strict=True))


def _held(schedule: Schedule) -> Iterator[Columns]:
    for value, (lo, hi) in enumerate(zip(schedule.floor, schedule.done, strict=True)):
        if lo < hi:
            yield value, lo, hi


@dataclass(frozen=True)
class Likeness:
    """Which strips do the same, each a strip further.

    endless: the program without a right end: no op of it looks at the position; None where some do
    """

    steps: Sequence[ColumnStep]
    strip: int
    wiring: Wiring
    endless: Program | None

    @cached_property
    def firsts(self) -> list[int]:
        """Per strip, the number of the first that does the same."""
        seen = dict[object, int]()
        return [seen.setdefault(self._signature(n), n) for n in range(len(self.steps))]

    def _signature(self, number: int) -> object:
        """What two strips that do the same have in common."""
        step = self.steps[number]
        if self._rates is None or not self._is_interior(step):
            return number
        at = [int(rate * self.strip * number) for rate in self._rates]
        tasks = tuple((t.op, t.lo - at[t.values[0]], t.hi - at[t.values[0]]) for t in step.tasks)
        columns = tuple(
            tuple((value, lo - at[value], hi - at[value]) for value, lo, hi in held)
            for held in (step.given, step.keeps)
        )
        done = tuple(done - start for done, start in zip(step.before, at, strict=True))
        return tasks, columns, done, step.limit

    @cached_property
    def _rates(self) -> list[Fraction] | None:
        """Columns of each value per column of the input, where strips lie on the grid of all."""
        if self.endless is None or self.strip % grid_of(self.endless):
            return None
        return rates(self.endless.wiring)

    def _is_interior(self, step: ColumnStep) -> bool:
        """Whether nothing that it computes reads beyond an end."""
        for task in step.tasks:
            for value, reach in () if task.op is None else self.wiring.ops[task.op].operands:
                lo, hi = reach.raw(task.lo, task.hi)
                if lo < 0 or hi > (self.wiring.rows[value] or 0):
                    return False
        return True
