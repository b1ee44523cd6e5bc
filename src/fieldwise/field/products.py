"""Fields in closed form: antichains of products, one track per axis of the source.

A field is a union of products because one rectangle is not enough: parallel 1×7 and 7×1
branches see a cross.  A product may hold for some channels of a value only (after a
concatenation), which its guards say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from fieldwise.axes import AxisMap, IndexSet, Lattice
from fieldwise.axes.digits import subindex

Digit = tuple[int, int]
"""A digit of a value: (dimension, position within the dimension's digits)."""

Layout = tuple[tuple[tuple[int, int], ...], ...]
"""Per dimension its digits: (size, source axes it descends from, as a bit mask)."""


@dataclass(frozen=True, slots=True)
class Track:
    """One source axis as seen by a unit: these digits of the unit, through this map."""

    digits: tuple[Digit, ...]
    map: AxisMap | Lattice


Guards = tuple[tuple[int, IndexSet], ...]


@dataclass(frozen=True, slots=True)
class Product:
    """One track per source axis.

    where: result dimensions restricted to some indices: (dim, indices), sorted by dim
    why:   None if exact, else the reason why it is an upper bound
    sized: holds at this input size only
    """

    tracks: tuple[Track, ...]
    where: Guards = ()
    why: str | None = None
    sized: bool = False


def antichain(products: Iterable[Product], layout: Layout) -> tuple[Product, ...]:
    """The union of the products without those that another one covers."""
    kept: list[Product] = []
    waiting = list(dict.fromkeys(products))
    waiting.reverse()
    while waiting:
        new = waiting.pop()
        if any(_drops(old, new, layout) for old in kept):
            continue
        kept = [old for old in kept if not _drops(new, old, layout)]
        for position, old in enumerate(kept):
            joined = _joined(old, new, layout)
            if joined is not None:
                del kept[position]
                waiting.append(joined)
                break
        else:
            kept.append(new)
    return tuple(kept)


def _drops(large: Product, small: Product, layout: Layout) -> bool:
    """Whether ``small`` adds nothing beside ``large``; a bound never replaces an exact answer."""
    if large.why is not None and small.why is None:
        return False
    if large.where != small.where and not _guards_cover(large.where, small.where):
        return False
    return all(
        big is little or _track_covers(big, little, layout)
        for big, little in zip(large.tracks, small.tracks, strict=True)
    )


def _guards_cover(large: Guards, small: Guards) -> bool:
    inner = dict(small)
    return all(dim in inner and inner[dim].issubset(indices) for dim, indices in large)


def _track_covers(large: Track, small: Track, layout: Layout) -> bool:
    if isinstance(large.map, Lattice):
        return large.map.covers(small.map)
    if isinstance(small.map, Lattice):
        return False
    if large.digits == small.digits:
        return _map_covers(large.map, small.map)
    shared = aligned(large, small, layout)
    return shared is not None and _map_covers(*shared[1:])


@lru_cache(maxsize=1 << 15)
def _map_covers(large: AxisMap, small: AxisMap) -> bool:
    return large.covers(small)


def aligned(
    one: Track, two: Track, layout: Layout
) -> tuple[tuple[Digit, ...], AxisMap, AxisMap] | None:
    """Both tracks over the same digits, where one's digits contain the other's in order."""
    digits = one.digits if len(one.digits) >= len(two.digits) else two.digits
    first, second = over(one, digits, layout), over(two, digits, layout)
    return None if first is None or second is None else (digits, first, second)


def over(track: Track, digits: tuple[Digit, ...], layout: Layout) -> AxisMap | None:
    """The track's map as a function of the index over more digits; None if that cannot be."""
    assert isinstance(track.map, AxisMap)
    if track.digits == digits:
        return track.map
    keep = tuple(place for place, digit in enumerate(digits) if digit in track.digits)
    if tuple(digits[place] for place in keep) != track.digits:
        return None
    sizes = tuple(layout[dim][place][0] for dim, place in digits)
    return subindex(sizes, keep).then(track.map)


def _joined(one: Product, two: Product, layout: Layout) -> Product | None:
    """The union as one product, where two differ in one track or one guard only."""
    if one.why != two.why or one.sized != two.sized:
        return None
    if one.where != two.where:
        return _joined_guards(one, two, layout) if one.tracks == two.tracks else None
    axes = range(len(one.tracks))
    differing = [axis for axis in axes if one.tracks[axis] != two.tracks[axis]]
    if len(differing) != 1:
        return None
    axis = differing[0]
    track = _joined_tracks(one.tracks[axis], two.tracks[axis], layout)
    if track is None:
        return None
    return replace(one, tracks=(*one.tracks[:axis], track, *one.tracks[axis + 1 :]))


def _joined_tracks(one: Track, two: Track, layout: Layout) -> Track | None:
    if isinstance(one.map, Lattice) and isinstance(two.map, Lattice):
        return Track((), one.map.union(two.map))
    if isinstance(one.map, Lattice) or isinstance(two.map, Lattice):
        return None
    shared = aligned(one, two, layout)
    if shared is None:
        return None
    union = shared[1].union(shared[2])
    return None if union is None else Track(shared[0], union)


def _joined_guards(one: Product, two: Product, layout: Layout) -> Product | None:
    mine, yours = dict(one.where), dict(two.where)
    if mine.keys() != yours.keys():
        return None
    differing = [dim for dim in mine if mine[dim] != yours[dim]]
    if len(differing) != 1:
        return None
    dim = differing[0]
    mine[dim] = mine[dim] | yours[dim]
    size = 1
    for digit, _ in layout[dim]:
        size *= digit
    return replace(one, where=guards(mine, {dim: size}))


def guards(where: dict[int, IndexSet], sizes: dict[int, int] | Sequence[int]) -> Guards:
    """Guards in canonical order, without those that let everything through."""
    return tuple(
        (dim, indices)
        for dim, indices in sorted(where.items(), key=lambda item: item[0])
        if not _lets_all(indices, sizes, dim)
    )


def _lets_all(indices: IndexSet, sizes: dict[int, int] | Sequence[int], dim: int) -> bool:
    if isinstance(sizes, dict) and dim not in sizes:
        return False
    return indices.base == 0 and indices.is_contiguous and indices.count == sizes[dim]
