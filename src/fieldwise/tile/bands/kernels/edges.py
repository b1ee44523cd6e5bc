"""Windows at the ends of an axis: torch adds what is missing there itself, so no row is copied."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fieldwise.axes import Border
from fieldwise.tile.arrays import Interval
from fieldwise.tile.bands.kernels.registry import Rows
from fieldwise.tile.bands.reach import RowReach

_SHARE = 8
"""At most one row in so many is computed for nothing."""


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The rows that windows read, and what an op that slides along them is asked.

    padding: rows that it adds at either end; skip: windows that come before those that are wanted
    """

    rows: Tensor
    padding: int = 0
    skip: int = 0

    def cropped(self, made: Tensor, dim: int, count: int) -> Tensor:
        """The ``count`` wanted rows of what was made."""
        return made.narrow(dim, self.skip, count) if self.padding else made


@dataclass(frozen=True, slots=True)
class SlidingWindows:
    """Windows along the streamed axis, ``stride`` rows apart.

    most: rows that the op can add at an end, None for any number; fill: what these are
    """

    reach: RowReach
    stride: int
    most: int | None = None
    fill: float = 0.0

    def read(self, rows: Rows, operand: int, lo: int, hi: int) -> WindowRows:
        """What the windows of result rows [lo, hi) read; a record says no more than is asked."""
        added = self._added(lo, hi)
        if added is None or (rows.recorded and any(added)):
            raw = self.reach.raw(lo, hi)
            return WindowRows(rows.padded(operand, *raw, Border.DROP, self.fill))
        return WindowRows(rows.inside(operand, *self._ends(lo, hi)), *added)

    def copies(self, lo: int, hi: int) -> bool:
        """Whether these rows are copied, between others that are added."""
        return self._added(lo, hi) is None

    def _ends(self, lo: int, hi: int) -> Interval:
        """Of the rows that exist."""
        start, stop = self.reach.raw(lo, hi)
        size = self.reach.size
        return max(start, 0), stop if size is None else min(stop, size)

    def _added(self, lo: int, hi: int) -> tuple[int, int] | None:
        """``padding`` and ``skip`` of the op; None where it had better add nothing.

        It adds as many rows at one end as at the other.  Where only one end lies in the band, that
        makes windows that nobody asked for, and a few before those that somebody did.
        """
        (start, stop), (low, high) = self.reach.raw(lo, hi), self._ends(lo, hi)
        before, after = low - start, stop - high
        skip = max(-(-(after - before) // self.stride), 0)
        padding = before + skip * self.stride
        spare = (2 * padding - before - after) // self.stride
        if low >= high or spare * _SHARE > hi - lo:
            return None
        return (padding, skip) if self.most is None or padding <= self.most else None
