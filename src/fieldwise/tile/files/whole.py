"""Arrays that can only be decoded, or written, as a whole: pictures, and what is packed at once."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError, said_by
from fieldwise.tile.files.calibration import Calibration
from fieldwise.tile.files.checks import check_kind
from fieldwise.tile.files.detect import split_name
from fieldwise.tile.files.disk import file_identity
from fieldwise.tile.files.npy import write_header
from fieldwise.tile.files.protocol import DamagedError

MAX_WHOLE = 1 << 32
"""Bytes of an array that is decoded as a whole."""


def channel_count(shape: Sequence[int], axes: str) -> int:
    """How many channels an array with these axes has; 1 without an axis of channels.

    >>> channel_count((3, 40, 50), "CYX"), channel_count((40, 50), "YX")
    (3, 1)
    """
    return next((n for n, letter in zip(shape, axes, strict=True) if letter in "CS"), 1)


def channels_last(values: NDArray[np.generic], axes: str) -> NDArray[np.generic]:
    """An array with these axes, as files take it that hold the channels of a place together."""
    return np.moveaxis(values, axes.index("C"), -1) if "C" in axes else values


def channels_back(values: NDArray[np.generic], axes: str) -> NDArray[np.generic]:
    """The inverse of ``channels_last``."""
    return np.moveaxis(values, -1, axes.index("C")) if "C" in axes else values


@dataclass(frozen=True)
class WholeSource:
    """An array that is decoded at the first read and kept (see protocol.Source).

    decode: gives all of it
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    axes: str | None
    decode: Callable[[], NDArray[np.generic]]
    note: str | None = None
    about: Calibration | None = None

    def __post_init__(self) -> None:
        check_kind(self.path, self.dtype)
        nbytes = prod(self.shape) * self.dtype.itemsize
        if nbytes > MAX_WHOLE:
            raise UsageError(
                f"{str(self.path)!r} can only be decoded as a whole, which takes {nbytes} bytes, "
                f"and at most {MAX_WHOLE} can be; write it as .tif, .zarr or .npy."
            )

    @property
    def chunks(self) -> tuple[int, ...]:
        """All of it."""
        return self.shape

    @cached_property
    def values(self) -> NDArray[np.generic]:
        """All of it."""
        found = np.asarray(self.decode())
        if (found.shape, found.dtype) != (self.shape, self.dtype):
            raise ValueError(f"its header says {self.shape}, and it holds {found.shape}")
        return found

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.generic]:
        try:
            return self.values[index]
        except Exception as error:
            raise UsageError(
                f"{str(self.path)!r} cannot be decoded ({said_by(error)}); write the file again."
            ) from error

    def __reduce__(self) -> tuple[object, ...]:
        from fieldwise.tile.files.formats import open_source

        return open_source, (self.path,)

    def identity(self) -> str:
        """Its size, its time of change and a digest of its ends."""
        return file_identity(split_name(self.path)[0])


@dataclass(frozen=True, slots=True)
class FinishedSink:
    """A file written as a whole, to be compared with what was written (see protocol.Sink)."""

    path: Path
    values: NDArray[np.generic]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """See protocol.Sink."""
        return self.values.dtype

    def write(self, start: Sequence[int], block: NDArray[np.generic]) -> None:  # noqa: ARG002
        """See protocol.Sink: it is written as a whole."""
        raise DamagedError("it is finished")

    def flush(self) -> None:
        """See protocol.Sink: nothing is left to write."""

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.generic]:
        """See protocol.Sink."""
        return self.values[tuple(slice(*ends) for ends in zip(start, stop, strict=True))]

    def frame(self) -> str:
        """See protocol.Sink: that of the file in which the values waited."""
        header = io.BytesIO()
        write_header(header, self.values.shape, self.values.dtype)
        return hashlib.sha256(header.getvalue()).hexdigest()
