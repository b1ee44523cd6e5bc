""".npy files, memory-mapped: what is read and written goes through the system's page cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldwise.errors import UsageError
from fieldwise.tile.io.disk import file_identity, reserve, sync_directory, sync_file
from fieldwise.tile.io.kinds import check_numbers


@dataclass(frozen=True, slots=True)
class Mapped:
    """Where an array lies in a file.  It is mapped for each access, and let go of afterwards, so
    that its pages do not count as memory of the process.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    fortran: bool = False

    def map(self, mode: Any) -> np.memmap[Any, Any]:
        """The array; mode is that of numpy.memmap."""
        order: Any = "F" if self.fortran else "C"
        return np.memmap(self.path, self.dtype, mode, self.offset, self.shape, order)


@dataclass(frozen=True, slots=True)
class NpySource:
    """A .npy file to read from (see protocol.Source)."""

    array: Mapped
    axes: str | None = None

    @classmethod
    def open(cls, path: Path) -> NpySource:
        """Raises UsageError for what is no readable .npy file of numbers."""
        return cls(_mapped(path))

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

    @classmethod
    def create(cls, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NpySink:
        """A new file with its space reserved.  Raises OSError where the disk has too little."""
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {**header, "shape": shape})
            reserve(file, file.tell() + int(np.prod(shape)) * dtype.itemsize)
            os.fsync(file.fileno())
        sync_directory(path.parent)
        return cls.reopen(path)

    @classmethod
    def reopen(cls, path: Path) -> NpySink:
        """A file that ``create`` has made.  Raises UsageError where it cannot be read."""
        return cls(_mapped(path))

    @property
    def grain(self) -> tuple[int, ...]:
        """Any block can be written."""
        return (1,) * len(self.array.shape)

    def write(self, start: Sequence[int], block: np.ndarray[Any, Any]) -> None:
        """See protocol.Sink."""
        region = tuple(slice(at, at + n) for at, n in zip(start, block.shape, strict=True))
        self.array.map("r+")[region] = block

    def flush(self) -> None:
        """See protocol.Sink."""
        sync_file(self.array.path)


def _mapped(path: Path) -> Mapped:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, TypeError, OverflowError, MemoryError) as error:
        said = str(error).strip().splitlines()
        raise UsageError(
            f"{str(path)!r} cannot be read as a .npy file of numbers ({(said or ['empty'])[0]}); "
            "write it with numpy.save."
        ) from error
    if not isinstance(array, np.memmap):
        raise UsageError(f"{str(path)!r} holds no single array; write it with numpy.save.")
    check_numbers(path, array.dtype)
    fortran = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
    return Mapped(path, array.shape, array.dtype, array.offset, fortran)
