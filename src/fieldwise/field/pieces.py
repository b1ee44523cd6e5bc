"""Where the units of a value differ: parts of the units for which the same rectangles hold.

A concatenation along a reported axis (the levels of a detector's head, a class token before the
others) makes units of different kinds.  Its products carry guards; here the units are cut where the
guards end, and where a map that is written out for this size changes from one regular run to the
next (the indices of a pick).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from itertools import product as combinations
from math import prod

from fieldwise.axes import EMPTY, AxisMap, IndexSet, Region
from fieldwise.field.products import Digit, DigitLayout, Product, Track, antichain

Units = tuple[IndexSet, ...]
"""Per unit dimension the indices of some units: all combinations of them."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Units that see the same products; ``local`` those that passed no global operation."""

    units: Units
    products: tuple[Product, ...]
    local: tuple[Product, ...]


def whole(layout: DigitLayout, dims: Sequence[int]) -> Units:
    """All units."""
    return tuple(IndexSet.range(0, length(layout, dim)) for dim in dims)


def length(layout: DigitLayout, dim: int) -> int:
    """How many indices a dimension has."""
    return prod(size for size, _ in layout[dim])


def are_alike(products: Sequence[Product], local: Sequence[Product]) -> bool:
    """Whether all units see the same, at any size: nothing is guarded or written out."""
    return not any(product.where or product.sized for product in (*products, *local))


def cells(
    products: Sequence[Product], local: Sequence[Product], layout: DigitLayout, dims: Sequence[int]
) -> list[Cell] | None:
    """The units, cut into as few parts as have one description each; None where that is many.

    dims: the unit dimensions; the products are of whole units (see ``rows.of_units``)
    """
    seen, beside = (
        [part for product in some for part in _regular_runs(product, layout)]
        for some in (products, local)
    )
    atoms = []
    for dim, every in zip(dims, whole(layout, dims), strict=True):
        found = _atoms(every, (dict(p.where).get(dim) for p in (*seen, *beside)))
        if found is None:
            return None
        atoms.append(found)
    if prod(map(len, atoms)) > MANY:
        return None
    groups: dict[tuple[tuple[int, ...], ...], list[Units]] = {}
    for units in combinations(*atoms):
        key = tuple(_holding(some, dims, units) for some in (seen, beside))
        groups.setdefault(key, []).append(units)
    return sorted(
        (
            Cell(units, _unguarded(seen, main, layout), _unguarded(beside, other, layout))
            for (main, other), parts in groups.items()
            for units in Region.of(parts).disjoint()
        ),
        key=lambda cell: [side.first for side in cell.units],
    )


def _atoms(every: IndexSet, guards: Iterable[IndexSet | None]) -> list[IndexSet] | None:
    """The coarsest partition of which every guard is a union; None where it is too fine."""
    atoms = [every]
    for guard in dict.fromkeys(guards):
        if guard is not None:
            atoms = [part for atom in atoms for part in (atom & guard, atom - guard) if part]
            if len(atoms) > MANY:
                return None
    return atoms


def _holding(products: Sequence[Product], dims: Sequence[int], units: Units) -> tuple[int, ...]:
    """The numbers of the products that hold for these units."""
    place = dict(zip(dims, units, strict=True))
    return tuple(
        number
        for number, product in enumerate(products)
        if all(place[dim].issubset(indices) for dim, indices in product.where)
    )


def _unguarded(
    products: Sequence[Product], numbers: Sequence[int], layout: DigitLayout
) -> tuple[Product, ...]:
    chosen = (products[number] for number in numbers)
    if any(product.where for product in products):
        return antichain((replace(product, where=()) for product in chosen), layout)
    return tuple(chosen)


# -------------------------------------------------------------------- maps that are written out


def is_written_out(index: AxisMap, units: int) -> bool:
    """Whether a map that holds at this size only lists its units one by one, unevenly.

    Of resampling the units are listed too, but stand within a step, or two samples, of an even row.

    >>> is_written_out(AxisMap(40, tuple(IndexSet.range(0, i + 1) for i in range(40))), 40)
    True
    >>> is_written_out(AxisMap(7, (IndexSet(0, 1), IndexSet(2, 1), IndexSet(5, 1))), 3)
    False
    """
    if index.period < units or index.period == 1:
        return False
    period, advance = index.period, index.advance
    ends = [
        (offset.first * period - advance * phase, offset.last * period - advance * phase)
        for phase, offset in enumerate(index.offsets[:units])
        if offset
    ]
    slack = max(2 * period, abs(advance))
    return any(max(side) - min(side) > slack for side in zip(*ends, strict=True))


def _regular_runs(product: Product, layout: DigitLayout) -> list[Product]:
    """The product cut into runs of units along which its tracks are regular, where that is few."""
    parts = [product] if product.sized else []
    for axis, track in enumerate(product.tracks if product.sized else ()):
        dim = _own_dimension(track.digits, layout)
        if dim is None or track.map.bounded is None:
            continue
        runs = _runs(track.map.bounded, length(layout, dim))
        parts = [run for part in parts for run in _cut(part, axis, dim, runs)]
    return parts or [product]


def _own_dimension(digits: Sequence[Digit], layout: DigitLayout) -> int | None:
    """The dimension of which these are all digits, in order; else None."""
    dims = {dim for dim, _ in digits}
    if len(dims) != 1:
        return None
    dim = next(iter(dims))
    return dim if [place for _, place in digits] == list(range(len(layout[dim]))) else None


@lru_cache(maxsize=1 << 8)
def _runs(index: AxisMap, units: int) -> tuple[tuple[IndexSet, AxisMap], ...]:
    """Of a map that lists its units, runs of them that are translates by one step.

    None where the map is regular (but for a few units at a seam, which are runs of their own), and
    where the runs are too many to say anything.
    """
    if index.period < units:
        return ()
    rows = [index(unit) for unit in range(units)]
    starts, step = [0], None
    for unit, (row, after) in enumerate(pairwise(rows), 1):
        ahead = after.base - row.base if after.bits == row.bits else None
        if ahead is not None and step in (None, ahead):
            step = ahead
        else:
            starts.append(unit)
            step = None
    if len(starts) > min(MANY, units // 2):
        return ()
    found = []
    for first, stop in pairwise([*starts, units]):
        advance = rows[first + 1].base - rows[first].base if stop - first > 1 else 0
        found.append(
            (IndexSet.range(first, stop), AxisMap(advance, (rows[first].shift(-advance * first),)))
        )
    return tuple(found) if is_written_out(index, units) or _mostly_one(found) else ()


def _mostly_one(runs: Sequence[tuple[IndexSet, AxisMap]]) -> bool:
    """Whether all units are translates of one another, but for a few beside them (at a seam)."""
    seeing = [units.count for units, row in runs if row.offsets != (EMPTY,)]
    return len(seeing) > 1 and 2 * max(seeing) > sum(seeing)


def _cut(
    product: Product, axis: int, dim: int, runs: Sequence[tuple[IndexSet, AxisMap]]
) -> list[Product]:
    """The product once per run, holding for the units of the run."""
    if not runs:
        return [product]
    found = []
    for units, index in runs:
        where = dict(product.where)
        where[dim] = where.get(dim, units) & units
        track = Track(product.tracks[axis].digits, index)
        tracks = (*product.tracks[:axis], track, *product.tracks[axis + 1 :])
        if where[dim] and index.offsets != (EMPTY,):
            found.append(replace(product, tracks=tracks, where=tuple(sorted(where.items()))))
    return found


MANY = 64
"""More parts than these are no description any more."""
