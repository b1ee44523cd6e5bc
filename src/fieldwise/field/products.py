"""Fields in closed form: antichains of products, one track per axis of the source.

A field is a union of products because one rectangle is not enough: parallel 1×7 and 7×1
branches see a cross.  A product may hold for some channels of a value only (after a
concatenation), which its guards say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from fieldwise.axes import AnySet, AxisMap, IndexSet
from fieldwise.axes.digits import subindex, summed_out

Digit = tuple[int, int]
"""A digit of a value: (dimension, position within the dimension's digits)."""

DigitLayout = tuple[tuple[tuple[int, int], ...], ...]
"""Per dimension its digits: (size, source axes it descends from, as a bit mask)."""


@dataclass(frozen=True, slots=True)
class Track:
    """One source axis as seen by a unit: these digits of the unit, through this map."""

    digits: tuple[Digit, ...]
    map: AxisMap[AnySet]


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


def antichain(products: Iterable[Product], layout: DigitLayout) -> tuple[Product, ...]:
    """The union of the products without those that another one covers.

    The last come first: deeper layers see more, and what is covered at once costs least.
    """
    waiting = list(products)
    last = waiting[-1:]
    if all(_drops(last[0], product, layout) for product in waiting[:-1]):
        return tuple(last)
    waiting = _guards_joined(waiting, layout)
    kept = ByGuard(layout)
    while waiting:
        new = waiting.pop()
        near = kept.near(new.where)
        if any(_drops(old, new, layout) for _, old in near):
            continue
        dropped = {number for number, old in near if _drops(new, old, layout)}
        kept.discard(dropped)
        for number, old in near:
            joined = None if number in dropped else _joined(old, new, layout)
            if joined is not None:
                kept.discard([number])
                waiting.append(joined)
                break
        else:
            kept.add(new)
    return kept.in_order()


_Span = tuple[tuple[int, int, int], ...]


def _span(where: Guards) -> _Span:
    """The hull of each guard: products whose guards are apart have nothing in common."""
    return tuple((dim, indices.first, indices.last) for dim, indices in where)


def _apart(one: _Span, two: _Span) -> bool:
    for dim, first, last in one:
        for other, start, stop in two:
            if dim == other and (last < start or stop < first):
                return True
    return False


class ByGuard:
    """Products under the stretches of dimensions that their guards touch.

    Hundreds of products that hold for one unit each are compared with their like alone; a few are
    not looked up.
    """

    def __init__(self, layout: DigitLayout, products: Iterable[Product] = ()) -> None:
        self._layout = layout
        self._products: dict[int, tuple[Product, _Span]] = {}
        self._next = 0
        self._narrow: dict[int, dict[int, list[int]]] = {}
        self._wide: list[int] = []
        for product in products:
            self.add(product)

    def add(self, product: Product) -> None:
        """Enter a product."""
        number = self._next
        self._products[number] = product, _span(product.where)
        self._next += 1
        if self._next == _FEW:
            for known in self._products:
                self._enter(known)
        elif self._next > _FEW:
            self._enter(number)

    def _enter(self, number: int) -> None:
        span = self._products[number][1]
        dim, stretches = min(
            ((dim, self._stretches(dim, first, last)) for dim, first, last in span),
            key=lambda pair: len(pair[1]) / min(self._size(pair[0]), _STRETCHES),
            default=(0, range(_FEW + 1)),
        )
        if len(stretches) > _FEW:
            self._wide.append(number)
            return
        under = self._narrow.setdefault(dim, {})
        for stretch in stretches:
            under.setdefault(stretch, []).append(number)

    def discard(self, numbers: Iterable[int]) -> None:
        """Forget the products with these numbers."""
        for number in numbers:
            del self._products[number]

    def near(self, where: Guards) -> list[tuple[int, Product]]:
        """Those that may hold for a unit that these guards let through, as they came, numbered."""
        for _, indices in where:
            if not indices:
                return []
        span, found = _span(where), []
        for number in self._candidates(span):
            known = self._products.get(number)
            if known is not None and not _apart(span, known[1]):
                found.append((number, known[0]))
        return found

    def in_order(self) -> tuple[Product, ...]:
        """All of them, the last first."""
        return tuple(product for product, _ in reversed(self._products.values()))

    def _candidates(self, span: _Span) -> Iterable[int]:
        if self._next < _FEW:
            return list(self._products)
        limits = {dim: self._stretches(dim, first, last) for dim, first, last in span}
        if not any(dim in limits and len(limits[dim]) <= _FEW for dim in self._narrow):
            return list(self._products)
        found = set(self._wide)
        for dim, under in self._narrow.items():
            stretches = limits.get(dim, under)
            found.update(n for at in (stretches if len(stretches) <= _FEW else under)
                         for n in under.get(at, ()))  # fmt: skip
        return sorted(found)

    def _stretches(self, dim: int, first: int, last: int) -> range:
        width = max(1, self._size(dim) // _STRETCHES)
        return range(first // width, last // width + 1)

    def _size(self, dim: int) -> int:
        return prod(size for size, _ in self._layout[dim])


_STRETCHES = 256
"""Into so many stretches a dimension is cut for looking up guards."""
_FEW = 16
"""A guard that touches more stretches than these is compared with all."""


def _guards_joined(products: Sequence[Product], layout: DigitLayout) -> list[Product]:
    """Products with the same tracks for different channels become one."""
    found: dict[tuple[object, ...], Product] = {}
    apart: list[Product] = []
    for product in products:
        key = (product.tracks, product.why, product.sized)
        if key in found:
            joined = _joined_guards(found[key], product, layout)
            if joined is None and found[key].where != product.where:
                apart.append(product)
            found[key] = joined or found[key]
        else:
            found[key] = product
    return [*found.values(), *apart]


def _drops(large: Product, small: Product, layout: DigitLayout) -> bool:
    """Whether ``small`` adds nothing beside ``large``; a bound never replaces an exact answer."""
    if large.where and large.where != small.where and not _guards_cover(large.where, small.where):
        return False
    if large.why is not None and small.why is None:
        return False
    for big, little in zip(large.tracks, small.tracks, strict=True):
        if big is not little and not _track_covers(big, little, layout):
            return False
    return True


def _guards_cover(large: Guards, small: Guards) -> bool:
    if len(large) > len(small):
        return False
    if len(small) == 1:
        (dim, indices), (other, inner) = large[0], small[0]
        return dim == other and inner.issubset(indices)
    known = dict(small)
    return all(dim in known and known[dim].issubset(indices) for dim, indices in large)


def _track_covers(large: Track, small: Track, layout: DigitLayout) -> bool:
    if large.digits == small.digits:
        return large.map.covers(small.map)
    shared = aligned(large, small, layout)
    return shared is not None and shared[1].covers(shared[2])


def aligned(
    one: Track, two: Track, layout: DigitLayout
) -> tuple[tuple[Digit, ...], AxisMap[AnySet], AxisMap[AnySet]] | None:
    """Both tracks over the same digits, where one's digits contain the other's in order."""
    digits = one.digits if len(one.digits) >= len(two.digits) else two.digits
    first, second = over(one, digits, layout), over(two, digits, layout)
    return None if first is None or second is None else (digits, first, second)


def over(track: Track, digits: tuple[Digit, ...], layout: DigitLayout) -> AxisMap[AnySet] | None:
    """The track's map as a function of the index over more digits; None if that cannot be."""
    if track.digits == digits:
        return track.map
    keep = tuple(place for place, digit in enumerate(digits) if digit in track.digits)
    if tuple(digits[place] for place in keep) != track.digits:
        return None
    sizes = tuple(layout[dim][place][0] for dim, place in digits)
    return subindex(sizes, keep).then(track.map)


def lean(track: Track, layout: DigitLayout) -> Track:
    """The track without the digits on which its map does not depend."""
    digits, index = track.digits, track.map
    for position in reversed(range(len(digits))):
        if len(digits) == 1:
            break
        sizes = tuple(layout[dim][place][0] for dim, place in digits)
        found = _without_digit(index, sizes, position)
        if found is not None:
            digits, index = (*digits[:position], *digits[position + 1 :]), found
    return Track(digits, index)


@lru_cache(maxsize=1024)
def _without_digit(
    index: AxisMap[AnySet], sizes: tuple[int, ...], position: int
) -> AxisMap[AnySet] | None:
    """The map over the other digits, where this one makes no difference."""
    others = tuple(place for place in range(len(sizes)) if place != position)
    rest = summed_out(sizes, position, IndexSet(0, 1)).then(index)
    return rest if subindex(sizes, others).then(rest) == index else None


def _joined(one: Product, two: Product, layout: DigitLayout) -> Product | None:
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


def _joined_tracks(one: Track, two: Track, layout: DigitLayout) -> Track | None:
    shared = aligned(one, two, layout)
    if shared is None:
        return None
    union = shared[1].union(shared[2])
    return None if union is None else Track(shared[0], union)


def _joined_guards(one: Product, two: Product, layout: DigitLayout) -> Product | None:
    """Two products with the same tracks as one, where their guards differ in one dimension."""
    if not one.where or not two.where:
        return one if not one.where else two
    mine, yours = dict(one.where), dict(two.where)
    if mine.keys() != yours.keys():
        return None
    differing = [dim for dim in mine if mine[dim] != yours[dim]]
    if len(differing) > 1:
        return None
    sizes: dict[int, int] = {}
    for dim in differing:
        mine[dim] = mine[dim] | yours[dim]
        sizes[dim] = prod(size for size, _ in layout[dim])
    return replace(one, where=guards(mine, sizes))


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
