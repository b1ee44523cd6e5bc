"""Where workers put what they have computed, until the only one who may write the result takes it.

A worker never writes to the result.  Each try at a piece goes to a folder of its own, in a folder
beside OUT that belongs to one run: a worker that was stopped, or whose client was killed, may go on
writing there, and no other run ever reads it.  The client takes a piece over once it has read back,
by its own eyes, what the worker says that it wrote.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from fieldwise.errors import UsageError
from fieldwise.tile.bands.pass_run import PassSection
from fieldwise.tile.files import FileView
from fieldwise.tile.files.zarr_array import ZarrSink, move_chunks
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.digests import Stored, fault
from fieldwise.tile.jobs.job import Job
from fieldwise.tile.jobs.records import Done
from fieldwise.tile.jobs.shares import Share, finished_passes, share_of
from fieldwise.tile.jobs.streams import StreamWork

_TOKEN = "token"
_PARTS = "parts"
PROBE = "probe"
"""The purpose of a folder that only shows who sees it."""


PATIENCE = 60.0
"""Seconds that a shared file system may need to show another machine a file that was replaced."""
_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Staged:
    """A piece that a worker has put aside.

    name: of the folder that it is in; made_in: the worker's environment
    """

    done: Done
    name: str
    made_in: dict[str, str]


@dataclass(frozen=True, slots=True)
class Staging:
    """The folder of one run, and a token that tells who sees it.  Made by ``staging``."""

    folder: Path
    token: str

    def check_seen(self) -> None:
        """Raise UsageError where this machine does not see the folder that the client made."""
        try:
            seen = (self.folder / _TOKEN).read_text() == self.token
        except OSError:
            seen = False
        if not seen:
            raise UsageError(
                f"The worker on {socket.gethostname()} does not see {str(self.folder.parent)!r} as "
                "the machine that sent the job does; mount one file system at the same path on all "
                "of them, and name OUT there."
            )

    def compute(self, job: Job, pieces: Sequence[int]) -> list[Staged]:
        """Compute pieces of one batch and put them aside: what a worker does."""
        self.check_seen()
        folders = [self.folder / f"{piece}-{uuid4().hex}" for piece in pieces]
        try:
            for folder in folders:
                folder.mkdir()
            done = list(job.write(pieces, folders))
            self.check_seen()
        except BaseException:
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                self.folder.rmdir()  # where the client has removed it, and writing made it again
            raise
        return [
            Staged(one, folder.name, job.environment)
            for one, folder in zip(done, folders, strict=True)
        ]

    def share(self, job: Job, saved: Checkpoint, finished: int, section: int) -> tuple[str, Share]:
        """Go through a section of the pass after so many: what a worker does.

        The folder in which it has put rows aside, and what it has found.
        """
        self.check_seen()
        until = time.monotonic() + PATIENCE
        while (found := finished_passes(saved)) != finished:
            if time.monotonic() > until:
                raise UsageError(
                    f"The worker on {socket.gethostname()} finds {found} finished passes beside "
                    f"{str(job.request.out)!r}, and the machine that sent the job has {finished}; "
                    "mount one file system at the same path on all of them."
                )
            time.sleep(_PAUSE)
        folder = self.folder / f"pass-{uuid4().hex}"
        assert isinstance(job.work, StreamWork)
        with job.request.model.running():
            return folder.name, share_of(job.work, job.request.view(), saved, section, folder)

    def take_share(self, name: str, share: Share) -> Iterator[PassSection]:
        """What a worker has found, read back; what it has put aside is gone afterwards.

        Raises UsageError where it is not here as the worker says that it wrote it.
        """
        folder = self.folder / name
        section = share.section(folder)
        if section is None:
            raise _not_here("What was gathered in a pass", "rows are missing or changed")
        yield section
        shutil.rmtree(folder, ignore_errors=True)

    def take(self, job: Job, staged: Staged, results: Sequence[FileView]) -> None:
        """Take a piece over into the results; on disk when this returns.  What the client does.

        Raises UsageError where it is not here as the worker says that it wrote it.
        """
        folder, done = self.folder / staged.name, staged.done
        try:
            views = job.results.within(folder).reopen(writable=False)
        except UsageError as error:
            raise _not_here(f"Piece {done.piece}", str(error)) from error
        parts = zip(views, job.plan.outputs, job.grains, strict=True)
        stored = [Stored(view, output.dim, rows) for view, output, rows in parts]
        why = fault(stored, done.wrote)
        if why is not None:
            raise _not_here(f"Piece {done.piece}", why)
        for view, result, wrote in zip(views, results, done.wrote, strict=True):
            assert isinstance(view.sink, ZarrSink)
            assert isinstance(result.sink, ZarrSink)
            start, stop = zip(*wrote.box, strict=True)
            place = result.layout.file_shape
            move_chunks(view.sink, result.sink, place(start), place(stop))
            result.flush()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def staging(out: Path, purpose: str = _PARTS) -> Iterator[Staging]:
    """A folder beside OUT for one run, gone afterwards.

    Raises UsageError where there can be none.
    """
    out = Path(os.path.abspath(out))
    folder, token = out.with_name(f".{out.name}.{purpose}-{uuid4().hex}"), uuid4().hex
    try:
        folder.mkdir(parents=True)
        (folder / _TOKEN).write_text(token)
    except OSError as error:
        raise UsageError(
            f"Cannot write {str(folder)!r}: {error.strerror or error}; choose another place."
        ) from error
    try:
        yield Staging(folder, token)
    finally:
        _remove(folder)


def remove_abandoned(out: Path, own: Staging) -> None:
    """Remove what killed runs have left; only who holds the journal may do this."""
    here = glob.escape(os.path.abspath(out.parent))
    pattern = os.path.join(here, f".{glob.escape(out.name)}.{_PARTS}-*")
    for folder in map(Path, glob.glob(pattern)):
        if folder != own.folder:
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder into which others may be writing: first it loses the name that they know."""
    dead = folder.with_name(f"{folder.name}.gone")
    with suppress(OSError):
        folder.rename(dead)
    shutil.rmtree(dead, ignore_errors=True)


def _not_here(what: str, why: str) -> UsageError:
    return UsageError(
        f"{what} is not here as a worker says that it wrote it ({why.rstrip('.')}); see "
        "that all machines share the file system of OUT, and --resume goes on from what is "
        "recorded."
    )
