"""The passes over the input before the first piece, for layers that need the whole of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from fieldwise.capture.torch.autocast import as_recorded
from fieldwise.tile.bands.passes import Pass, run_passes
from fieldwise.tile.bands.plan import steps
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.programs import Programs
from fieldwise.tile.bands.run import BandState
from fieldwise.tile.bands.schedule import Schedule
from fieldwise.tile.bands.statistics import PartialSums, Statistic
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.stepping import Halt, reader, stepped

PassStep = tuple[list[int], list[int]]
PassSums = list[PartialSums | None]


def go_through(run: Programs, source: Any, dtype: Any, kept: Checkpoint | None) -> Program:
    """The program that gives the outputs, after all passes over the source.

    kept: what an interrupted run has found is taken from there, and what is found is kept there
    """
    finished: list[PassSums] = []
    halted: tuple[Any, PassSums] | None = None
    if kept is not None and (saved := kept.load()) is not None:
        finished, halted = saved
    number = 0

    def carry_out(one: Pass) -> bool:
        nonlocal number, halted
        if number < len(finished):
            _join(one, finished[number])
        else:
            since, halted = halted, None
            _sum_up(run, one, source, dtype, since, finished, kept)
        number += 1
        return True

    return run_passes(run.graph((tuple(source.shape),)), run.axis, carry_out, run.device)[1]


def _sum_up(
    run: Programs,
    one: Pass,
    source: Any,
    dtype: Any,
    since: tuple[Any, PassSums] | None,
    finished: list[PassSums],
    kept: Checkpoint | None,
) -> None:
    """One pass; where it stands is kept, and what it has found is added to ``finished``."""
    program, given = one.program, set[int]()
    halt = Halt(0, BandState(tuple(Schedule(program.wiring).done)))
    if since is not None:
        halt = Halt.of(since[0])
        given = _join(one, since[1])

    def coming(schedule: Schedule, done: int) -> Iterator[PassStep]:
        if schedule.finished:
            return
        for available, limit in islice(steps(program, run.band), done, None):
            yield list(available), list(limit)
            if schedule.finished:
                return

    for part in stepped(
        program, run.device, halt, coming, reader(program, run.device, source, dtype)
    ):
        if isinstance(part, Halt):
            if kept is not None:
                kept.offer(partial(_standing, finished, one, part, given))
            continue
        value, _, rows = part
        given.add(value)
        with as_recorded():
            for statistic in one.statistics[value]:
                statistic.add(rows)
    finished.append(_parts(one, given))
    if kept is not None:
        kept.offer(lambda: (finished, None))


def _standing(finished: list[PassSums], one: Pass, halt: Halt, given: Iterable[int]) -> Any:
    """What is to be kept within a pass, as plain data."""
    return finished, (halt.plain(), _parts(one, given))


def _parts(one: Pass, given: Iterable[int]) -> PassSums:
    return [statistic.part() if value in given else None for value, statistic in _each(one)]


def _join(one: Pass, parts: PassSums) -> set[int]:
    """Take over what was summed up; the values of which there was something."""
    found = set[int]()
    for (value, statistic), part in zip(_each(one), parts, strict=True):
        if part is not None:
            statistic.join(part)
            found.add(value)
    return found


def _each(one: Pass) -> Iterator[tuple[int, Statistic]]:
    for value, group in one.statistics.items():
        for statistic in group:
            yield value, statistic
