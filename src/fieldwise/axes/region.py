"""Exact regions of a finite index space: unions of products of index sets.

One product is not enough: after parallel 1×7 and 7×1 branches the samples that a unit sees form
a cross.  The products of a region are kept as an antichain (none inside another), and two that
differ in one dimension only become one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from fieldwise.axes.index_set import IndexSet

Sides = tuple[IndexSet, ...]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """A set of index tuples: the union of ``products``, each one IndexSet per dimension.

    >>> row, column = IndexSet.range(0, 1), IndexSet.range(0, 3)
    >>> cross = Region.of([(row.shift(1), column), (column, row.shift(1))])
    >>> cross.count, cross.hull()
    (5, (IndexSet{0..2}, IndexSet{0..2}))
    """

    products: tuple[Sides, ...] = ()

    @classmethod
    def of(cls, products: Iterable[Sides]) -> Region:
        """The union of these products, reduced."""
        kept: list[Sides] = []
        waiting = [product for product in products if all(product)]
        if len(waiting) > 2:
            waiting = _beside_largest(waiting)
        if len(waiting) > _MANY:
            waiting, is_reduced = _fewer(waiting)
            if is_reduced:
                return cls(tuple(sorted(waiting, key=_order)))
        while waiting:
            new = waiting.pop()
            if any(_inside(new, old) for old in kept):
                continue
            kept = [old for old in kept if not _inside(old, new)]
            for position, old in enumerate(kept):
                joined = _join(old, new)
                if joined is not None:
                    del kept[position]
                    waiting.append(joined)
                    break
            else:
                kept.append(new)
        return cls(tuple(sorted(kept, key=_order)))

    @classmethod
    def whole(cls, shape: Shape) -> Region:
        """Everything of a shape."""
        return cls.of([tuple(IndexSet.range(0, size) for size in shape)])

    def __bool__(self) -> bool:
        return bool(self.products)

    def __or__(self, other: Region) -> Region:
        if not other.products or self is other:
            return self
        return Region.of(self.products + other.products) if self.products else other

    def __and__(self, other: Region) -> Region:
        return Region.of(
            tuple(a & b for a, b in zip(mine, yours, strict=True))
            for mine in self.products
            for yours in other.products
        )

    def issubset(self, other: Region) -> bool:
        """Whether every index tuple of this region is in the other."""
        left = list(self.products)
        for yours in other.products:
            left = [piece for mine in left for piece in _minus(mine, yours)]
        return not left

    def disjoint(self) -> tuple[Sides, ...]:
        """Pairwise disjoint products with the same union."""
        done: list[Sides] = []
        for product in self.products:
            pieces = [product]
            for old in done:
                pieces = [part for piece in pieces for part in _minus(piece, old)]
            done.extend(pieces)
        return tuple(done)

    @property
    def count(self) -> int:
        """The number of index tuples."""
        return sum(prod(side.count for side in product) for product in self.disjoint())

    def hull(self) -> Sides:
        """Per dimension, the union of the sides.  Raises ValueError on the empty region."""
        if not self.products:
            raise ValueError("An empty Region has no hull.")
        sides = list(self.products[0])
        for product in self.products[1:]:
            sides = [a | b for a, b in zip(sides, product, strict=True)]
        return tuple(sides)

    def project(self, dims: Iterable[int]) -> Region:
        """Forget all dimensions but these (in the given order)."""
        dims = tuple(dims)
        return Region.of(tuple(product[dim] for dim in dims) for product in self.products)

    def reshape(self, before: Shape, after: Shape) -> Region:
        """The same elements, addressed in another shape with the same row-major order.

        >>> Region.of([(IndexSet.range(3, 5),)]).reshape((6,), (2, 3)).products
        ((IndexSet{1}, IndexSet{0..1}),)
        """
        if before == after or not self.products:
            return self
        groups = groups_of(before, after)
        out: list[Sides] = []
        for product in self.products:
            partial: list[Sides] = [()]
            for old, new in groups:
                sizes = after[new.start : new.stop]
                flat = _flatten(product[old.start : old.stop], before[old.start : old.stop])
                pieces = _unflatten(flat, sizes)
                partial = [head + piece for head in partial for piece in pieces]
            out.extend(partial)
        return Region.of(out)


def groups_of(before: Shape, after: Shape) -> list[tuple[range, range]]:
    """The finest pairs of runs of dimensions with equal products, for two shapes of equal size.

    Shapes without elements are one pair: nothing tells their dimensions apart.

    >>> groups_of((2, 3, 4), (6, 2, 2))
    [(range(0, 2), range(0, 1)), (range(2, 3), range(1, 3))]
    >>> groups_of((3, 0), (0, 1, 2))
    [(range(0, 2), range(0, 3))]
    """
    if prod(before) != prod(after):
        raise ValueError(f"Shapes {before} and {after} differ in their number of elements.")
    if not prod(before):
        return [(range(len(before)), range(len(after)))]
    groups = []
    i = j = 0
    while i < len(before) or j < len(after):
        start_i, start_j, left, right = i, j, 1, 1
        if i < len(before):
            left, i = before[i], i + 1
        if j < len(after):
            right, j = after[j], j + 1
        while left != right:
            if left < right or j == len(after):
                left, i = left * before[i], i + 1
            else:
                right, j = right * after[j], j + 1
        groups.append((range(start_i, i), range(start_j, j)))
    return groups


def _flatten(sides: Sides, sizes: Shape) -> IndexSet:
    flat = _ZERO
    for side, size in zip(sides, sizes, strict=True):
        flat = flat.scale(size).minkowski(side)
    return flat


def _unflatten(flat: IndexSet, sizes: Shape) -> list[Sides]:
    """Products over ``sizes`` with the given flat indices, equal rows taken together."""
    if not sizes:
        return [()] if flat else []
    if len(sizes) == 1:
        return [(flat,)] if flat else []
    width = prod(sizes[1:])
    if flat.count == width * sizes[0]:
        return [tuple(IndexSet.range(0, size) for size in sizes)]
    rows: dict[IndexSet, list[int]] = {}
    mask = (1 << width) - 1
    if flat:
        for row in range(flat.first // width, flat.last // width + 1):
            offset = flat.base - row * width
            bits = flat.bits << offset if offset >= 0 else flat.bits >> -offset
            if bits & mask:
                rows.setdefault(IndexSet(0, bits & mask), []).append(row)
    return [
        (IndexSet.of(indices), *rest)
        for pattern, indices in rows.items()
        for rest in _unflatten(pattern, sizes[1:])
    ]


def _fewer(products: list[Sides]) -> tuple[list[Sides], bool]:
    """The same union with those joined that differ in one dimension only, and whether no product
    is left that another one covers.

    The rows of a mask are as many products as there are tokens: which ones cover which is looked
    up by the indices of the dimension that tells most of them apart, if one does.
    """
    left, before = list(dict.fromkeys(products)), 0
    while len(left) != before:
        before = len(left)
        for dim in range(len(left[0])):
            left = _joined_along(left, dim)
    counts = [sum(product[dim].count for product in left) for dim in range(len(left[0]))]
    if not counts or min(counts) > _MANY * len(left):
        return left, not counts
    return _without_covered(left, counts.index(min(counts))), True


def _joined_along(products: list[Sides], dim: int) -> list[Sides]:
    sides: dict[tuple[Sides, Sides], IndexSet] = {}
    for product in products:
        rest = product[:dim], product[dim + 1 :]
        sides[rest] = sides[rest] | product[dim] if rest in sides else product[dim]
    return [(*before, side, *after) for (before, after), side in sides.items()]


def _without_covered(products: list[Sides], dim: int) -> list[Sides]:
    """Those that no other one covers, found by the indices of this dimension."""
    holding: dict[int, list[Sides]] = {}
    for product in products:
        for index in product[dim]:
            holding.setdefault(index, []).append(product)
    return [
        one
        for one in products
        if not any(one is not other and _inside(one, other) for other in holding[one[dim].first])
    ]


_MANY = 64
"""From more products than these on, pairs are looked up rather than tried."""


def _beside_largest(products: list[Sides]) -> list[Sides]:
    """The largest product, and those that it does not cover.

    What many layers read of one value is mostly nested.
    """
    largest = max(products, key=lambda product: prod(side.count for side in product))
    return [*(product for product in products if not _inside(product, largest)), largest]


def _inside(small: Sides, large: Sides) -> bool:
    return all(a.issubset(b) for a, b in zip(small, large, strict=True))


def _join(one: Sides, two: Sides) -> Sides | None:
    """The union of two products as one product, where they differ in one dimension only."""
    differing = [dim for dim, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
    if len(differing) != 1:
        return None
    dim = differing[0]
    return (*one[:dim], one[dim] | two[dim], *one[dim + 1 :])


def _minus(one: Sides, two: Sides) -> list[Sides]:
    pieces, rest = [], one
    for dim, side in enumerate(two):
        outside = rest[dim] - side
        if outside:
            pieces.append((*rest[:dim], outside, *rest[dim + 1 :]))
        rest = (*rest[:dim], rest[dim] & side, *rest[dim + 1 :])
        if not rest[dim]:
            return [one]
    return pieces


def _order(product: Sides) -> tuple[tuple[int, int], ...]:
    return tuple((side.base, side.bits) for side in product)


_ZERO = IndexSet(0, 1)
