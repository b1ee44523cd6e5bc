"""Zarr arrays: read in any version, written as version 3, chunk by chunk."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from fieldwise.errors import UsageError, said_by
from fieldwise.tile.files.checks import check_chunks, check_kind
from fieldwise.tile.files.codecs import bounded
from fieldwise.tile.files.disk import folder_identity, sync_directory, sync_file, writing
from fieldwise.tile.files.grain import Steps, fitting
from fieldwise.tile.files.protocol import DamagedError, PlannedFile
from fieldwise.tile.files.store import Folder

if TYPE_CHECKING:
    from zarr.types import AnyArray

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


def create(file: PlannedFile) -> ZarrSink:
    """A new array whose chunks are the file's grain; it comes to be at once or not at all.

    Every chunk has a checksum, and one of zeros is stored like any other: what is damaged or
    missing is never taken for zeros.
    """
    fresh = file.path.with_name(f".{file.path.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    zarr.create_array(
        str(fresh),
        shape=file.shape,
        chunks=file.grain,
        dtype=file.dtype,
        compressors=[ZstdCodec(level=0), Crc32cCodec()],
        fill_value=0,
        dimension_names=list(file.axes),
    )
    sync_file(fresh / "zarr.json")
    sync_directory(fresh)
    fresh.rename(file.path)
    sync_directory(file.path.parent)
    return reopen(file, writable=True)


def reopen(file: PlannedFile, *, writable: bool) -> ZarrSink:
    """An array that ``create`` has made.  Raises UsageError where its chunks are others."""
    with zarr.config.set({"array.write_empty_chunks": True}):
        store = Folder(file.path, read_only=not writable)
        array = zarr.open_array(store, mode="r+" if writable else "r")
    if tuple(array.chunks) != file.grain:
        raise file.not_begun("its chunks differ")
    return ZarrSink(file.path, bounded(file.path, array))


@dataclass(frozen=True, slots=True)
class ZarrSource:
    """A zarr array to read from (see protocol.Source)."""

    path: Path
    array: AnyArray
    note: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[np.generic]:
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

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.generic]:
        try:
            return np.asarray(self.array[index])
        except Exception as error:
            raise UsageError(
                f"A chunk of {str(self.path)!r} cannot be read ({said_by(error)}); write the "
                "array again."
            ) from error

    def __reduce__(self) -> tuple[object, ...]:
        return open_source, (self.path,)

    def identity(self) -> str:
        """A digest of the names, sizes and times of change of its files."""
        return folder_identity(self.path)


@dataclass(frozen=True, slots=True)
class ZarrSink:
    """A zarr array to write to (see protocol.Sink)."""

    path: Path
    array: AnyArray
    _written: set[tuple[int, ...]] = field(default_factory=set)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """See protocol.Sink."""
        return np.dtype(self.array.dtype)

    def write(self, start: Sequence[int], block: NDArray[np.generic]) -> None:
        """See protocol.Sink."""
        ends = [at + n for at, n in zip(start, block.shape, strict=True)]
        region = tuple(slice(*pair) for pair in zip(start, ends, strict=True))
        self.array[region] = block
        self._written.update(self.chunks_of(start, ends))

    def flush(self) -> None:
        """See protocol.Sink."""
        files = [self.chunk_file(chunk) for chunk in self._written]
        for file in files:
            sync_file(file)
        inner = {folder for file in files for folder in file.parents if self.path in folder.parents}
        for folder in {*inner, self.path}:
            sync_directory(folder)
        self._written.clear()

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.generic]:
        """See protocol.Sink: chunk by chunk, each of which has a file."""
        found = np.empty([hi - lo for lo, hi in zip(start, stop, strict=True)], self.array.dtype)
        for chunk in self.chunks_of(start, stop):
            ends = [
                (max(lo, n * size), min(hi, (n + 1) * size))
                for n, size, lo, hi in zip(chunk, self.array.chunks, start, stop, strict=True)
            ]
            place = tuple(slice(a - lo, b - lo) for (a, b), lo in zip(ends, start, strict=True))
            found[place] = self._part(chunk, tuple(slice(*pair) for pair in ends))
        return found

    def frame(self) -> str:
        """See protocol.Sink."""
        return hashlib.sha256((self.path / "zarr.json").read_bytes()).hexdigest()

    def chunk_file(self, chunk: tuple[int, ...]) -> Path:
        """Where a chunk is stored."""
        return self.path / self.array.metadata.encode_chunk_key(chunk)

    def note(self, chunk: tuple[int, ...]) -> None:
        """A chunk was put in its place, and is on disk after the next ``flush``."""
        self._written.add(chunk)

    def chunks_of(self, start: Sequence[int], stop: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """The chunks that a region touches."""
        touched = (
            range(lo // size, -(-hi // size))
            for lo, hi, size in zip(start, stop, self.array.chunks, strict=True)
        )
        return product(*touched)

    def _part(self, chunk: tuple[int, ...], region: tuple[slice, ...]) -> NDArray[np.generic]:
        file = self.chunk_file(chunk)
        if not file.is_file():
            raise DamagedError(f"the chunk {str(file)!r} is missing")
        try:
            return np.asarray(self.array[region])
        except Exception as error:
            raise DamagedError(
                f"the chunk {str(file)!r} cannot be read: {said_by(error)}"
            ) from error


def move_chunks(
    source: ZarrSink, target: ZarrSink, start: Sequence[int], stop: Sequence[int]
) -> None:
    """Move the chunks of a region from one array to another of the same shape and codecs."""
    for chunk in source.chunks_of(start, stop):
        place = target.chunk_file(chunk)
        with writing(target.path):
            place.parent.mkdir(parents=True, exist_ok=True)
            source.chunk_file(chunk).replace(place)
        target.note(chunk)


def _opened(path: Path) -> AnyArray:
    found = zarr.open(Folder(path, read_only=True), mode="r")
    if isinstance(found, zarr.Group):
        arrays = dict(found.arrays())
        if len(arrays) != 1:
            said = ", ".join(str(path / name) for name in sorted(arrays)[:4]) or "none is there"
            raise UsageError(f"{str(path)!r} is a group of zarr arrays; name one of them: {said}.")
        (found,) = arrays.values()
    check_kind(path, found.dtype)
    check_chunks(path, found.chunks, found.dtype)
    return bounded(path, found)
