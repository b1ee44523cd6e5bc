"""What the engines read from and write to, whatever the format of the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.tile.files.calibration import Calibration


class DamagedError(Exception):
    """Part of a result that cannot be read back as it was written; the text says why."""


class PlannedFile(Protocol):
    """A file to be made, as its format is told of it (see ``formats.NewFile``).

    axes: letters of its dimensions; grain: see ``Sink``
    """

    @property
    def path(self) -> Path:
        """Where it is to be."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the array."""

    @property
    def axes(self) -> str:
        """One letter per dimension."""

    @property
    def grain(self) -> tuple[int, ...]:
        """Per dimension, the multiples at which blocks begin."""

    @property
    def pyramid(self) -> bool:
        """Whether it is to have smaller levels too, where its format has such."""

    @property
    def about(self) -> Calibration | None:
        """What is to be said of the samples, as far as the format holds it (see ``kept_about``)."""

    @property
    def compression(self) -> str | None:
        """What its blocks are compressed by; None: as is usual for the format."""

    def not_begun(self, why: str) -> UsageError:
        """The error for a file that is not the one that was made."""


class Source(Protocol):
    """An array that is read piece by piece.

    axes:   letters for its dimensions where the file names them ('CYX'), else None
    chunks: the blocks in which it is stored, if reading less than one costs as much
    """

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """As stored."""

    @property
    def axes(self) -> str | None:
        """See above."""

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """See above."""

    @property
    def note(self) -> str | None:
        """What of the file is not read, or not as it looks; None where nothing is to be said."""

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.generic]: ...

    def identity(self) -> str:
        """Text that changes when the content does."""


class Sink(Protocol):
    """An array that is written piece by piece.

    It has a grain, the least block that is written at a time, per dimension: a block begins at
    multiples of the grain and ends there or where the array does.
    """

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """As stored."""

    def write(self, start: Sequence[int], block: NDArray[np.generic]) -> None:
        """Write a block that begins at this index."""

    def flush(self) -> None:
        """Return when all that was written is on disk, not in a cache of the system."""

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.generic]:
        """What was written there.  Raises DamagedError where that is missing or not whole."""

    def frame(self) -> str:
        """A digest of all that says how the elements are stored: headers, not the elements."""
