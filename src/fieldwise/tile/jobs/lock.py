"""A file that one process at a time holds: locked until it is closed, or the process ends."""

from __future__ import annotations

import os
import stat
from io import FileIO
from pathlib import Path

from fieldwise.errors import UsageError
from fieldwise.tile.files.disk import NO_LINK

try:
    import fcntl
except ImportError:  # where nothing is locked: not a POSIX system
    fcntl = None  # type: ignore[assignment]


def hold(path: Path, *, create: bool = False, read_only: bool = False) -> FileIO:
    """The regular file of this name, open and locked; a link is not followed.

    It has no buffer: what could not be written is not tried again when it is closed.  A file that
    has lost its name before it was locked is let go, and the one that has the name now is taken:
    of all processes that ask at once, one gets it.

    create:    make an empty one where there is none
    read_only: held together with others that only read

    Raises UsageError where another process holds it, or where it cannot be opened or locked.
    """
    while True:
        file = _opened(path, create, read_only)
        try:
            lock(file, path, read_only=read_only)
            if is_named(os.fstat(file.fileno()), path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def lock(file: FileIO, path: Path, *, read_only: bool = False) -> None:
    """Lock a file that is open.  Raises UsageError, see ``hold``."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"Another process is at work on {str(path)!r}; wait for it or end it."
        ) from error
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be locked ({error.strerror}); name an OUT on a file system with "
            "locks."
        ) from error


def is_named(file: os.stat_result, path: Path) -> bool:
    """Whether a path names this file, itself and not through a link."""
    try:
        return os.path.samestat(file, os.lstat(path))
    except OSError:
        return False


def _opened(path: Path, create: bool, read_only: bool) -> FileIO:
    flags = (os.O_RDONLY if read_only else os.O_RDWR) | NO_LINK | getattr(os, "O_NONBLOCK", 0)
    try:
        if path.is_symlink():
            raise UsageError(f"{str(path)!r} is a symbolic link, which is not followed; remove it.")
        handle = os.open(path, flags | (os.O_CREAT if create else 0), 0o666)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise UsageError(f"{str(path)!r} is no regular file; remove it.")
    except OSError as error:
        verb = "read" if read_only else "write"
        raise UsageError(
            f"Cannot {verb} {str(path)!r}: {error.strerror or error}; choose another place."
        ) from error
    return FileIO(handle, "rb" if read_only else "rb+")
