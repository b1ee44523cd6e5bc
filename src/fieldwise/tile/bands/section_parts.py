"""A section of a streamed run in parts, each a function of new input rows and a saved state.

A part changes nothing that it is given, so it can be run again, elsewhere, when a machine is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldwise.tile.arrays import Interval, Readable
from fieldwise.tile.bands.drive import clipped, drive
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.reading import reading
from fieldwise.tile.bands.run import BandState, Engine
from fieldwise.tile.bands.schedule import Schedule, Task
from fieldwise.tile.bands.sections import BandStep, Section, steps


@dataclass(frozen=True, slots=True)
class SectionPart:
    """Some steps of a section.

    steps: rows available of each input, and the most new rows of each output
    reads: of each input, the rows that are new in it; rows: of each output, those that it gives
    """

    steps: tuple[BandStep, ...]
    reads: tuple[Interval, ...]
    rows: tuple[Interval, ...]

    @property
    def gives(self) -> bool:
        """Whether it gives rows of any output."""
        return any(lo < hi for lo, hi in self.rows)


def parts_of(program: Program, section: Section, band: int, rows: int) -> Iterator[SectionPart]:
    """The parts of a section, each of which reads about ``rows`` new rows and gives some."""
    schedule = Schedule.started_at(program.wiring, [lo for lo, _ in section.rows])
    taken: list[tuple[BandStep, list[Task]]] = []
    for step in steps(program, schedule, band, section):
        taken.append((step, schedule.advance(*step)))
        part = _part(program, section, taken)
        if part.gives and max(hi - lo for lo, hi in part.reads) >= rows:
            yield part
            taken = []
    if taken and (part := _part(program, section, taken)).gives:
        yield part


def _part(
    program: Program, section: Section, taken: Sequence[tuple[BandStep, list[Task]]]
) -> SectionPart:
    """Steps, and the tasks of each, as a part."""
    made: dict[int, Interval] = {}
    for _, tasks in taken:
        for task in tasks:
            for value in task.values:
                made[value] = (made.get(value, (task.lo, task.lo))[0], task.hi)
    rows = [
        (max(first, lo), min(last, hi))
        for value, (first, last) in zip(program.wiring.outputs, section.rows, strict=True)
        for lo, hi in [made.get(value, (0, 0))]
    ]
    return SectionPart(
        tuple(step for step, _ in taken),
        tuple(made.get(value, (0, 0)) for value in program.wiring.inputs),
        tuple((lo, hi) if lo < hi else (0, 0) for lo, hi in rows),
    )


def run_part(
    program: Program,
    device: torch.device,
    part: SectionPart,
    state: BandState,
    blocks: Sequence[Readable],
) -> tuple[BandState, list[Tensor | None]]:
    """The state after a part, and its rows of each output (None: it gives none).

    blocks: its rows of each input
    """
    engine = Engine(program, device, state)
    source = reading(program, device, blocks, [lo for lo, _ in part.reads])
    found: dict[int, list[Tensor]] = {value: [] for value in program.wiring.outputs}
    for rows in drive(engine, part.steps, source):
        wanted = clipped(program, rows, part.rows)
        if wanted is not None:
            found[wanted[0]].append(wanted[2])
    outputs = [
        torch.cat(parts, program.values[value].dim) if parts else None
        for value, parts in found.items()
    ]
    return engine.state().to(torch.device("cpu")), outputs
