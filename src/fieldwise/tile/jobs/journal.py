"""The journal of a job: a file beside its result that says which pieces are on disk.

The first line tells which job it is, each further line names one finished piece.  It is only
appended to, a line at a time, each on disk before the next piece begins; a last line that was cut
short by a crash is dropped.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from fieldwise.errors import UsageError
from fieldwise.tile.io.disk import sync_directory, writing
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.fingerprint import Identity, environment

try:
    import fcntl
except ImportError:  # where a job is not locked: not a POSIX system
    fcntl = None  # type: ignore[assignment]


def journal_path(out: Path) -> Path:
    """Where the journal of a result lies."""
    return out.with_name(out.name + ".journal")


class Journal:
    """An open journal: what is done, and how to record more.  Made by ``begin`` or ``go_on``.

    done:    the numbers of the finished pieces
    warning: what has changed that may change the last bits of the results; None where nothing has
    piece, passes: where the piece at hand stands, and the passes over the input
    """

    def __init__(
        self, path: Path, file: FileIO, run: str, done: set[int], warning: str | None = None
    ) -> None:
        self._path, self._file, self.done, self.warning = path, file, done, warning
        self.piece = Checkpoint(path.with_name(path.name + ".piece"), run)
        self.passes = Checkpoint(path.with_name(path.name + ".passes"), run)

    @property
    def begun(self) -> bool:
        """Whether some of the results are on disk."""
        return bool(self.done) or self.piece.load() is not None

    @property
    def helps(self) -> bool:
        """Whether a resumed run would have less to compute than a new one."""
        return self.begun or self.passes.load() is not None

    def clear(self) -> None:
        """Forget where pieces and passes stood: all is done."""
        self.piece.drop()
        self.passes.drop()

    @classmethod
    def begin(cls, path: Path, identity: Identity) -> Journal:
        """A new journal in place of any that was there.

        Raises UsageError where another process is at work on the old one, and where there is no
        place to write it.
        """
        if path.exists():
            _locked(path).close()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            run = uuid4().hex
            cls._write_header(path, identity, run)
        except OSError as error:
            raise UsageError(
                f"Cannot write {str(path)!r}: {error.strerror or error}; choose another place."
            ) from error
        return cls(path, _locked(path), run, set())

    @staticmethod
    def _write_header(path: Path, identity: Identity, run: str) -> None:
        """All of it or nothing, whenever the process is killed."""
        header = {
            "fieldwise job": _VERSION,
            **asdict(identity),
            "environment": environment(),
            "run": run,
        }
        fresh = path.with_name(path.name + ".new")
        with fresh.open("wb") as file:
            file.write(_line(header))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_directory(path.parent)

    @classmethod
    def go_on(cls, path: Path, identity: Identity) -> Journal:
        """The journal of an interrupted job.

        Raises UsageError where it is the journal of another job (with what differs), where it is
        damaged, or where another process is at work on it.
        """
        file = _locked(path)
        try:
            file.seek(0)
            header, done, end = _read(path, file.read())
            changed = identity.changed(header)
            if changed is not None:
                verb = "have" if " and " in changed else "has"
                raise UsageError(
                    f"{changed[0].upper()}{changed[1:]} {verb} changed since this job was begun, "
                    "so what is done does not fit what is to come; use --overwrite to begin again."
                )
        except BaseException:
            file.close()
            raise
        file.truncate(end)
        return cls(path, file, header.get("run", ""), done, _warning(header.get("environment", {})))

    def record(self, piece: int) -> None:
        """Note a piece whose results are on disk; on disk itself when this returns.

        Raises UsageError where the disk does not take it.
        """
        with writing(self._path):
            line = _line({"piece": piece})
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        self.done.add(piece)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _read(path: Path, text: bytes) -> tuple[dict[str, Any], set[int], int]:
    """The header, the pieces done, and where the last whole line ends."""
    end = text.rfind(b"\n") + 1
    try:
        header, *records = [json.loads(line) for line in text[:end].splitlines()]
        if header["fieldwise job"] != _VERSION:
            raise ValueError
        done = {int(record["piece"]) for record in records}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{str(path)!r} is damaged or no journal of this version; use --overwrite to begin "
            "again."
        ) from error
    return header, done, end


def _locked(path: Path) -> FileIO:
    """The file, open and locked until it is closed or the process ends, however it ends.

    It has no buffer: what could not be written is not tried again when it is closed.
    """
    file = path.open("a+b", buffering=0)
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise UsageError(
                f"Another process is at work on {str(path)!r}; wait for it or end it."
            ) from error
    return file


def _warning(before: Mapping[str, str]) -> str | None:
    now = environment()
    changed = [
        f"{key} {before.get(key)} → {now[key]}" for key in now if before.get(key) != now[key]
    ]
    if not changed:
        return None
    return f"the job was begun elsewhere ({', '.join(changed)}): the last bits may differ"


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


_VERSION = 1
