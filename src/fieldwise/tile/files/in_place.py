"""Files in which an array lies as it is between other bytes: .npy, NIfTI, HDF5, WAV, bare numbers.

Since the place of every element is known before any is computed, results are written where they
stay, and what a crash leaves is gone on with.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fieldwise.tile.files.detect import split_name
from fieldwise.tile.files.disk import OwnFile, file_identity, replacing, reserve
from fieldwise.tile.files.protocol import DamagedError, PlannedFile
from fieldwise.tile.files.raw import RawArray, reading

_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class PlacedSource:
    """An array within a file, to read from (see protocol.Source)."""

    path: Path
    array: RawArray
    axes: str | None = None
    chunks: tuple[int, ...] | None = None
    note: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """As stored."""
        return self.array.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.generic]:
        with reading(split_name(self.path)[0]) as handle:
            return self.array.read(handle, index)

    def identity(self) -> str:
        """Its size, its time of change and a digest of its ends."""
        return file_identity(split_name(self.path)[0])


@dataclass(frozen=True, slots=True)
class PlacedSink:
    """An array within a file, to write to (see protocol.Sink)."""

    file: OwnFile
    array: RawArray

    @property
    def path(self) -> Path:
        """See protocol.Sink."""
        return self.file.path

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """See protocol.Sink."""
        return self.array.dtype

    def write(self, start: Sequence[int], block: NDArray[np.generic]) -> None:
        """See protocol.Sink."""
        self.array.write(self.file.handle, start, block)

    def flush(self) -> None:
        """See protocol.Sink."""
        self.file.sync()

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.generic]:
        """See protocol.Sink."""
        try:
            region = [slice(*ends) for ends in zip(start, stop, strict=True)]
            return self.array.read(self.file.handle, region)
        except (EOFError, OSError) as error:
            raise DamagedError(str(error)) from error

    def frame(self) -> str:
        """See protocol.Sink: all that is before and behind the array."""
        handle, digest = self.file.handle, hashlib.sha256()
        for lo, hi in ((0, self.array.offset), (self.array.end, os.fstat(handle).st_size)):
            for at in range(lo, hi, _AT_ONCE):
                digest.update(os.pread(handle, min(_AT_ONCE, hi - at), at))
        return digest.hexdigest()


def any_grain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Any block can be written."""
    return (1,) * len(shape)


def created(path: Path, nbytes: int, head: Callable[[BinaryIO], object]) -> None:
    """Make a file that begins with what ``head`` writes, with space for so many bytes behind it.

    Raises OSError where the disk has too little.
    """
    with replacing(path) as handle:
        head(handle)
        reserve(handle, handle.tell() + nbytes)


def opened(file: PlannedFile, array: RawArray, *, writable: bool) -> PlacedSink:
    """The sink of a file that was made."""
    return PlacedSink(OwnFile(file.path, writable=writable), array)


def nbytes_of(file: PlannedFile) -> int:
    """What its elements take."""
    return prod(file.shape) * file.dtype.itemsize
