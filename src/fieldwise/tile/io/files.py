"""Which format a path means: by its suffix, for reading and for writing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fieldwise.errors import UsageError
from fieldwise.tile.io.npy import NpySink, NpySource
from fieldwise.tile.io.protocol import Sink, Source

Format = Literal["npy"]

_SUFFIXES: dict[str, Format] = {".npy": "npy"}


def format_of(path: Path) -> Format:
    """The format that a path names.  Raises UsageError for a suffix that names none.

    >>> format_of(Path("scan.npy"))
    'npy'
    """
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    raise UsageError(f"The suffix of {str(path)!r} names no format; use {', '.join(_SUFFIXES)}.")


def open_source(path: Path) -> Source:
    """An array on disk, to be read piece by piece.

    Raises UsageError where there is none, or where it cannot be read; nothing is ever unpickled.
    """
    format_of(path)
    if not path.exists():
        raise UsageError(f"There is no file {str(path)!r}; check the path.")
    return NpySource.open(path)


def grain_of(path: Path, shape: Sequence[int]) -> tuple[int, ...]:
    """The least blocks in which a new file of this name and shape is to be written."""
    format_of(path)
    return (1,) * len(shape)


@dataclass(frozen=True, slots=True)
class Created:
    """A file to write, before or after it is made: what makes two of them the same."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    grain: tuple[int, ...]

    def create(self) -> Sink:
        """Make the file, in place of any that was there.

        Raises UsageError where it cannot be made: no such folder, no space, no permission.
        """
        try:
            return NpySink.create(self.path, self.shape, self.dtype)
        except OSError as error:
            raise UsageError(
                f"Cannot write {str(self.path)!r}: {error.strerror or error}; choose another place."
            ) from error

    def reopen(self) -> Sink:
        """The file as ``create`` has made it.  Raises UsageError where it is another by now."""
        if not self.path.exists():
            raise UsageError(
                f"{str(self.path)!r} is gone although its journal says that some of it is done; "
                "use --overwrite to begin again."
            )
        source = open_source(self.path)
        if (source.shape, source.dtype) != (self.shape, self.dtype):
            raise UsageError(
                f"{str(self.path)!r} is not what this job has begun (its shape or type differs); "
                "use --overwrite to begin again."
            )
        return NpySink.reopen(self.path)
