"""NIfTI volumes: read through nibabel, as numpy has them there; .nii is written where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError, said_by
from fieldwise.tile.files.calibration import Calibration
from fieldwise.tile.files.checks import check_kind
from fieldwise.tile.files.disk import file_identity
from fieldwise.tile.files.grain import Steps
from fieldwise.tile.files.in_place import PlacedSink, any_grain, created, nbytes_of, opened
from fieldwise.tile.files.nifti_about import about_volume, say
from fieldwise.tile.files.nifti_about import kept_about as kept_about
from fieldwise.tile.files.protocol import PlannedFile, Source
from fieldwise.tile.files.raw import RawArray
from fieldwise.tile.files.whole import WholeSource

KEEPS_AFFINES = True
_MOST = (1 << 15) - 1
"""The longest axis of a file of version 1."""
_DIMS = 7


def open_source(path: Path) -> Source:
    """A volume, with the first axis of the file first; scaled, where the file says by what.

    What is compressed is unpacked as a whole.
    """
    image = _image(path)
    proxy = image.dataobj
    shape, scaled = tuple(map(int, proxy.shape)), (proxy.slope, proxy.inter) != (1.0, 0.0)
    dtype = np.dtype(np.float64 if scaled else proxy.dtype)
    check_kind(path, dtype)
    about = about_volume(image.header, len(shape))
    if _is_packed(path):
        decode = lambda: np.asanyarray(_image(path).dataobj)  # noqa: E731
        return WholeSource(path, shape, dtype, None, decode, about=about)
    return NiftiSource(path, shape, dtype, about)


@dataclass(frozen=True, slots=True)
class NiftiSource:
    """A volume that is not compressed (see protocol.Source)."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    about: Calibration | None = None
    axes: str | None = None
    chunks: tuple[int, ...] | None = None
    note: str | None = None

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.generic]:
        try:
            return np.asanyarray(_image(self.path).dataobj[tuple(index)])
        except Exception as error:
            raise UsageError(
                f"{str(self.path)!r} cannot be read now ({said_by(error)})."
            ) from error

    def identity(self) -> str:
        """Its size, its time of change and a digest of its ends."""
        return file_identity(self.path)


def grain_of(shape: tuple[int, ...], axes: str, steps: Steps) -> tuple[int, ...]:  # noqa: ARG001
    """Any block can be written.  Raises UsageError for more than seven axes."""
    if len(shape) > _DIMS:
        raise UsageError(f"A NIfTI file has at most {_DIMS} axes, not {axes}; write zarr.")
    return any_grain(shape)


def order_of(axes: str) -> str:
    """With channels behind what lies in the world, which are the first three axes.

    >>> order_of("CDHW"), order_of("DHWC")
    ('DHWC', 'DHWC')
    """
    return "".join(sorted(axes, key=lambda letter: letter in "CS"))


def create(file: PlannedFile) -> PlacedSink:
    """A new file with its space reserved.  Raises OSError where the disk has too little."""
    large = max(file.shape) > _MOST
    header: Any = nib.Nifti2Header() if large else nib.Nifti1Header()
    try:
        header.set_data_dtype(file.dtype.newbyteorder("<"))
    except nib.spatialimages.HeaderDataError as error:
        raise UsageError(
            f"A NIfTI file holds no {file.dtype}; give --out-dtype uint8, or write zarr."
        ) from error
    header.set_data_shape(file.shape)
    say(header, file)
    header["magic"] = b"n+2" if large else b"n+1"
    offset = header.single_vox_offset
    header["vox_offset"] = offset

    def head(to: BinaryIO) -> None:
        to.write(header.binaryblock.ljust(offset, b"\0"))

    created(file.path, nbytes_of(file), head)
    return reopen(file, writable=True)


def reopen(file: PlannedFile, *, writable: bool) -> PlacedSink:
    """A file that ``create`` has made."""
    proxy = _image(file.path).dataobj
    # Trailing axes of one index stay in a header, so the shape is the file's.
    array = RawArray(file.shape, np.dtype(proxy.dtype), int(proxy.offset), fortran=True)
    return opened(file, array, writable=writable)


def _image(path: Path) -> Any:
    try:
        if not _is_packed(path):
            return nib.load(path) if path.name.lower().endswith(".nii") else _by_content(path)
        return nib.load(path)
    except nib.filebasedimages.ImageFileError as error:
        raise ValueError(str(error)) from error


def _by_content(path: Path) -> Any:
    """A file of another name."""
    with path.open("rb") as file:
        second = file.read(4) in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
    return (nib.Nifti2Image if second else nib.Nifti1Image).from_filename(path)


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")
