""".npy files: what is read and written goes through the system's page cache."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from fieldwise.errors import UsageError
from fieldwise.tile.files.checks import check_kind
from fieldwise.tile.files.grain import Steps
from fieldwise.tile.files.in_place import (
    PlacedSink,
    PlacedSource,
    any_grain,
    created,
    nbytes_of,
    opened,
)
from fieldwise.tile.files.protocol import PlannedFile
from fieldwise.tile.files.raw import RawArray


def open_source(path: Path) -> PlacedSource:
    """A .npy file; see files.open_source."""
    return PlacedSource(path, _raw(path))


def grain_of(shape: tuple[int, ...], axes: str, steps: Steps) -> tuple[int, ...]:  # noqa: ARG001
    """Any block can be written."""
    return any_grain(shape)


def create(file: PlannedFile) -> PlacedSink:
    """A new file with its space reserved.  Raises OSError where the disk has too little."""
    created(file.path, nbytes_of(file), lambda to: write_header(to, file.shape, file.dtype))
    return reopen(file, writable=True)


def write_header(to: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    """Write what stands before the elements."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(to, {**header, "shape": shape})


def reopen(file: PlannedFile, *, writable: bool) -> PlacedSink:
    """A file that ``create`` has made."""
    return opened(file, _raw(file.path), writable=writable)


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
