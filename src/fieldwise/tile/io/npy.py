""".npy files, memory-mapped: what is read and written goes through the system's page cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldwise.errors import UsageError
from fieldwise.tile.io.disk import file_identity, reserve, sync_directory, sync_file
from fieldwise.tile.io.grain import Steps
from fieldwise.tile.io.kinds import check_kind
from fieldwise.tile.io.mapped import Mapped

if TYPE_CHECKING:
    from fieldwise.tile.io.files import NewFile


def open_source(path: Path) -> NpySource:
    """A .npy file; see files.open_source."""
    return NpySource(_mapped(path))


def grain_of(shape: tuple[int, ...], axes: str, steps: Steps) -> tuple[int, ...]:  # noqa: ARG001
    """Any block can be written."""
    return (1,) * len(shape)


def create(file: NewFile) -> NpySink:
    """A new file with its space reserved.  Raises OSError where the disk has too little."""
    header = {"descr": np.lib.format.dtype_to_descr(file.dtype), "fortran_order": False}
    with file.path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, {**header, "shape": file.shape})
        reserve(handle, handle.tell() + prod(file.shape) * file.dtype.itemsize)
        os.fsync(handle.fileno())
    sync_directory(file.path.parent)
    return reopen(file)


def reopen(file: NewFile) -> NpySink:
    """A file that ``create`` has made."""
    return NpySink(_mapped(file.path))


@dataclass(frozen=True, slots=True)
class NpySource:
    """A .npy file to read from (see protocol.Source)."""

    array: Mapped
    axes: str | None = None
    chunks: tuple[int, ...] | None = None
    note: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        return self.array.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        return np.array(self.array.map("r")[index])

    def identity(self) -> str:
        """Its size, its time of change and a digest of its ends."""
        return file_identity(self.array.path)


@dataclass(frozen=True, slots=True)
class NpySink:
    """A .npy file to write to (see protocol.Sink)."""

    array: Mapped

    @property
    def path(self) -> Path:
        """See protocol.Sink."""
        return self.array.path

    def write(self, start: Sequence[int], block: np.ndarray[Any, Any]) -> None:
        """See protocol.Sink."""
        region = tuple(slice(at, at + n) for at, n in zip(start, block.shape, strict=True))
        self.array.map("r+")[region] = block

    def flush(self) -> None:
        """See protocol.Sink."""
        sync_file(self.array.path)


def _mapped(path: Path) -> Mapped:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.memmap):
        raise UsageError(f"{str(path)!r} holds no single array; write it with numpy.save.")
    check_kind(path, array.dtype)
    fortran = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
    return Mapped(path, array.shape, array.dtype, int(array.offset), fortran)
