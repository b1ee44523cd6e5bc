"""What a probe found: which input samples one unit depends on, as frozen data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """The input samples that one unit was seen to depend on.

    mask:  boolean, over the input's spatial axes: True where the unit depends on the sample
    exact: whether ``mask`` is the dependence for generic weights, neither more nor less
    why:   what makes it inexact, or None

    >>> seen = Probe(np.array([[0, 1, 0, 1], [0, 1, 0, 0]], dtype=bool))
    >>> seen.lo, seen.hi, seen.count
    ((0, 1), (1, 3), 3)
    >>> Probe(np.zeros((2, 2), dtype=bool)).lo is None
    True
    """

    mask: np.ndarray
    exact: bool = True
    why: str | None = None

    def __post_init__(self) -> None:
        self.mask.setflags(write=False)

    @property
    def lo(self) -> tuple[int, ...] | None:
        """The first index seen along each axis; None where nothing is seen."""
        return self._corner(np.min)

    @property
    def hi(self) -> tuple[int, ...] | None:
        """The last index seen along each axis (inclusive); None where nothing is seen."""
        return self._corner(np.max)

    @property
    def count(self) -> int:
        """How many samples are seen."""
        return int(self.mask.sum())

    @property
    def extent(self) -> tuple[int, ...]:
        """Last − first + 1 along each axis; 0 where nothing is seen."""
        lo, hi = self.lo, self.hi
        if lo is None or hi is None:
            return (0,) * self.mask.ndim
        return tuple(last - first + 1 for first, last in zip(lo, hi, strict=True))

    def _corner(self, pick: Callable[[np.ndarray], np.integer]) -> tuple[int, ...] | None:
        if not self.mask.any():
            return None
        return tuple(int(pick(places)) for places in np.nonzero(self.mask))
