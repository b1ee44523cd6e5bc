"""Which stretch of the image each tile's outputs need: pulled back from the outputs, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from fieldwise.axes import IndexSet, Region
from fieldwise.field.pull import pull
from fieldwise.graph.graph import Graph
from fieldwise.tile.arrays import Interval
from fieldwise.tile.crops.grid import Geometry

Segments = tuple[Interval, ...]
"""Intervals of the image's axis, which stand side by side in a crop."""


def owned(geometry: Geometry, place: int, sizes: Sequence[int], tile: int, size: int) -> list[
    tuple[Interval, ...]
]:  # fmt: skip
    """Per tile of one axis, the interval of each output that it owns; the last takes what is left.

    sizes: of the outputs along this axis; size: the image's

    Tiles that own nothing are left out.
    """
    count = max(1, -(-size // tile))
    found = []
    for number in range(count):
        stretch = []
        for output, length in enumerate(sizes):
            step = int(tile * geometry.scales[output][place])
            start = min(number * step, length)
            stop = length if number + 1 == count else min(start + step, length)
            stretch.append((start, stop))
        if any(start < stop for start, stop in stretch):
            found.append(tuple(stretch))
    return found


def needed(graph: Graph, geometry: Geometry, place: int, stretch: Sequence[Interval]) -> IndexSet:
    """The indices of one axis that these stretches of the outputs read, borders included."""
    axis = geometry.axes[place]
    found = IndexSet()
    for output, dims, (start, stop) in zip(graph.outputs, geometry.dims, stretch, strict=True):
        sides = [IndexSet.range(0, size) for size in graph.shape(output)]
        sides[dims[place]] = IndexSet.range(start, stop)
        for source in graph.inputs:
            region = pull(graph, output, Region.of([tuple(sides)]), source=source).region
            if region:
                found = found | region.hull()[axis]
    return found


def segments(indices: IndexSet, grid: int, size: int) -> Segments:
    """The intervals of an axis to read for these indices: one, or the two ends of the axis.

    All starts lie on the grid, and the length is the axis's up to whole grid steps, so that every
    layer meets the right end of the crop as it meets the right end of the image.

    >>> segments(IndexSet.range(30, 70), 16, 100)
    ((16, 84),)
    >>> segments(IndexSet.of([0, 1, 99]), 16, 100)
    ((0, 16), (96, 100))
    """
    if not indices:
        indices = IndexSet(0, 1)
    first, last = indices.first, indices.last
    if first == 0 and last == size - 1:
        runs = [(0, 0), *indices.runs()] if size == 1 else list(indices.runs())
        gaps = [(stop, start) for (_, stop), (start, _) in pairwise(runs)]
        stop, start = max(gaps, key=lambda gap: gap[1] - gap[0], default=(size, size))
        return _ends(-(-stop // grid) * grid, start // grid * grid, size)
    stop = last + 1
    return ((first // grid * grid, min(size, stop + (size - stop) % grid)),)


def _ends(stop: int, start: int, size: int) -> Segments:
    return ((0, stop), (start, size)) if stop < start else ((0, size),)


def widened(cut: Segments, by: int, size: int) -> Segments:
    """The intervals grown by a multiple of the grid on every side that is not the border.

    >>> widened(((16, 84),), 32, 100)
    ((0, 100),)
    """
    if len(cut) == 2:
        return _ends(cut[0][1] + by, cut[1][0] - by, size)
    ((start, stop),) = cut
    return ((max(0, start - by), min(size, stop + by)),)
