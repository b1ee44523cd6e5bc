"""Which samples of an input lie under a position of a result: its cell, exactly.

Position i has its place at start + step·i, counted in input samples (see OutputGrid), and its cell
reaches half a step to either side.  A sample reaches half a sample to either side of its
own place.  Those that share more than a border with the cell lie under the position: one sample
where there are as many positions as samples, two where a network halves the size, and the one in
which it lies where a network enlarges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np
from numpy.typing import NDArray

from fieldwise.tile.files.calibration import OutputGrid


@dataclass(frozen=True, slots=True)
class Cells:
    """Those of an axis: the samples under each position, of so many.

    >>> from fractions import Fraction
    >>> Cells(OutputGrid(Fraction(2), Fraction(1, 2)), 9).spans(3, 5).tolist()
    [[6, 8], [8, 9]]
    """

    grid: OutputGrid
    size: int

    def spans(self, lo: int, hi: int) -> NDArray[np.int64]:
        """[first, end) under each position from lo to hi; the nearest sample where none is."""
        assert self.grid.start is not None
        start, step = self.grid.start, self.grid.step
        whole = lcm(start.denominator, step.denominator)
        places = 2 * (int(start * whole) + int(step * whole) * np.arange(lo, hi, dtype=np.int64))
        reach = abs(int(step * whole))
        first = (places - reach + whole) // (2 * whole)
        end = -((-places - reach - whole) // (2 * whole))
        first = np.clip(first, 0, self.size - 1)
        return np.stack([first, np.clip(end, first + 1, self.size)], axis=1)


def any_under(
    cells: Sequence[Cells], box: Sequence[tuple[int, int]], marked: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Per position of a box, whether a sample under it is marked.

    marked: of the samples from ``under(cells, box)``
    """
    found = marked
    for axis, (one, (lo, hi)) in enumerate(zip(cells, box, strict=True)):
        spans = one.spans(lo, hi)
        ends = spans - spans[:, 0].min()
        zero = np.zeros([1 if d == axis else n for d, n in enumerate(found.shape)], np.int64)
        counts = np.concatenate([zero, np.cumsum(found, axis=axis, dtype=np.int64)], axis)
        found = counts.take(ends[:, 1], axis) > counts.take(ends[:, 0], axis)
    return found


def under(cells: Sequence[Cells], box: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Per axis, [lo, hi) of the samples under a box of positions."""
    found = []
    for one, (lo, hi) in zip(cells, box, strict=True):
        ends = np.concatenate([one.spans(lo, lo + 1), one.spans(hi - 1, hi)])
        found.append((int(ends[:, 0].min()), int(ends[:, 1].max())))
    return tuple(found)
