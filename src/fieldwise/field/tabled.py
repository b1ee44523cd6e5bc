"""Many products that hold for a few units each, written as one map that lists the units.

Behind an irregular mask every token sees a set of its own.  As guarded products that is a product
per token and layer, compared with every other; as one map it is a row per token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fieldwise.axes import EMPTY, FULL, AnySet, AxisMap, IndexSet
from fieldwise.field.products import DigitLayout, Guards, Product, Track

_Key = tuple[object, ...]


def tabled(products: Iterable[Product], layout: DigitLayout, sizes: Sequence[int]) -> list[Product]:
    """The same union, with groups of at least 16 that differ in one guard and one track as one.

    sizes: of the source's axes
    """
    found = list(products)
    if sum(bool(product.where) for product in found) < ENOUGH:
        return found
    groups: dict[_Key, list[Product]] = {}
    for product in found:
        for key in _keys(product, layout):
            groups.setdefault(key, []).append(product)
    done: set[int] = set()
    made: list[Product] = []
    for key, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        alive = [member for member in members if id(member) not in done]
        if len(alive) >= ENOUGH:
            dim, axis = key[:2]
            assert isinstance(dim, int)
            assert isinstance(axis, int)
            made.append(_as_one(alive, dim, axis, layout[dim][0][0], sizes[axis]))
            done.update(map(id, alive))
    return [*(product for product in found if id(product) not in done), *made]


def _keys(product: Product, layout: DigitLayout) -> Iterator[_Key]:
    """What products must share to become one, per dimension and axis in which they may differ."""
    for dim, _ in product.where:
        if len(layout[dim]) != 1:
            continue
        rest = tuple(pair for pair in product.where if pair[0] != dim)
        for axis, track in enumerate(product.tracks):
            others = (*product.tracks[:axis], *product.tracks[axis + 1 :])
            alone = not any(d == dim for other in others for d, _ in other.digits)
            if alone and track.digits in ((), ((dim, 0),)) and not track.map.is_global:
                yield dim, axis, rest, others, product.why


def _as_one(products: Sequence[Product], dim: int, axis: int, units: int, size: int) -> Product:
    rows: list[AnySet] = [EMPTY] * units
    for product in products:
        index = product.tracks[axis].map
        for unit in _guard(product.where, dim):
            rows[unit] = rows[unit] | index(unit)
    first = products[0]
    whole = all(row.clip(size).count == size for row in rows)
    track = Track((), FULL) if whole else Track(((dim, 0),), AxisMap(size, tuple(rows)))
    return Product(
        (*first.tracks[:axis], track, *first.tracks[axis + 1 :]),
        tuple(pair for pair in first.where if pair[0] != dim),
        first.why,
        sized=True,
    )


def _guard(where: Guards, dim: int) -> IndexSet:
    return next(indices for other, indices in where if other == dim)


ENOUGH = 16
"""Fewer products stay as they are: their guards say more than a list."""
