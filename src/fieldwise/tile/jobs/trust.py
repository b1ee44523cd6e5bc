"""What of a journal is still true: results on disk are compared with what their pieces wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fieldwise.errors import UsageError
from fieldwise.reports import Report
from fieldwise.tile.files import FileView, NewFile
from fieldwise.tile.jobs.digests import Stored, fault
from fieldwise.tile.jobs.journal import Journal, journal_path, read_journal
from fieldwise.tile.jobs.lock import hold
from fieldwise.tile.jobs.paths import result_paths
from fieldwise.tile.jobs.records import FileRecord, Wrote
from fieldwise.tile.jobs.run import saved_state, written_by
from fieldwise.tile.jobs.work import JobPiece, JobPlan
from fieldwise.written import counted


def distrust(
    journal: Journal, plan: JobPlan, views: Sequence[FileView], grains: Sequence[int]
) -> None:
    """Let a journal that is gone on with forget what is not on disk as it was written.

    What that was stands in ``journal.spoilt``.  The saved state of an unfinished piece is forgotten
    too, if not all of what it counts as written is there.

    views: the outputs on disk; grains: the rows that their files take at a time
    """
    stored = [
        Stored(view, output.dim, rows)
        for view, output, rows in zip(views, plan.outputs, grains, strict=True)
    ]
    faults = {
        number: _misplaced(done.wrote, plan.pieces[number]) or fault(stored, done.wrote)
        for number, done in sorted(journal.records.items())
    }
    spoilt = {number: why for number, why in faults.items() if why is not None}
    journal.forget(spoilt)
    losses = [f"piece {number} ({why})" for number, why in spoilt.items()]
    saved = journal.piece.load()
    if saved is not None:
        piece = plan.pieces[saved[0]]
        state = saved_state(piece, saved)
        assert state is not None
        why = fault(stored, written_by(state, piece, plan.outputs))
        if why is not None:
            journal.piece.drop()
            losses.append(f"the unfinished piece {piece.number} ({why})")
    journal.spoilt = _sentence(losses)


@dataclass(frozen=True, slots=True)
class Checked(Report):
    """A result held against its journal; a row per fault.

    path:   where the result is, as it was named
    pieces: how many it has; faults: a sentence for each that is missing or not as it was written
    """

    path: Path
    pieces: int
    faults: tuple[str, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """What is wrong."""
        return self.faults

    def __str__(self) -> str:
        intact = f"{self.path}: {counted(self.pieces, 'piece')}, all as written"
        return "\n".join(self.faults) or intact


def check_result(out: Path) -> Checked:
    """Compare a result with what its journal says that was written; nothing is changed.

    Raises UsageError where there is no journal, or where a process is at work on it.
    """
    path = journal_path(out)
    if not path.exists():
        raise UsageError(
            f"There is no journal {str(path)!r}, which would say what was written; name OUT as it "
            "was named to the job."
        )
    with hold(path, read_only=True) as file:
        record = read_journal(path, file)
        pieces = int(record.header["pieces"])
        faults = [] if record.void is None else [f"{record.void}."]
        paths = result_paths(out, [one.output for one in record.files])
        files = [one.file(place) for one, place in zip(record.files, paths, strict=True)]
        try:
            stored = _stored(record.files, files)
        except UsageError as error:
            return Checked(out, pieces, (*faults, str(error)))
        for number, done in sorted(record.done.items()):
            why = fault(stored, done.wrote)
            if why is not None:
                faults.append(f"Piece {number}: {why}.")
    missing = pieces - len(record.done)
    if missing:
        faults.append(f"{missing} of {pieces} pieces are not done; --resume computes them.")
    return Checked(out, pieces, tuple(faults))


def _stored(records: Sequence[FileRecord], files: Sequence[NewFile]) -> list[Stored]:
    """The files as they are on disk.  Raises UsageError where they are not those recorded."""
    stored = []
    for record, file in zip(records, files, strict=True):
        sink = file.reopen(writable=False)
        if sink.frame() != record.frame:
            raise file.not_begun("its header differs")
        view = FileView(sink, record.layout())
        rows = record.grain[record.dims.index(record.dim)] if record.dim in record.dims else 1
        stored.append(Stored(view, record.dim, rows))
    return stored


def _misplaced(wrote: Sequence[Wrote], piece: JobPiece) -> str | None:
    boxes = tuple(one.box for one in wrote)
    return None if boxes == piece.writes else "its journal lists other parts of the result"


def _sentence(losses: Sequence[str]) -> str | None:
    if not losses:
        return None
    named = ", ".join(losses[:_MOST_NAMED])
    more = f" and {len(losses) - _MOST_NAMED} more" if len(losses) > _MOST_NAMED else ""
    verb, which = ("is", "it is") if len(losses) == 1 else ("are", "they are")
    return f"{named}{more} {verb} not on disk as written, and {which} computed again"


_MOST_NAMED = 3
