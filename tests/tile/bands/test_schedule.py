"""Schedules of small random programs, against the rows that each op really reads."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise

import pytest

from fieldwise.axes import AxisMap, Border, IndexSet
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.bands.schedule import Dependence, Schedule, Task, Wiring

IDENTITY = AxisMap.affine(1)
SEEDS = range(40)


@dataclass(frozen=True)
class Program:
    """A wiring, and per op the maps from result rows to rows of its operands."""

    wiring: Wiring
    maps: tuple[tuple[AxisMap, ...], ...]

    def read(self, op: int, rows: IndexSet) -> list[tuple[int, IndexSet]]:
        """Per operand, the rows that these result rows read."""
        operands = self.wiring.ops[op].operands
        return [
            (value, index.pull(rows).clip(self.size(value)))
            for (value, _), index in zip(operands, self.maps[op], strict=True)
        ]

    def size(self, value: int) -> int:
        rows = self.wiring.rows[value]
        assert rows is not None
        return rows

    def needed(self, wanted: dict[int, IndexSet]) -> dict[int, IndexSet]:
        """Everything that must be computed for these rows, an ordered op from the first row on."""
        needed = {value: wanted.get(value, IndexSet()) for value in range(len(self.wiring.rows))}
        for number in reversed(range(len(self.maps))):
            op = self.wiring.ops[number]
            rows = IndexSet()
            for value in op.results:
                rows = rows | needed[value]
            if op.ordered and rows:
                rows = IndexSet.range(0, rows.last + 1)
            for value in op.results:
                needed[value] = rows
            for value, read in self.read(number, rows):
                needed[value] = needed[value] | read
        return needed


def program(seed: int, *, ordered: float = 0.2) -> Program:
    """Windows, sums of two values of one size, ops of two results, some of them in order.

    What no op reads is an output, and sometimes a value that is read.
    """
    dice = random.Random(seed)
    sizes, ops, maps = [dice.randint(9, 14)], [], []
    inputs = [0]
    if dice.random() < 0.3:
        sizes, inputs = [sizes[0]] * 2, [0, 1]
    for _ in range(dice.randint(2, 5)):
        value = dice.randrange(len(sizes))
        equal = [other for other, size in enumerate(sizes) if size == sizes[value]]
        if len(equal) > 1 and dice.random() < 0.4:
            reads = [(value, IDENTITY), (dice.choice(equal), AxisMap.window(3, padding=1))]
            count = sizes[value]
        else:
            kernel, stride = dice.randint(1, 4), dice.randint(1, 3)
            padding = dice.randrange(kernel)
            count = (sizes[value] + 2 * padding - kernel) // stride + 1
            reads = [(value, AxisMap.window(kernel, stride=stride, padding=padding))]
        results = tuple(range(len(sizes), len(sizes) + dice.randint(1, 2)))
        operands = tuple(
            (one, RowReach.of(index, Border.DROP, size=sizes[one], count=count))
            for one, index in reads
        )
        ops.append(Dependence(results, operands, ordered=dice.random() < ordered))
        maps.append(tuple(index for _, index in reads))
        sizes += [count] * len(results)
    read = {value for op in ops for value, _ in op.operands}
    outputs = {*range(len(inputs), len(sizes))} - read | {dice.randrange(len(inputs), len(sizes))}
    return Program(
        Wiring(tuple(sizes), tuple(inputs), tuple(sorted(outputs)), tuple(ops)), tuple(maps)
    )


@dataclass
class Run:
    """What a schedule asked for, step by step, and where it stood before each step."""

    steps: list[list[Task]]
    done: list[list[int]]
    floor: list[list[int]]


def run(made: Program, schedule: Schedule, seed: int, limit: int) -> Run:
    """Rows of the inputs come in pieces; every step asks for at most ``limit`` new rows."""
    dice, found = random.Random(seed), Run([], [], [])
    available = [0] * len(made.wiring.inputs)
    for _ in range(200):
        found.done.append(list(schedule.done))
        found.floor.append(list(schedule.floor))
        if schedule.finished:
            return found
        available = [
            min(rows + dice.randint(0, 4), made.size(value))
            for rows, value in zip(available, made.wiring.inputs, strict=True)
        ]
        found.steps.append(schedule.advance(available, [limit] * len(made.wiring.outputs)))
        assert all(
            task.hi <= available[task.values[0]] for task in found.steps[-1] if task.op is None
        )
    raise AssertionError("the run does not end")


def check_rows(made: Program, found: Run, wanted: dict[int, IndexSet]) -> None:
    """All that is needed is computed once, in order, from rows that are there and are kept."""
    needed = made.needed(wanted)
    computed = {value: IndexSet() for value in needed}
    later = {value: IndexSet() for value in needed}
    for tasks, floor in zip(found.steps, found.floor, strict=False):
        for task in tasks:
            rows = IndexSet.range(task.lo, task.hi)
            for value in task.values:
                assert not computed[value] or computed[value].last < task.lo
                computed[value] = computed[value] | rows
            for value, read in made.read(task.op, rows) if task.op is not None else []:
                assert read.issubset(computed[value])
                assert not read or read.first >= floor[value]
    for value, rows in computed.items():
        assert needed[value].issubset(rows), value
        assert not rows or not needed[value] or rows.first == needed[value].first, value
    check_floors(made, found, later)


def check_floors(made: Program, found: Run, later: dict[int, IndexSet]) -> None:
    """What is kept is what an op or the user still reads, and nothing before it."""
    for step in reversed(range(len(found.steps) + 1)):
        for value, rows in later.items():
            least = rows.first if rows else made.size(value)
            if value in made.wiring.outputs:
                least = min(least, found.done[step][value])
            assert found.floor[step][value] == least, (step, value)
        if step:
            for task in found.steps[step - 1]:
                if task.op is not None:
                    for value, read in made.read(task.op, IndexSet.range(task.lo, task.hi)):
                        later[value] = later[value] | read


def whole(made: Program) -> dict[int, IndexSet]:
    return {value: IndexSet.range(0, made.size(value)) for value in made.wiring.outputs}


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_computes_what_its_outputs_need_and_keeps_what_is_read_again(seed, limit):
    made = program(seed)
    found = run(made, Schedule(made.wiring), seed, limit)
    check_rows(made, found, whole(made))
    read = {value for op in made.wiring.ops for value, _ in op.operands}
    for op in made.wiring.ops:
        if read.isdisjoint(op.results):
            for before, after in pairwise(done[op.results[0]] for done in found.done):
                assert after - before <= limit


@pytest.mark.parametrize("seed", SEEDS)
def test_no_more_is_computed_than_the_next_rows_of_the_outputs_read(seed):
    made = program(seed)
    schedule = Schedule(made.wiring)
    sizes = [made.size(value) for value in made.wiring.inputs]
    schedule.advance(sizes, [2] * len(made.wiring.outputs))
    asked = {value: IndexSet.range(0, min(2, made.size(value))) for value in made.wiring.outputs}
    for value, rows in made.needed(asked).items():
        assert schedule.done[value] == (rows.last + 1 if rows else 0), value


@pytest.mark.parametrize("seed", SEEDS)
def test_as_many_rows_are_ready_as_read_nothing_that_is_missing(seed):
    made = program(seed)
    schedule = Schedule(made.wiring)
    for rows in range(made.size(0) + 1):
        available = [rows] * len(made.wiring.inputs)
        ready = [*available, *[0] * (len(made.wiring.rows) - len(available))]
        for number, op in enumerate(made.wiring.ops):
            count = 0
            while count < made.size(op.results[0]) and all(
                read.issubset(IndexSet.range(0, ready[value]))
                for value, read in made.read(number, IndexSet(count, 1))
            ):
                count += 1
            for value in op.results:
                ready[value] = count
        assert schedule.ready(available) == ready


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_that_starts_later_computes_only_what_its_rows_need(seed):
    made, dice = program(seed, ordered=0), random.Random(seed)
    rows = [dice.randint(0, made.size(value)) for value in made.wiring.outputs]
    schedule = Schedule.started_at(made.wiring, rows)
    wanted = {
        value: IndexSet.range(row, made.size(value))
        for value, row in zip(made.wiring.outputs, rows, strict=True)
    }
    check_rows(made, run(made, schedule, seed, limit=2), wanted)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_schedule_goes_on_where_another_one_stands(seed):
    made = program(seed)
    whole_run = run(made, Schedule(made.wiring), seed, limit=2)
    halfway = len(whole_run.steps) // 2
    schedule = Schedule(made.wiring)
    schedule.go_on(whole_run.done[halfway])
    assert schedule.floor == whole_run.floor[halfway]
    rest = run(made, schedule, seed + 1, limit=2)
    assert rest.done[-1] == whole_run.done[-1]
