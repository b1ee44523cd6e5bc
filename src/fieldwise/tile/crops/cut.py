"""Which stretch of the image each tile's outputs need: pulled back from the outputs, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def cuts_alike(
    cut: Callable[[int], Segments],
    stretches: Sequence[Sequence[Interval]],
    steps: Sequence[int],
    tile: int,
    size: int,
) -> list[Segments]:
    """The cut of every tile; looked for at both ends and in the middle of those that are alike.

    cut:   looks for the one of a tile; stretches: what each tile owns of each output
    steps: of each output, from tile to tile

    Where the first, the middle and the last of some tiles are the same, as many tiles further, so
    are those between, for all that is known: a proof comes later, and widens what is too narrow.
    """
    found = dict[int, Segments]()

    def at(number: int) -> Segments:
        if number not in found:
            found[number] = cut(number)
        return found[number]

    def moved(number: int, by: int) -> tuple[Segments, list[Interval]]:
        """A tile's cut, and what it owns, so many tiles further."""
        there = tuple((start + by * tile, stop + by * tile) for start, stop in at(number))
        owned_there = zip(stretches[number], steps, strict=True)
        return there, [(start + by * step, stop + by * step) for (start, stop), step in owned_there]

    todo = [(0, len(stretches) - 1)]
    while todo:
        first, last = todo.pop()
        middle = (first + last) // 2
        inner = at(first)[0][0] > 0 and at(last)[-1][1] < size
        if inner and all(
            moved(first, one - first) == (at(one), list(stretches[one])) for one in (middle, last)
        ):
            for number in range(first, last):
                found[number], _ = moved(first, number - first)
        elif first < middle:
            todo += [(first, middle), (middle, last)]
    return [at(number) for number in range(len(stretches))]


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
