"""The steady state of a stream: from some chunk on every step does what the one before it did.

Integers only.  With chunks that are multiples of the grid each value gains a whole number of rows
per step, and what is kept of it lies ever at the same distance from its newest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

from fieldwise.errors import Reason, UsageError
from fieldwise.tile.bands.kernels.constants import laws_among
from fieldwise.tile.bands.kernels.registry import ENDLESS
from fieldwise.tile.bands.latency import period, rates
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.schedule import Schedule
from fieldwise.tile.errors import StreamError


@dataclass(frozen=True, slots=True)
class Steady:
    """Where a stream is when its steps have become alike.

    chunk: input samples per step
    first: samples before that, a whole number of chunks
    done:  per value, its rows done by then
    """

    chunk: int
    first: int
    done: tuple[int, ...]


def check_on_grid(chunk: int, grid: int) -> None:
    """Raise UsageError for a chunk that is no multiple of the grid, with the nearest that are.

    >>> check_on_grid(100, 64)
    Traceback (most recent call last):
    ...
    fieldwise.errors.UsageError: A chunk of 100 samples is no multiple of the grid 64, after which \
every layer has a whole number of rows; use 64 or 128.
    """
    if chunk >= 1 and chunk % grid == 0:
        return
    below = max(chunk // grid, 1) * grid
    near = [str(below)] if chunk < grid else [str(below), str(below + grid)]
    raise UsageError(
        f"A chunk of {chunk} samples is no multiple of the grid {grid}, after which every layer "
        f"has a whole number of rows; use {' or '.join(near)}."
    )


def grid_of(program: Program) -> int:
    """After how many samples every value has a whole number of rows, and all rows do as before."""
    per_sample = rates(program.wiring)
    turns = [period(program.wiring)]
    for op, dependence in zip(program.ops, program.wiring.ops, strict=True):
        rate = per_sample[dependence.results[0]]
        periods = [len(reach.stops) for _, reach in dependence.operands]
        periods += [law.steps[0] for law in laws_among(op.nodes, program.laws) if law.lasts]
        turns += [(rate / rows).denominator for rows in periods]
    return lcm(*turns)


def steady_state(program: Program, chunk: int) -> Steady:
    """Where steps of ``chunk`` samples become alike, and every output has given rows.

    program: without a right end; chunk: on its grid

    Raises StreamError where what is kept grows for ever.
    """
    wiring = program.wiring
    begun = _first_alike(program)
    schedule = Schedule(wiring)
    per_step = [int(rate * chunk) for rate in rates(wiring)]
    before: Sequence[int] = ()
    for number in range(1, _MOST_STEPS):
        earlier = tuple(schedule.done)
        schedule.advance([number * chunk], [ENDLESS] * len(wiring.outputs))
        gained = [now - then for now, then in zip(schedule.done, earlier, strict=True)]
        kept = [done - floor for done, floor in zip(schedule.done, schedule.floor, strict=True)]
        is_steady = number > 1 and gained == per_step and kept == before
        is_begun = all(earlier[value] >= row for value, row in begun.items())
        if is_steady and is_begun and all(earlier[value] for value in wiring.outputs):
            return Steady(chunk, (number - 1) * chunk, earlier)
        before = kept
    raise _growing(program, before)


def _first_alike(program: Program) -> dict[int, int]:
    """Per value, the first row that is made as all later ones are, as far as constants say it."""
    return {
        op.results[0][1]: max(
            (law.start + law.tail for law in laws_among(op.nodes, program.laws)), default=0
        )
        for op in program.ops
    }


def _growing(program: Program, kept: Sequence[int]) -> StreamError:
    largest = max(range(len(kept)), key=kept.__getitem__)
    name = program.values[largest].name
    return StreamError(
        "The stream has no steady state",
        [Reason("", "", f"what is kept of '{name}' grows with every chunk")],
        _SESSION,
    )


_SESSION = (
    "Let attention attend to a window of the past, or stream it with a session, whose state may "
    "grow."
)
_MOST_STEPS = 1 << 12
