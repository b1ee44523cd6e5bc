"""Zarr arrays: read in any version, written as version 3, chunk by chunk."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, GzipCodec, ZstdCodec

from fieldwise.errors import UsageError, said_by
from fieldwise.tile.files.calibration import Calibration, axis_letter
from fieldwise.tile.files.checks import check_chunks, check_kind
from fieldwise.tile.files.codecs import bounded
from fieldwise.tile.files.disk import folder_identity, sync_directory, sync_file, writing
from fieldwise.tile.files.grain import Steps, fitting
from fieldwise.tile.files.ome_zarr import check_axes, multiscales
from fieldwise.tile.files.protocol import DamagedError, PlannedFile
from fieldwise.tile.files.pyramid import blocks_of, halved, level_factors, level_shape
from fieldwise.tile.files.store import Folder
from fieldwise.tile.files.zarr_about import dimension_names, is_ome_zarr
from fieldwise.tile.files.zarr_about import kept_about as kept_about
from fieldwise.tile.files.zarr_groups import find_array
from fieldwise.tile.files.zarr_groups import level_path as level_path

if TYPE_CHECKING:
    from zarr.types import AnyArray

_CHUNK = 1 << 20
"""Elements of a chunk, at most."""
_SIDES = {1: 1 << 16, 2: 512, 3: 96, 4: 32}


def open_source(path: Path) -> ZarrSource:
    """An array, or the one that a group means; see files.open_source, zarr_groups.find_array."""
    found = find_array(path)
    check_kind(path, found.array.dtype)
    check_chunks(path, found.array.chunks, found.array.dtype)
    array = bounded(found.folder, found.array)
    return ZarrSource(path, array, found.folder, found.axes, found.note, found.about)


def grain_of(
    shape: tuple[int, ...], axes: str, steps: Steps, side: int | None = None
) -> tuple[int, ...]:
    """Its chunks: about as long along all spatial axes, and as many channels as fit in a MiB.

    >>> grain_of((3, 4000, 3000), "CHW", [None] * 3), grain_of((9, 900, 900), "CYX", [None, 96, 96])
    ((3, 512, 512), (9, 96, 96))
    """
    spatial = sum(letter not in "NCS" for letter in axes)
    side = _SIDES.get(spatial, 1) if side is None else side
    sides = [
        1 if letter == "N" else 0 if letter in "CS" else fitting(min(size, side), step, size) or 1
        for letter, size, step in zip(axes, shape, steps, strict=True)
    ]
    room = max(_CHUNK // prod(n for n in sides if n), 1)
    return tuple(n or min(size, room) for n, size in zip(sides, shape, strict=True))


def create(file: PlannedFile) -> ZarrSink:
    """A new array whose chunks are the file's grain; it comes to be at once or not at all.

    Every chunk has a checksum, and one of zeros is stored like any other: what is damaged or
    missing is never taken for zeros.  A file named .ome.zarr is a group, with the array as its
    level 0 and, where a pyramid is asked for, arrays for the others, filled at the end.
    """
    fresh = file.path.with_name(f".{file.path.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    if is_ome_zarr(file):
        check_axes(file.axes, file.path)
        factors = level_factors(file.axes, file.shape) if file.pyramid else [{}]
        steps = file.about.steps if file.about is not None else {}
        name = file.path.name[: -len(".ome.zarr")]
        said = multiscales(file.axes, steps, factors, name, means=file.dtype.kind == "f")
        zarr.create_group(str(fresh), attributes={**_free(file), **said})
        for number, factor in enumerate(factors):
            _create_array(file, fresh / str(number), level_shape(file.axes, file.shape, factor), {})
        sync_file(fresh / "zarr.json")
    else:
        _create_array(file, fresh, file.shape, _free(file))
    sync_directory(fresh)
    fresh.rename(file.path)
    sync_directory(file.path.parent)
    return reopen(file, writable=True)


def check_compression(name: str) -> None:
    """Raise UsageError for one that is not written here."""
    if name not in _COMPRESSORS:
        raise UsageError(f"Zarr is written in {', '.join(_COMPRESSORS)}, not in {name}.")


def _compressors(name: str | None) -> list[Any]:
    return _COMPRESSORS["zstd" if name is None else name]


def _free(file: PlannedFile) -> dict[str, Any]:
    return dict(file.about.attributes) if file.about is not None else {}


def _create_array(
    file: PlannedFile, path: Path, shape: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    zarr.create_array(
        str(path),
        shape=shape,
        chunks=tuple(min(grain, n) for grain, n in zip(file.grain, shape, strict=True))
        if shape != file.shape
        else file.grain,
        dtype=file.dtype,
        compressors=[*_compressors(file.compression), Crc32cCodec()],
        fill_value=0,
        dimension_names=dimension_names(file),
        attributes=attributes,
    )
    sync_file(path / "zarr.json")
    sync_directory(path)


def reopen(file: PlannedFile, *, writable: bool) -> ZarrSink:
    """An array that ``create`` has made.  Raises UsageError where its chunks are others."""
    folder = file.path / "0" if is_ome_zarr(file) else file.path
    array = _opened(folder, writable=writable)
    if tuple(array.chunks) != file.grain:
        raise file.not_begun("its chunks differ")
    return ZarrSink(folder, array, group=file.path if is_ome_zarr(file) else None)


def fill_levels(file: PlannedFile) -> None:
    """Fill the levels behind level 0, chunk by chunk, each from the one before.

    Those that are filled already stay as they are.
    """
    if not is_ome_zarr(file):
        return
    dims = [dim for dim, letter in enumerate(file.axes) if axis_letter(letter) in "YX"]
    below = ZarrSink(file.path / "0", _opened(file.path / "0", writable=False))
    while (folder := file.path / str(int(below.path.name) + 1)).is_dir():
        level = ZarrSink(folder, _opened(folder, writable=True))
        for region in blocks_of(level.array.shape, level.array.chunks):
            start = [one.start for one in region]
            if all(
                level.chunk_file(chunk).is_file()
                for chunk in level.chunks_of(start, [one.stop for one in region])
            ):
                continue
            wider = [
                slice(2 * one.start, min(2 * one.stop, size)) if dim in dims else one
                for dim, (one, size) in enumerate(zip(region, below.array.shape, strict=True))
            ]
            found = below.read([one.start for one in wider], [one.stop for one in wider])
            level.write(start, halved(found, dims))
        level.flush()
        below = level


def _opened(folder: Path, *, writable: bool) -> AnyArray:
    with zarr.config.set({"array.write_empty_chunks": True}):
        store = Folder(folder, read_only=not writable)
        return bounded(folder, zarr.open_array(store, mode="r+" if writable else "r"))


@dataclass(frozen=True, slots=True)
class ZarrSource:
    """A zarr array to read from (see protocol.Source).

    folder: where it lies, in the group that the path may be
    about:  see calibration.Calibrated
    """

    path: Path
    array: AnyArray
    folder: Path
    axes: str | None = None
    note: str | None = None
    about: Calibration | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """As stored."""
        return np.dtype(self.array.dtype)

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
        return folder_identity(self.folder)


@dataclass(frozen=True, slots=True)
class ZarrSink:
    """A zarr array to write to (see protocol.Sink); group: the image of which it is level 0."""

    path: Path
    array: AnyArray
    group: Path | None = None
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
        digest = hashlib.sha256((self.path / "zarr.json").read_bytes())
        if self.group is not None:
            digest.update((self.group / "zarr.json").read_bytes())
        return digest.hexdigest()

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


_COMPRESSORS: dict[str, list[Any]] = {
    "zstd": [ZstdCodec(level=0)],
    "deflate": [GzipCodec(level=5)],
    "none": [],
}
"""By the names of --compression."""
