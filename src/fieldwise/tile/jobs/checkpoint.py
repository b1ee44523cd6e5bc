"""The state of an unfinished piece, in one small file that is replaced as a whole.

It is a help, not a record: without it, or where it is damaged or of another run, a resumed job
computes the piece, or the pass, from its start.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import IO, Any, BinaryIO, cast

import torch

from fieldwise.tile.files.disk import fresh_name, replacing

_SHARE = 20.0
"""Between two checkpoints, at least so many times what it takes to write one is computed."""
_VERSION = 2
_DIGEST = hashlib.sha256().digest_size


class Checkpoint:
    """One file of plain data: numbers, texts, tensors, and tuples, lists and dicts of them.

    run: which run of a job it belongs to; what another one has left is not taken
    """

    def __init__(self, path: Path, run: str, *, least: float | None = None) -> None:
        self.path, self.run = path, f"{_VERSION} {run}"
        self._least = LEAST if least is None else least
        self._last, self._cost = time.monotonic(), 0.0

    def load(self) -> Any:
        """What was saved last; None where that is nothing, or not whole, or of another run."""
        try:
            whole = self.path.read_bytes()
        except OSError:
            return None
        payload, digest = whole[:-_DIGEST], whole[-_DIGEST:]
        if hashlib.sha256(payload).digest() != digest:
            return None
        try:
            found = torch.load(io.BytesIO(payload), weights_only=True)
        except Exception:  # noqa: BLE001  whatever torch makes of what it has not written
            return None
        is_ours = isinstance(found, tuple) and len(found) == 2 and found[0] == self.run
        return found[1] if is_ours else None

    def offer(self, data: Callable[[], object], *, now: bool = False) -> None:
        """Save what ``data`` gives ``now``, or if computing has gone on long since the last time.

        All of it or nothing, whenever the process is killed.  Where it cannot be written (a full
        disk), nothing is saved: the results matter more.
        """
        begun = time.monotonic()
        if not now and begun - self._last < max(self._least, _SHARE * self._cost):
            return
        try:
            self._write(data())
        except OSError:
            self._fresh.unlink(missing_ok=True)
        self._last = time.monotonic()
        self._cost = self._last - begun

    def drop(self) -> None:
        """Forget it, and what a killed process has left of the next one."""
        self.path.unlink(missing_ok=True)
        self._fresh.unlink(missing_ok=True)
        rmtree(self.folder, ignore_errors=True)

    @property
    def folder(self) -> Path:
        """Where values are kept that are too large for it; gone with it."""
        return self.path.with_name(self.path.name + ".kept")

    @property
    def _fresh(self) -> Path:
        return fresh_name(self.path)

    def _write(self, data: object) -> None:
        with replacing(self.path) as file:
            digested = _Digested(file)
            torch.save((self.run, data), cast("IO[bytes]", digested))
            file.write(digested.digest.digest())


class _Digested:
    """A file that keeps a digest of what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write and digest."""
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        """Pass it on."""
        self.file.flush()


LEAST = 5.0
"""Seconds between two checkpoints, at least."""
