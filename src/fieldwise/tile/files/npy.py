""".npy files: what is read and written goes through the system's page cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.tile.files.checks import check_kind
from fieldwise.tile.files.disk import OwnFile, file_identity, replacing, reserve
from fieldwise.tile.files.grain import Steps
from fieldwise.tile.files.protocol import DamagedError, PlannedFile
from fieldwise.tile.files.raw import RawArray, reading


def open_source(path: Path) -> NpySource:
    """A .npy file; see files.open_source."""
    return NpySource(path, _raw(path))


def grain_of(shape: tuple[int, ...], axes: str, steps: Steps) -> tuple[int, ...]:  # noqa: ARG001
    """Any block can be written."""
    return (1,) * len(shape)


def create(file: PlannedFile) -> NpySink:
    """A new file with its space reserved.  Raises OSError where the disk has too little."""
    header = {"descr": np.lib.format.dtype_to_descr(file.dtype), "fortran_order": False}
    with replacing(file.path) as handle:
        np.lib.format.write_array_header_1_0(handle, {**header, "shape": file.shape})
        reserve(handle, handle.tell() + prod(file.shape) * file.dtype.itemsize)
    return reopen(file, writable=True)


def reopen(file: PlannedFile, *, writable: bool) -> NpySink:
    """A file that ``create`` has made."""
    return NpySink(OwnFile(file.path, writable=writable), _raw(file.path))


@dataclass(frozen=True, slots=True)
class NpySource:
    """A .npy file to read from (see protocol.Source)."""

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
        with reading(self.path) as handle:
            return self.array.read(handle, index)

    def identity(self) -> str:
        """Its size, its time of change and a digest of its ends."""
        return file_identity(self.path)


@dataclass(frozen=True, slots=True)
class NpySink:
    """A .npy file to write to (see protocol.Sink)."""

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
        """See protocol.Sink: its header."""
        return hashlib.sha256(os.pread(self.file.handle, self.array.offset, 0)).hexdigest()


def _raw(path: Path) -> RawArray:
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError("it does not begin like a .npy file")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.memmap):
        raise UsageError(f"{str(path)!r} holds no single array; write it with numpy.save.")
    check_kind(path, array.dtype)
    fortran = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
    return RawArray(array.shape, array.dtype, int(array.offset), fortran)


_MAGIC = b"\x93NUMPY"
