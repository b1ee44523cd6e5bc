"""What makes writing last and keeps it one's own, and what tells whether a file has changed."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fieldwise.errors import UsageError

_ENDS = 1 << 20


def reserve(file: BinaryIO, nbytes: int) -> None:
    """Give a file its size and, where the file system can, its space on disk.

    Raises OSError where the disk has too little, before anything is computed.
    """
    file.flush()
    os.ftruncate(file.fileno(), nbytes)
    if hasattr(os, "posix_fallocate") and nbytes:
        try:
            os.posix_fallocate(file.fileno(), 0, nbytes)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise


def fresh_name(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(f".{path.name}.new")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes this name once it is whole and on disk, or not at all.

    It is never the file that had the name before: whoever still writes to that one changes nothing
    of this one.  Raises OSError.
    """
    fresh = fresh_name(path)
    fresh.unlink(missing_ok=True)
    try:
        with fresh.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


class OwnFile:
    """A file that is opened once: what is written goes there, whatever its name means by then.

    A link is not followed.  Raises OSError.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self.handle = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | NO_LINK)
        weakref.finalize(self, os.close, self.handle)

    def sync(self) -> None:
        """Return when all that was written is on disk."""
        os.fsync(self.handle)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which result could not be written, and that what is recorded is not lost."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"Cannot write {str(path)!r}: {error.strerror or error}; fix that, and --resume goes "
            "on from what is on disk."
        ) from error


def sync_file(path: Path) -> None:
    """Return when the content of a file is on disk."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_directory(path: Path) -> None:
    """Return when the names in a directory are on disk (where the system has such a call)."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def stamp(path: Path) -> tuple[int, ...] | None:
    """Which file or folder has this name, its size and its time of change; None: it is gone."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


def file_identity(path: Path) -> str:
    """Size, time of change, and a digest of the first and the last MiB."""
    about = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(_ENDS))
        file.seek(max(about.st_size - _ENDS, 0))
        digest.update(file.read(_ENDS))
    return f"{about.st_size} bytes, {about.st_mtime_ns} ns, {digest.hexdigest()[:16]}"


def folder_identity(path: Path) -> str:
    """A digest of the names, sizes and times of change of all files below a folder."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            about = os.stat(os.path.join(folder, name))
            inside = os.path.relpath(os.path.join(folder, name), path)
            digest.update(f"{inside}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""A flag of os.open: the last part of a path may not be a symbolic link."""
_CANNOT_RESERVE = {22, 38, 95}
"""EINVAL, ENOSYS, EOPNOTSUPP: the file system has no such call."""
