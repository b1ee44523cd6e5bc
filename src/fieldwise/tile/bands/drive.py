"""A streamed run: rows of a source go through an engine, and new rows of the outputs come out.

Whoever streams goes through here.  A call in memory, the pushes of a session, a section of a job
and a task of Dask differ in where rows come from, in which steps are taken, and in what becomes of
the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fieldwise.tile.arrays import Interval
from fieldwise.tile.bands.ahead import Behind, find_mover
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.repeating import Repeating
from fieldwise.tile.bands.run import BandState, Engine, OutputRows, RowSource
from fieldwise.tile.bands.schedule import Schedule
from fieldwise.tile.bands.sections import BandStep, Section
from fieldwise.tile.recording import find_recorder

STEPS = 4
"""Steps from one state to the next."""


def drive(
    engine: Engine, steps: Iterable[BandStep], source: RowSource, *, recorded: bool = True
) -> Iterator[OutputRows]:
    """The new rows of the outputs, step by step, where they were computed.

    recorded: whether steps that are alike are recorded on a card; not where the whole run is
    """
    repeating = Repeating(engine, find_recorder(engine.device) if recorded else None)
    for available, limit in steps:
        yield from repeating.step(available, limit, source)


def drive_with_states(
    engine: Engine, steps: Iterable[BandStep], source: RowSource, *, to_host: bool = False
) -> Iterator[OutputRows | BandState]:
    """The same, and now and then a state from which a run can be gone on with to the same bits.

    to_host: give rows on the host; from a card they come while the next step is computed there
    """
    repeating = Repeating(engine, find_recorder(engine.device))
    behind = Behind(find_mover(engine.device) if to_host else None)
    for available, limit in steps:
        yield from behind.after(repeating.step(available, limit, source))
        if engine.steps % STEPS == 0:
            state = engine.suspend()
            yield from behind.rest()
            yield state
    yield from behind.rest()


def state_at_start(program: Program, section: Section) -> BandState:
    """The state of a run that begins with a section."""
    schedule = Schedule.started_at(program.wiring, [lo for lo, _ in section.rows])
    return BandState(tuple(schedule.done))


def clipped(program: Program, rows: OutputRows, wanted: Sequence[Interval]) -> OutputRows | None:
    """The rows without those that were made for the sake of other outputs only; None of none.

    wanted: per output, in the order of the wiring, the rows that are
    """
    value, at, found = rows
    dim = program.values[value].dim
    first, last = wanted[program.wiring.outputs.index(value)]
    lo, hi = max(at, first), min(at + found.shape[dim], last)
    return (value, lo, found.narrow(dim, lo - at, hi - lo)) if lo < hi else None
