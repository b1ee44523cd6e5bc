"""Zarr arrays: read in any version, written as version 3, chunk by chunk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from fieldwise.errors import UsageError
from fieldwise.tile.io.disk import folder_identity, sync_directory, sync_file
from fieldwise.tile.io.grain import Steps, fitting
from fieldwise.tile.io.kinds import check_kind

if TYPE_CHECKING:
    from fieldwise.tile.io.files import NewFile

_CHUNK = 1 << 20
"""Elements of a chunk, at most."""
_SIDES = {1: 1 << 16, 2: 512, 3: 96, 4: 32}


def open_source(path: Path) -> ZarrSource:
    """An array, or the only one of a group; see files.open_source."""
    return ZarrSource(path, _opened(path))


def grain_of(shape: tuple[int, ...], axes: str, steps: Steps) -> tuple[int, ...]:
    """Its chunks: about as long along all spatial axes, and as many channels as fit in a MiB.

    >>> grain_of((3, 4000, 3000), "CHW", [None] * 3), grain_of((9, 900, 900), "CYX", [None, 96, 96])
    ((3, 512, 512), (9, 96, 96))
    """
    spatial = sum(letter not in "NCS" for letter in axes)
    side = _SIDES.get(spatial, 1)
    sides = [
        1 if letter == "N" else 0 if letter in "CS" else fitting(min(size, side), step, size) or 1
        for letter, size, step in zip(axes, shape, steps, strict=True)
    ]
    room = max(_CHUNK // prod(n for n in sides if n), 1)
    return tuple(n or min(size, room) for n, size in zip(sides, shape, strict=True))


def create(file: NewFile) -> ZarrSink:
    """A new array whose chunks are the file's grain; it comes to be at once or not at all."""
    fresh = file.path.with_name(f".{file.path.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    zarr.create_array(
        str(fresh),
        shape=file.shape,
        chunks=file.grain,
        dtype=file.dtype,
        fill_value=0,
        dimension_names=list(file.axes),
    )
    sync_file(fresh / "zarr.json")
    sync_directory(fresh)
    fresh.rename(file.path)
    sync_directory(file.path.parent)
    return reopen(file)


def reopen(file: NewFile) -> ZarrSink:
    """An array that ``create`` has made.  Raises UsageError where its chunks are others."""
    array = zarr.open_array(str(file.path), mode="r+")
    if tuple(array.chunks) != file.grain:
        raise UsageError(
            f"{str(file.path)!r} is not what this job has begun (its chunks differ); use "
            "--overwrite to begin again."
        )
    return ZarrSink(file.path, array)


@dataclass(frozen=True, slots=True)
class ZarrSource:
    """A zarr array to read from (see protocol.Source)."""

    path: Path
    array: Any
    note: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        return np.dtype(self.array.dtype)

    @property
    def axes(self) -> str | None:
        """The names of its dimensions, where they are single letters."""
        names = getattr(self.array.metadata, "dimension_names", None) or ()
        short = [name for name in names if name is not None and len(name) == 1]
        return "".join(short).upper() if names and len(short) == len(names) else None

    @property
    def chunks(self) -> tuple[int, ...]:
        """As stored."""
        return tuple(self.array.chunks)

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        try:
            return np.asarray(self.array[index])
        except Exception as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(
                f"A chunk of {str(self.path)!r} cannot be read ({said}); write the array again."
            ) from error

    def identity(self) -> str:
        """A digest of the names, sizes and times of change of its files."""
        return folder_identity(self.path)


@dataclass(frozen=True, slots=True)
class ZarrSink:
    """A zarr array to write to (see protocol.Sink)."""

    path: Path
    array: Any
    _written: set[tuple[int, ...]] = field(default_factory=set)

    def write(self, start: Sequence[int], block: np.ndarray[Any, Any]) -> None:
        """See protocol.Sink."""
        ends = [at + n for at, n in zip(start, block.shape, strict=True)]
        region = tuple(slice(*pair) for pair in zip(start, ends, strict=True))
        self.array[region] = block
        chunks = (
            range(lo // size, -(-hi // size))
            for lo, hi, size in zip(start, ends, self.array.chunks, strict=True)
        )
        self._written.update(product(*chunks))

    def flush(self) -> None:
        """See protocol.Sink.  A chunk of zeros has no file."""
        keys = (self.array.metadata.encode_chunk_key(chunk) for chunk in self._written)
        files = [file for key in keys if (file := self.path / key).exists()]
        for file in files:
            sync_file(file)
        inner = {folder for file in files for folder in file.parents if self.path in folder.parents}
        for folder in {*inner, self.path}:
            sync_directory(folder)
        self._written.clear()


def _opened(path: Path) -> Any:
    found = zarr.open(str(path), mode="r")
    if isinstance(found, zarr.Group):
        names = sorted(name for name, _ in found.arrays())
        if len(names) != 1:
            said = ", ".join(str(path / name) for name in names[:4]) or "none is there"
            raise UsageError(f"{str(path)!r} is a group of zarr arrays; name one of them: {said}.")
        found = found[names[0]]
    check_kind(path, found.dtype)
    return found
