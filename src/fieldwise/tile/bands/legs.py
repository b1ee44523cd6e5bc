"""A section of a streamed run as a chain of legs, each a function of new input rows and a state.

A leg changes nothing that it is given, so it can be run again, elsewhere, when a machine is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldwise.tile.arrays import Interval, numpy_dtype
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.run import BandState, Engine
from fieldwise.tile.bands.schedule import Schedule
from fieldwise.tile.bands.sections import Section, legs


@dataclass(frozen=True, slots=True)
class Leg:
    """Some steps of a section.

    steps: rows available of each input, and the most new rows of each output
    reads: of each input, the rows that are new in it; rows: of each output, those that it gives
    """

    steps: tuple[tuple[list[int], list[int]], ...]
    reads: tuple[Interval, ...]
    rows: tuple[Interval, ...]


def state_at_start(program: Program, section: Section) -> BandState:
    """The state before the first leg of a section."""
    schedule = Schedule.started_at(program.wiring, [lo for lo, _ in section.rows])
    return BandState(tuple(schedule.done))


def legs_of(program: Program, section: Section, band: int, rows: int) -> list[Leg]:
    """The legs of a section, each of which reads about ``rows`` new rows and gives some."""
    schedule = Schedule.started_at(program.wiring, [lo for lo, _ in section.rows])
    found: list[Leg] = []
    pending = _Pending(program, section)
    for available, limit in legs(program, section, schedule, band):
        tasks = schedule.advance(available, limit)
        pending.add((available, limit), [(t.values, t.lo, t.hi) for t in tasks])
        if pending.rows_read >= rows and pending.gives:
            found.append(pending.leg())
            pending = _Pending(program, section)
    if pending.gives:
        found.append(pending.leg())
    return found


def run_leg(
    program: Program, leg: Leg, state: BandState, blocks: Sequence[np.ndarray[Any, Any]]
) -> tuple[BandState, list[Tensor | None]]:
    """The state after a leg, and its rows of each output (None: it gives none).

    blocks: its rows of each input
    """
    device = _device(program)
    engine = Engine.restored(program, device, state)
    given: list[list[Tensor]] = [[] for _ in program.wiring.outputs]

    def read(number: int, lo: int, hi: int) -> Tensor:
        value, start = program.values[program.wiring.inputs[number]], leg.reads[number][0]
        rows = blocks[number][(slice(None),) * value.dim + (slice(lo - start, hi - start),)]
        cast = np.ascontiguousarray(rows, numpy_dtype(value.dtype))
        return torch.from_numpy(cast).to(device, value.dtype)

    def note(value: int, at: int, rows: Tensor) -> None:
        number, dim = program.wiring.outputs.index(value), program.values[value].dim
        lo = max(at, leg.rows[number][0])
        hi = min(at + rows.shape[dim], leg.rows[number][1])
        if lo < hi:
            given[number].append(rows.narrow(dim, lo - at, hi - lo))

    for available, limit in leg.steps:
        engine.step(available, limit, read, note)
    outputs = [
        torch.cat(parts, program.values[value].dim) if parts else None
        for value, parts in zip(program.wiring.outputs, given, strict=True)
    ]
    return engine.state(), outputs


class _Pending:
    """Steps on their way to a leg."""

    def __init__(self, program: Program, section: Section) -> None:
        self.wiring, self.section = program.wiring, section
        self.steps: list[tuple[list[int], list[int]]] = []
        self.reads: dict[int, Interval] = {}
        self.rows: dict[int, Interval] = {}

    def add(
        self,
        step: tuple[list[int], list[int]],
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


def _device(program: Program) -> torch.device:
    """Where the constants of a program are."""
    constants = (t for op in program.ops for t in _tensors(op.node.source))
    return next((t.device for t in constants if not t.is_meta), torch.device("cpu"))


def _tensors(call: Any) -> Iterator[Tensor]:
    if call is not None:
        yield from (arg for arg in call.args if isinstance(arg, Tensor))
