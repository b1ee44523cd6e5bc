"""The journal of a job: a file beside its result that says which pieces are on disk.

The first line tells which job it is, the next ones which files it has made, and each further line
what one finished piece wrote, with digests (see records).  It is only appended to, a line at a
time, each on disk before the next piece begins.  Who holds it owns the result: a second process is
refused, and a new run makes a new one, which takes its name while the old one is held.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from fieldwise.errors import UsageError
from fieldwise.tile.files.disk import fresh_name, sync_directory, writing
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.cuts import Cut
from fieldwise.tile.jobs.fingerprint import Identity, differences
from fieldwise.tile.jobs.lock import hold, is_named, lock
from fieldwise.tile.jobs.records import VERSION, Done, FileRecord, Record, files_line, line, parse


def journal_path(out: Path) -> Path:
    """Where the journal of a result lies."""
    return out.with_name(out.name + ".journal")


class Journal:
    """An open journal: what is done, and how to record more.  Made by ``begin`` or ``go_on``.

    files:   what was made for the results
    records: of the finished pieces, by their numbers
    warning: what has changed that may change the last bits of the results; None where nothing has
    spoilt:  what of the results was not as it was written, when the job went on; None: nothing
    piece, passes: the saved states of the piece at hand, and of the passes over the input
    """

    def __init__(
        self, path: Path, file: FileIO, record: Record, environment: Mapping[str, str]
    ) -> None:
        self._path, self._file = path, file
        self._about = os.fstat(file.fileno())
        self.files, self.records = record.files, dict(record.done)
        self.warning = _warning(record.header["environment"], environment)
        self.spoilt: str | None = None
        run = record.header["run"]
        self.piece = Checkpoint(path.with_name(path.name + ".piece"), run)
        self.passes = Checkpoint(path.with_name(path.name + ".passes"), run)

    @property
    def done(self) -> set[int]:
        """The numbers of the finished pieces."""
        return set(self.records)

    @property
    def begun(self) -> bool:
        """Whether some of the results are on disk."""
        return bool(self.files) and (bool(self.records) or self.piece.load() is not None)

    @property
    def helps(self) -> bool:
        """Whether a resumed run would have less to compute than a new one."""
        return self.begun or self.passes.load() is not None

    def clear(self) -> None:
        """Forget the saved states of pieces and passes: all is done."""
        self.piece.drop()
        self.passes.drop()

    @classmethod
    def begin(
        cls,
        path: Path,
        identity: Identity,
        environment: Mapping[str, str],
        *,
        pieces: int = 1,
        cut: Cut | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Journal:
        """A new journal in place of any that was there.

        environment: in which this process computes
        pieces: how many there will be
        cut:    how it is cut into pieces
        check:  called while the place is held, before anything is changed; may raise

        Raises UsageError where another process is at work on the old one, and where there is no
        place to write it.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(path, error) from error
        with hold(path, create=True) as held:
            try:
                check()
                return cls._made(path, _header(identity, environment, pieces, cut))
            except OSError as error:
                raise _unwritable(path, error) from error
            finally:
                about = os.fstat(held.fileno())
                if about.st_size == 0 and is_named(about, path):
                    path.unlink()

    @classmethod
    def _made(cls, path: Path, header: Mapping[str, Any]) -> Journal:
        """All of it or nothing, whenever the process is killed; held before it has its name."""
        fresh = fresh_name(path)
        fresh.unlink(missing_ok=True)
        file = FileIO(fresh, "xb+")
        try:
            lock(file, path)
            _write(file, line(header))
            fresh.replace(path)
            sync_directory(path.parent)
        except BaseException:
            file.close()
            raise
        return cls(path, file, Record(header), header["environment"])

    @classmethod
    def go_on(
        cls,
        path: Path,
        identity: Identity,
        environment: Mapping[str, str],
        *,
        cut: Cut | None = None,
    ) -> Journal:
        """The journal of an interrupted job, which goes on in this environment, cut like this.

        Raises UsageError where it is the journal of another job (with what differs), where it is
        damaged, or where another process is at work on it.
        """
        file = hold(path)
        try:
            record = read_journal(path, file)
            if record.void is not None:
                raise UsageError(f"{record.void}; use --overwrite to begin again.")
            changed = identity.changed(record.header, cut)
            if changed:
                raise UsageError(_refusal(changed, record, identity))
            file.truncate(record.end)
            file.seek(record.end)
            return cls(path, file, record, environment)
        except OSError as error:
            file.close()
            raise _unwritable(path, error) from error
        except BaseException:
            file.close()
            raise

    def note_files(self, files: Iterable[FileRecord]) -> None:
        """Note the files that were made, of which nothing is written yet.

        This is on disk once a piece is recorded; before, nothing needs it.
        """
        self.files = tuple(files)
        self.records.clear()
        self._append(files_line(self.files), sync=False)

    def record(self, piece: Done) -> None:
        """Note a piece whose results are on disk; on disk itself when this returns.

        Raises UsageError where the disk does not take it, and where the journal has lost its place:
        another run may own the results by then.
        """
        self._append(line(piece.plain()))
        self.records[piece.piece] = piece

    def void(self, why: str) -> None:
        """Note that nothing of this may be built upon, and why."""
        self._append(line({"void": why}))

    def forget(self, pieces: Iterable[int]) -> None:
        """Take pieces for not done, until they are recorded again."""
        for piece in pieces:
            del self.records[piece]

    def _append(self, text: bytes, *, sync: bool = True) -> None:
        if not is_named(self._about, self._path):
            raise UsageError(
                f"{str(self._path)!r} was moved, removed or replaced while this job ran, so the "
                "results may be another run's by now; nothing more is recorded."
            )
        with writing(self._path):
            _write(self._file, text, sync=sync)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let it go, for other processes."""
        self._file.close()


def has_journal(path: Path) -> bool:
    """Whether something stands in the place of a journal; a file of nothing is none."""
    return path.is_symlink() or (path.exists() and path.stat().st_size > 0)


def read_journal(path: Path, file: FileIO) -> Record:
    """What an open journal says.  Raises UsageError where it is damaged."""
    file.seek(0)
    try:
        return parse(file.read())
    except ValueError as error:
        raise UsageError(
            f"{str(path)!r} is damaged or no journal of this version; use --overwrite to begin "
            "again."
        ) from error


def _write(file: FileIO, text: bytes, *, sync: bool = True) -> None:
    """All of it; with ``sync`` it is on disk when this returns.  Raises OSError."""
    if file.write(text) < len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if sync:
        os.fsync(file.fileno())


def begun_cut(path: Path) -> Cut | None:
    """How a job that was begun is cut into pieces; None where that is not known.

    A device with other memory would choose others, and the job could not go on.
    """
    try:
        return Cut.parse(parse(path.read_bytes()).header.get("cut"))
    except (OSError, ValueError):
        return None


def _header(
    identity: Identity,
    environment: Mapping[str, str],
    pieces: int,
    cut: Cut | None,
) -> Mapping[str, Any]:
    return {
        "fieldwise job": VERSION,
        **asdict(identity),
        "environment": environment,
        "run": uuid4().hex,
        "pieces": pieces,
        "cut": cut and cut.plain(),
    }


def _refusal(changed: Sequence[str], record: Record, identity: Identity) -> str:
    """What is said of a job of which this has changed."""
    *others, last = changed
    what = f"{', '.join(others)} and {last} have" if others else f"{last} has"
    cut = Cut.parse(record.header.get("cut"))
    other = cut is not None and record.header.get("plan") != identity.plan
    return (
        f"{what[0].upper()}{what[1:]} changed since this job was begun"
        f"{f' with {cut}' if other else ''}, so what is done does not fit what is to come; use "
        "--overwrite to begin again."
    )


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"Cannot write {str(path)!r}: {error.strerror or error}; choose another place."
    )


def _warning(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    changed = differences(before, now)
    if not changed:
        return None
    return f"the job was begun elsewhere ({changed}): the last bits may differ"
