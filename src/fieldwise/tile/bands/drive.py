"""A streamed run: rows of a source go through an engine, and new rows of the outputs come out.

Whoever streams goes through here.  A call in memory, the pushes of a session, a section of a job
and a task of Dask differ in where rows come from, in which steps are taken, and in what becomes of
the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, overload

import torch

from fieldwise.capture.torch.inputs import as_tensor
from fieldwise.tile.arrays import Interval, Readable
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.repeating import Repeating
from fieldwise.tile.bands.run import BandState, Engine, OutputRows, RowSource
from fieldwise.tile.bands.schedule import Schedule
from fieldwise.tile.bands.sections import BandStep, Section
from fieldwise.tile.recording import find_recorder

STEPS = 4
"""Steps from one state to the next."""


@overload
def drive(engine: Engine, steps: Iterable[BandStep], source: RowSource) -> Iterator[OutputRows]: ...


@overload
def drive(
    engine: Engine, steps: Iterable[BandStep], source: RowSource, *, suspends: Literal[True]
) -> Iterator[OutputRows | BandState]: ...


def drive(
    engine: Engine, steps: Iterable[BandStep], source: RowSource, *, suspends: bool = False
) -> Iterator[OutputRows | BandState]:
    """The new rows of the outputs, step by step.

    suspends: also give a state now and then, from which a run can be gone on with to the same bits
    """
    repeating = Repeating(engine, find_recorder(engine.device))
    for available, limit in steps:
        yield from repeating.step(available, limit, source)
        if suspends and engine.steps % STEPS == 0:
            yield repeating.suspend()


def reading(
    program: Program, device: torch.device, arrays: Sequence[Readable], starts: Sequence[int] = ()
) -> RowSource:
    """The source that reads the inputs of a program from arrays, or from parts of them.

    starts: per input, the row with which its array begins; 0 by default
    """
    values = [program.values[value] for value in program.wiring.inputs]
    starts = starts or [0] * len(values)

    def read(number: int, lo: int, hi: int) -> torch.Tensor:
        value, start = values[number], starts[number]
        rows = arrays[number][(slice(None),) * value.dim + (slice(lo - start, hi - start),)]
        return as_tensor(rows, device, value.dtype)

    return read


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
