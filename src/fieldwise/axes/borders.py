"""What an op does with an index that falls outside its operand.

``DROP`` (zero, constant or −inf padding: such an index reads nothing), ``WRAP`` (circular),
``REFLECT`` (mirrored, the edge not repeated), ``SYMMETRIC`` (mirrored, the edge repeated) and
``CLAMP`` (replicate: the edge sample).  Each is a map from ℤ into [0, size).
"""

from __future__ import annotations

from enum import Enum

from fieldwise.axes.index_set import EMPTY, IndexSet


class Border(Enum):
    """How indices outside [0, size) are read."""

    DROP = "drop"
    WRAP = "wrap"
    REFLECT = "reflect"
    SYMMETRIC = "symmetric"
    CLAMP = "clamp"

    def land(self, indices: IndexSet, size: int) -> IndexSet:
        """The samples of [0, size) that these indices read.

        >>> Border.REFLECT.land(IndexSet.range(-2, 1), 5)
        IndexSet{0..2}
        """
        inside = indices.clip(size)
        if self is Border.DROP or inside is indices or size == 0:
            return inside
        if self is Border.WRAP:
            return indices.modulo(size)
        if self is Border.CLAMP:
            ends = {0} if indices.first < 0 else set()
            if indices.last >= size:
                ends.add(size - 1)
            return inside | IndexSet.of(ends)
        if self is Border.REFLECT:
            if size == 1:
                return IndexSet(0, 1)
            folded = indices.modulo(2 * size - 2)
            return folded.clip(size) | folded.scale(-1).shift(2 * size - 2).clip(size)
        folded = indices.modulo(2 * size)
        return folded.clip(size) | folded.scale(-1).shift(2 * size - 1).clip(size)

    def sources(self, samples: IndexSet, size: int, reach: range) -> IndexSet:
        """The indices of ``reach`` that land on one of these samples: ``land`` read backwards.

        >>> Border.WRAP.sources(IndexSet.of([0]), 4, range(-4, 6))
        IndexSet{-4, 0, 4}
        """
        samples = samples.clip(size)
        window = IndexSet.range(reach.start, reach.stop)
        if self is Border.DROP or not samples or not window:
            return samples & window
        if self is Border.CLAMP:
            found = samples
            if 0 in samples:
                found = found | IndexSet.range(min(reach.start, 0), 0)
            if size - 1 in samples:
                found = found | IndexSet.range(size, max(reach.stop, size))
            return found & window
        if self is Border.WRAP:
            cell, period = samples, size
        elif self is Border.REFLECT:
            period = max(2 * size - 2, 1)
            cell = (samples | samples.scale(-1).shift(period)).modulo(period)
        else:
            period = 2 * size
            cell = samples | samples.scale(-1).shift(period - 1)
        turns = IndexSet.range(reach.start // period, reach.stop // period + 1).scale(period)
        return (cell.minkowski(turns) if cell else EMPTY) & window
