"""HDF5 files, ``file.h5:/path``: read slice by slice; a result is one array that lies as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError, said_by
from fieldwise.tile.files.calibration import Calibration
from fieldwise.tile.files.checks import check_chunks, check_kind
from fieldwise.tile.files.detect import split_name
from fieldwise.tile.files.disk import file_identity, replacing, reserve
from fieldwise.tile.files.grain import Steps
from fieldwise.tile.files.hdf5_about import about_dataset, say
from fieldwise.tile.files.hdf5_about import kept_about as kept_about
from fieldwise.tile.files.in_place import PlacedSink, any_grain, opened
from fieldwise.tile.files.protocol import PlannedFile
from fieldwise.tile.files.raw import RawArray

_DATASET = "data"
"""What the array of a result is called."""


def open_source(path: Path) -> Hdf5Source:
    """The array of this name, or the only one.

    Raises UsageError for one whose values lie in other files.
    """
    file, inner = split_name(path)
    with h5py.File(file, "r") as opened_file:
        names = [inner.strip("/")] if inner else _names(opened_file)
        found = opened_file.get(names[0]) if len(names) == 1 else None
        if not isinstance(found, h5py.Dataset):
            names = _names(opened_file)
            said = ", ".join(f"{file}:/{one}" for one in names[:4]) or "it holds none"
            raise UsageError(f"{str(path)!r} names no array of the file; name one of them: {said}.")
        if found.is_virtual or found.external or found.file != opened_file:
            raise UsageError(
                f"The values of {str(path)!r} lie in other files; name the file that holds them."
            )
        check_kind(path, found.dtype)
        if found.chunks is not None:
            check_chunks(path, found.chunks, found.dtype)
        about, axes, note = about_dataset(found)
        note = None if note is None else f"{str(path)!r} {note}"
        return Hdf5Source(path, names[0], found.shape, found.dtype, axes, found.chunks, note, about)


@dataclass(frozen=True, slots=True)
class Hdf5Source:
    """An array of an HDF5 file (see protocol.Source); name: within the file."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    axes: str | None
    chunks: tuple[int, ...] | None
    note: str | None = None
    about: Calibration | None = None

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.generic]:
        try:
            with h5py.File(split_name(self.path)[0], "r") as file:
                return np.asarray(file[self.name][tuple(index)])
        except Exception as error:
            raise UsageError(
                f"{str(self.path)!r} cannot be read ({said_by(error)}); write the file again."
            ) from error

    def identity(self) -> str:
        """Its size, its time of change and a digest of its ends."""
        return file_identity(split_name(self.path)[0])


def grain_of(shape: tuple[int, ...], axes: str, steps: Steps) -> tuple[int, ...]:  # noqa: ARG001
    """Any block can be written."""
    return any_grain(shape)


def create(file: PlannedFile) -> PlacedSink:
    """A new file with its space reserved.  Raises OSError where the disk has too little."""
    with replacing(file.path) as handle:
        with h5py.File(handle, "w") as made:
            early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            early.set_layout(h5py.h5d.CONTIGUOUS)
            early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            early.set_obj_track_times(False)
            space, kind = h5py.h5s.create_simple(file.shape), h5py.h5t.py_create(file.dtype)
            h5py.h5d.create(made.id, _DATASET.encode(), kind, space, early)
            say(made, made[_DATASET], file)
        reserve(handle, handle.seek(0, 2))
    return reopen(file, writable=True)


def reopen(file: PlannedFile, *, writable: bool) -> PlacedSink:
    """A file that ``create`` has made.  Raises UsageError where its array lies elsewhere."""
    with h5py.File(file.path, "r") as found:
        dataset = found[_DATASET]
        offset, dtype = dataset.id.get_offset(), dataset.dtype
    if offset is None:
        raise file.not_begun("its array lies in chunks")
    return opened(file, RawArray(file.shape, dtype, offset), writable=writable)


def _names(file: h5py.File) -> list[str]:
    """The arrays of a file that are no scales of others' axes."""
    found: list[str] = []

    def see(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.shape and not item.is_scale:
            found.append(name)

    file.visititems(see)
    return found
