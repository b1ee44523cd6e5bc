"""A section of a streamed run as a chain of legs, each a function of new input rows and a state.

A leg changes nothing that it is given, so it can be run again, elsewhere, when a machine is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldwise.tile.arrays import Interval
from fieldwise.tile.bands.drive import clipped, drive, reading
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.run import BandState, Engine
from fieldwise.tile.bands.schedule import Schedule
from fieldwise.tile.bands.sections import BandStep, Section, steps


@dataclass(frozen=True, slots=True)
class Leg:
    """Some steps of a section.

    steps: rows available of each input, and the most new rows of each output
    reads: of each input, the rows that are new in it; rows: of each output, those that it gives
    """

    steps: tuple[BandStep, ...]
    reads: tuple[Interval, ...]
    rows: tuple[Interval, ...]


def legs_of(program: Program, section: Section, band: int, rows: int) -> list[Leg]:
    """The legs of a section, each of which reads about ``rows`` new rows and gives some."""
    schedule = Schedule.started_at(program.wiring, [lo for lo, _ in section.rows])
    found: list[Leg] = []
    pending = _Pending(program, section)
    for available, limit in steps(program, schedule, band, section):
        tasks = schedule.advance(available, limit)
        pending.add((available, limit), [(t.values, t.lo, t.hi) for t in tasks])
        if pending.rows_read >= rows and pending.gives:
            found.append(pending.leg())
            pending = _Pending(program, section)
    if pending.gives:
        found.append(pending.leg())
    return found


def run_leg(
    program: Program, device: torch.device, leg: Leg, state: BandState, blocks: Sequence[Any]
) -> tuple[BandState, list[Tensor | None]]:
    """The state after a leg, and its rows of each output (None: it gives none).

    blocks: its rows of each input
    """
    engine = Engine(program, device, state)
    source = reading(program, device, blocks, [lo for lo, _ in leg.reads])
    found: dict[int, list[Tensor]] = {value: [] for value in program.wiring.outputs}
    for rows in drive(engine, leg.steps, source):
        wanted = clipped(program, rows, leg.rows)
        if wanted is not None:
            found[wanted[0]].append(wanted[2])
    outputs = [
        torch.cat(parts, program.values[value].dim) if parts else None
        for value, parts in found.items()
    ]
    return engine.state(), outputs


class _Pending:
    """Steps on their way to a leg."""

    def __init__(self, program: Program, section: Section) -> None:
        self.wiring, self.section = program.wiring, section
        self.steps: list[BandStep] = []
        self.reads: dict[int, Interval] = {}
        self.rows: dict[int, Interval] = {}

    def add(
        self,
        step: BandStep,
        tasks: Sequence[tuple[tuple[int, ...], int, int]],
    ) -> None:
        self.steps.append(step)
        for values, lo, hi in tasks:
            for value in values:
                if value in self.wiring.inputs:
                    self.reads[value] = (self.reads.get(value, (lo, lo))[0], hi)
                if value in self.wiring.outputs:
                    first, last = self.section.rows[self.wiring.outputs.index(value)]
                    lo, hi = max(lo, first), min(hi, last)
                    if lo < hi:
                        self.rows[value] = (self.rows.get(value, (lo, lo))[0], hi)

    @property
    def rows_read(self) -> int:
        return max((hi - lo for lo, hi in self.reads.values()), default=0)

    @property
    def gives(self) -> bool:
        return bool(self.rows)

    def leg(self) -> Leg:
        reads = tuple(self.reads.get(value, (0, 0)) for value in self.wiring.inputs)
        rows = tuple(self.rows.get(value, (0, 0)) for value in self.wiring.outputs)
        return Leg(tuple(self.steps), reads, rows)
