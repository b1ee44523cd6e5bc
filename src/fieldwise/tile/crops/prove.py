"""Every tile's crop held against the whole image: what is kept of it, or why nothing can be.

Tiles of one axis fall into classes of equally long crops.  A crop is compared at the first, the
second and the last place of its class: between those every condition of the proof moves along with
the crop, as distances do by whole periods; where something does not (a table, a constant that
varies), all places are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product

from fieldwise.axes import IndexSet
from fieldwise.errors import CaptureError, Reason
from fieldwise.graph.graph import Graph
from fieldwise.tile.arrays import Interval
from fieldwise.tile.crops.compare import Comparison, compare
from fieldwise.tile.crops.cut import Segments, widened
from fieldwise.tile.crops.grid import Geometry
from fieldwise.tile.crops.match import Match, single
from fieldwise.tile.errors import TileError

AtSizes = Callable[[tuple[int, ...]], Graph]
"""The network captured at these sizes of the tiled axes."""


@dataclass(slots=True)
class TiledAxis:
    """The tiles of one axis while they are proven.

    owned: per tile, the interval of every output
    cuts:  per tile, what is read
    found: per tile, per output, whole index − crop index
    """

    size: int
    grid: int
    owned: list[tuple[Interval, ...]]
    cuts: list[Segments]
    found: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def classes(self) -> list[list[int]]:
        """Tiles of equal crops that touch the same ends."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for number, cut in enumerate(self.cuts):
            length = sum(stop - start for start, stop in cut)
            key = (length, len(cut), cut[0][0] == 0, cut[-1][1] == self.size)
            groups.setdefault(key, []).append(number)
        return list(groups.values())

    def start(self, number: int) -> int:
        """Of a tile's crop."""
        return self.cuts[number][0][0]

    def kept(self, number: int, shifts: Sequence[int]) -> list[Interval]:
        """What a tile owns, as positions of its crop's outputs."""
        return [
            (start - shift, stop - shift)
            for (start, stop), shift in zip(self.owned[number], shifts, strict=True)
        ]

    def length(self, number: int) -> int:
        """Of a tile's crop."""
        return sum(stop - start for start, stop in self.cuts[number])


def prove(whole: Graph, at: AtSizes, geometry: Geometry, axes: Sequence[TiledAxis]) -> None:
    """Fill in ``found`` of every axis, widening crops where they are too small.

    Raises TileError, with the layers at which the crop stops being like the whole.
    """
    by, losses = 1, tuple[Reason, ...]()
    for _ in range(_TRIES):
        failing, lost = _attempt(whole, at, geometry, axes)
        if not failing:
            return
        losses = lost or losses
        for number, group in failing:
            axis = axes[number]
            for tile in group:
                axis.cuts[tile] = widened(axis.cuts[tile], by * axis.grid, axis.size)
        by *= 2
    sizes = " x ".join(str(axis.size) for axis in axes)
    good = " x ".join(str(-(-axis.size // axis.grid) * axis.grid) for axis in axes)
    raise TileError(
        f"No crop of an image of {sizes} is proven to give what the whole image gives; the crop "
        f"differs from it here",
        losses or (Reason("", "output", "too little of it is out of the reach of the cut"),),
        f"A multiple of the grid may do: {good}."
        if good != sizes
        else "Run the model on the whole image.",
    )


_TRIES = 6
_Failing = list[tuple[int, list[int]]]


def _attempt(
    whole: Graph, at: AtSizes, geometry: Geometry, axes: Sequence[TiledAxis]
) -> tuple[_Failing, tuple[Reason, ...]]:
    """All classes of crops once: those that fail, and where they lost what they needed."""
    failing: _Failing = []
    losses: tuple[Reason, ...] = ()
    for axis in axes:
        axis.found.clear()
    for groups in product(*(axis.classes() for axis in axes)):
        sizes = tuple(axis.length(group[0]) for axis, group in zip(axes, groups, strict=True))
        try:
            crop = at(sizes)
        except CaptureError as why:
            failing += list(enumerate(groups))
            losses = (Reason("", "crop", str(why)),)
            continue
        if _is_empty(crop) and not _is_empty(whole):
            failing += list(enumerate(groups))
            losses = (Reason("", "crop", "it is so short that a layer has nothing to compute"),)
            continue
        bad, comparison = compare_class(whole, crop, geometry.axes, geometry.dims, axes, groups)
        failing += [(number, groups[number]) for number in bad]
        if bad and not losses:
            losses = comparison.losses
    unique = {(number, tuple(group)): (number, group) for number, group in failing}
    return list(unique.values()), losses


def _is_empty(graph: Graph) -> bool:
    return any(0 in value.shape for value in graph.values.values())


def compare_class(
    whole: Graph,
    crop: Graph,
    along: Sequence[int],
    dims: Sequence[Sequence[int]],
    axes: Sequence[TiledAxis],
    groups: Sequence[Sequence[int]],
) -> tuple[set[int], Comparison]:
    """The axes along which tiles of this class are not proven, and the last comparison.

    along: the axes of the inputs; dims: per output, the dimension that each of them becomes

    Where a tile's outputs are is noted in ``found`` of every axis.
    """
    waiting = [_chosen(group) for group in groups]
    while True:
        bad, comparison = _compared(whole, crop, along, dims, axes, waiting)
        if bad:
            return bad, comparison
        waiting = [
            _filled(axis, group, regular=comparison.regular)
            for axis, group in zip(axes, groups, strict=True)
        ]
        if not any(waiting):
            return set(), comparison
        waiting = [left or [group[0]] for left, group in zip(waiting, groups, strict=True)]


def _compared(
    whole: Graph,
    crop: Graph,
    along: Sequence[int],
    dims: Sequence[Sequence[int]],
    axes: Sequence[TiledAxis],
    chosen: Sequence[Sequence[int]],
) -> tuple[set[int], Comparison]:
    """Compare these tiles: each of an axis's once, together with any of the other axes'."""
    bad: set[int] = set()
    comparison = Comparison((), ())
    for turn in range(max(map(len, chosen))):
        tiles = [group[turn % len(group)] for group in chosen]
        cuts = {along[n]: axes[n].cuts[tile] for n, tile in enumerate(tiles)}
        comparison = compare(crop, whole, cuts)
        for number, (axis, tile) in enumerate(zip(axes, tiles, strict=True)):
            told = list(_shifts(comparison, dims, number, axis.owned[tile]))
            shifts = tuple(shift for shift in told if shift is not None)
            if len(shifts) < len(told) or axis.found.setdefault(tile, shifts) != shifts:
                bad.add(number)
        if bad:
            break
    return bad, comparison


def _shifts(
    comparison: Comparison,
    placed: Sequence[Sequence[int]],
    number: int,
    stretch: Sequence[Interval],
) -> Iterator[int | None]:
    """Per output, where its stretch along one axis is; None where the crop does not hold it.

    Along the dimensions that are not tiled everything must be the same.
    """
    for state, dims, (start, stop) in zip(comparison.outputs, placed, stretch, strict=True):
        rest = (digits for dim, digits in enumerate(state) if dim not in dims)
        alike = all(digit.is_same for digits in rest for digit in digits)
        yield _shift(single(state[dims[number]]), start, stop) if alike else None


def _shift(match: Match, start: int, stop: int) -> int | None:
    """Whole index − crop index at which this interval of the whole is in the crop."""
    wanted = IndexSet.range(start, stop)
    for distance in match.distances():
        if wanted.shift(-distance).issubset(match.at(distance)):
            return distance
    return None


def _chosen(group: Sequence[int]) -> list[int]:
    """The tiles of a class to compare first."""
    return list(group) if len(group) < 4 else [group[0], group[1], group[-1]]


def _filled(axis: TiledAxis, group: Sequence[int], *, regular: bool) -> list[int]:
    """Note the distances of the tiles that lie like those compared; return the others.

    A tile does where its crop is moved by a multiple of the step from the first to the second
    compared, and what it owns lies in the crop where the second's does.
    """
    missing = [tile for tile in group if tile not in axis.found]
    if not missing or not regular:
        return missing
    first, second, last = group[0], group[1], group[-1]
    step, run = axis.start(second) - axis.start(first), axis.start(last) - axis.start(first)
    ends = list(zip(axis.found[first], axis.found[last], strict=True))
    for tile in missing:
        by = axis.start(tile) - axis.start(first)
        if step and by % step == 0:
            shifts = tuple(int(one + Fraction(by, run) * (two - one)) for one, two in ends)
            if axis.kept(tile, shifts) == axis.kept(second, axis.found[second]):
                axis.found[tile] = shifts
    return [tile for tile in missing if tile not in axis.found]
