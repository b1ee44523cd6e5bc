"""The passes of a job, shared out: each worker goes through sections of a pass.

What the passes so far have found is saved beside the result by the one process that owns it, so
workers find it there.  The sections of a pass depend on the plan alone, and their sums are joined
in the order of the rows: what is found does not depend on who found it, or when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fieldwise.tile.arrays import Readable
from fieldwise.tile.bands.drive import clipped, state_at_start
from fieldwise.tile.bands.pass_run import (
    PassSection,
    Prepared,
    next_pass,
    not_through,
    run_passes,
)
from fieldwise.tile.bands.passes import PassParts, PassSums
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.run import BandState, OutputRows
from fieldwise.tile.bands.sections import Section, sections_of
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.kept import FileStore, ForeignStore, Manifest
from fieldwise.tile.jobs.streams import StreamWork


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker has found in a section of a pass; its gathered rows lie in a folder.

    starts: of each value of the pass's program that is gathered, by name: its number, first row
    """

    parts: PassParts
    starts: Mapping[str, tuple[int, int]]
    manifest: Manifest

    def section(self, folder: Path) -> PassSection | None:
        """The same, read back from the folder; None where that is not what was written."""
        store = ForeignStore(folder)
        if not store.adopt(self.manifest):
            return None
        rows = [(value, lo, store.values[name]) for name, (value, lo) in self.starts.items()]
        return PassSection(self.parts, rows)


Sharing = Callable[[int, int], Iterable[PassSection]]
"""Has the sections of a pass gone through: its number, and how many sections there are."""


def prepared_by(
    work: StreamWork, source: Readable, checkpoint: Checkpoint, sharing: Sharing
) -> StreamWork:
    """The work once the passes that are missing have been gone through by others."""
    saved = _PassByPass(checkpoint)

    def shared(prepared: Prepared, _: BandState | None) -> Iterable[PassSection]:
        return sharing(finished_passes(checkpoint), len(sections_of_pass(work, prepared.program)))

    return work.prepared(source, saved, shared)


def prepared_from(work: StreamWork, source: Readable, checkpoint: Checkpoint) -> StreamWork:
    """The work once all passes are gone through, by what is saved of them: what a worker does."""
    store = ForeignStore(checkpoint.folder)
    planner = work.streaming.planner(work.graph)
    found = run_passes(planner, [source], not_through, store, _PassByPass(checkpoint))
    return replace(work, program=found.program, kept=store.arrays)


def share_of(
    work: StreamWork, source: Readable, checkpoint: Checkpoint, number: int, folder: Path
) -> Share:
    """Go through a section of the next pass; what is gathered is put into the folder."""
    planner = work.streaming.planner(work.graph)
    store = ForeignStore(checkpoint.folder)
    one, prepared = next_pass(planner, [source], store, _PassByPass(checkpoint))
    program = prepared.program
    section = sections_of_pass(work, program)[number]
    sums, gathered = PassSums(one), FileStore(folder)
    starts = {}
    for (lo, hi), value in zip(section.rows, program.wiring.outputs, strict=True):
        if value in one.gathered:
            kind = program.values[value]
            gathered.room_for(replace(kind, shape=tuple(kind.band(hi - lo))))
            starts[kind.name] = (value, lo)
    summed = {value for value, _ in one.summed}
    for value, lo, rows in _rows_of(work, prepared, section):
        if value in summed:
            sums.add(value, rows)
        if value in one.gathered:
            name = one.gathered[value]
            gathered.write(name, lo - starts[name][1], rows)
    return Share(sums.parts(), starts, gathered.manifest(starts))


def finished_passes(checkpoint: Checkpoint) -> int:
    """How many passes are saved as finished."""
    saved = checkpoint.load()
    return 0 if saved is None else len(saved[0])


def sections_of_pass(work: StreamWork, program: Program) -> tuple[Section, ...]:
    """The sections of a pass; where its program gives nothing there are none."""
    outputs = program.wiring.outputs
    return sections_of(program, work.plan.step, [1] * len(outputs)) if outputs else ()


def _rows_of(work: StreamWork, prepared: Prepared, section: Section) -> Iterator[OutputRows]:
    state = state_at_start(prepared.program, section)
    for part in work.driven(prepared, state, section):
        if not isinstance(part, BandState):
            rows = clipped(prepared.program, part, section.rows)
            if rows is not None:
                yield rows


class _PassByPass:
    """What is saved of the passes, without one that is not finished; saved after each."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.folder = checkpoint.folder

    def load(self) -> Any:
        """See SavedPasses."""
        saved = self._checkpoint.load()
        return None if saved is None else (saved[0], None, saved[2])

    def offer(self, data: Callable[[], object], *, now: bool = True) -> None:  # noqa: ARG002
        """See SavedPasses: workers read it before the next pass."""
        self._checkpoint.offer(data, now=True)
