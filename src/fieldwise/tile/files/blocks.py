"""Reading an array in the blocks in which it is stored, each once."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldwise.tile.files.protocol import Source


class BlockRows:
    """A source read in order along one axis: whole rows of chunks are fetched, each once.

    Bands are narrower than chunks, and a chunk must be read (and decompressed) whole to get at
    any part of it.  What the last request has touched is kept, as wide as that was.  Reading in
    another order is right too, only slower.
    """

    def __init__(self, source: Source, axis: int) -> None:
        self.source, self.axis = source, axis
        self.rows = source.chunks[axis] if source.chunks else 1
        self._kept: dict[int, NDArray[np.generic]] = {}
        self._beside: tuple[slice, ...] = ()

    @property
    def path(self) -> Path:
        """That of the source."""
        return self.source.path

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """As stored."""
        return self.source.dtype

    @property
    def axes(self) -> str | None:
        """As stored."""
        return self.source.axes

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """As stored."""
        return self.source.chunks

    @property
    def note(self) -> str | None:
        """See protocol.Source."""
        return self.source.note

    def identity(self) -> str:
        """That of the source."""
        return self.source.identity()

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.generic]:
        lo, hi, step = index[self.axis].indices(self.shape[self.axis])
        if self.rows == 1 or lo >= hi or step != 1:
            return self.source[index]
        beside = (*index[: self.axis], slice(None), *index[self.axis + 1 :])
        if beside != self._beside:
            self._beside, self._kept = beside, {}
        first, last = lo // self.rows, (hi - 1) // self.rows
        self._kept = {
            number: self._kept[number] if number in self._kept else self._block(number)
            for number in range(first, last + 1)
        }
        parts = [
            block[self._part(max(lo - number * self.rows, 0), hi - number * self.rows)]
            for number, block in self._kept.items()
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=self.axis)

    @property
    def nbytes(self) -> int:
        """The most that is kept, where rows are read whole: two rows of chunks."""
        if self.rows == 1:
            return 0
        return 2 * self.rows * prod(self.shape) // self.shape[self.axis] * self.dtype.itemsize

    def _block(self, number: int) -> NDArray[np.generic]:
        rows = slice(number * self.rows, (number + 1) * self.rows)
        return self.source[(*self._beside[: self.axis], rows, *self._beside[self.axis + 1 :])]

    def _part(self, lo: int, hi: int) -> tuple[slice, ...]:
        """Rows of a block, all of them."""
        return (*[slice(None)] * self.axis, slice(lo, hi))
