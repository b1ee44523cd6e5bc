"""Many products that hold for a few units each, written as one map, or as few.

Where a loop was unrolled every row is a product of its own: together they follow the axis
(``axes.progressions``).  Behind an irregular mask every token sees a set of its own.  As guarded
products that is a product per token and layer, compared with every other; as one map it is a row
per token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod

from fieldwise.axes import EMPTY, FULL, AnySet, AxisMap, IndexSet
from fieldwise.axes.progressions import progressions
from fieldwise.field.products import DigitLayout, Guards, Product, Track, guards

_Key = tuple[object, ...]


def tabled(products: Iterable[Product], layout: DigitLayout, sizes: Sequence[int]) -> list[Product]:
    """The same union, with groups that differ in one guard and one track as few where they can be.

    Rows that follow the axis are regular maps again; else at least 16 become one that lists them.

    sizes: of the source's axes
    """
    found = list(products)
    guarded = [product.where for product in found if product.where]
    single = any(indices.count == 1 for where in guarded for _, indices in where)
    if len(guarded) < (2 if single else ENOUGH):
        return found
    groups: dict[_Key, list[Product]] = {}
    for product in found:
        for key in _keys(product, layout):
            groups.setdefault(key, []).append(product)
    done: set[int] = set()
    made: list[Product] = []
    for key, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        alive = [member for member in members if id(member) not in done]
        together = _together(alive, key, layout, sizes)
        if together is not None:
            made += together
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


def _together(
    alive: Sequence[Product], key: _Key, layout: DigitLayout, sizes: Sequence[int]
) -> list[Product] | None:
    """Products with one key as fewer; None where they stay as they are.

    Those of which only the guard differs are left to whoever joins guards.
    """
    dim, axis = key[:2]
    assert isinstance(dim, int)
    assert isinstance(axis, int)
    single = any(_guard(product.where, dim).count == 1 for product in alive)
    if len(alive) < 2 or not (single or len(alive) >= ENOUGH):
        return None
    if all(product.tracks == alive[0].tracks for product in alive):
        return None
    units = prod(size for size, _ in layout[dim])
    rows = _rows(alive, dim, axis)
    together = _following(alive, rows, (dim, axis), units, sizes[axis])
    if together is None and len(alive) >= ENOUGH:
        return [_as_one(alive, rows, (dim, axis), units, sizes[axis])]
    return together


def _rows(products: Sequence[Product], dim: int, axis: int) -> Mapping[int, AnySet]:
    """What every unit that a guard lets through sees."""
    rows: dict[int, AnySet] = {}
    for product in products:
        index = product.tracks[axis].map
        for unit in _guard(product.where, dim):
            rows[unit] = rows.get(unit, EMPTY) | index(unit)
    return dict(sorted(rows.items()))


def _following(
    products: Sequence[Product],
    rows: Mapping[int, AnySet],
    place: tuple[int, int],
    units: int,
    size: int,
) -> list[Product] | None:
    """The rows as fewer regular maps; None where they do not follow the axis."""
    finite = {
        unit: row if isinstance(row, IndexSet) else row.clip(size) for unit, row in rows.items()
    }
    laws = progressions(finite, size)
    if laws is None or len(laws) >= len(products):
        return None
    dim, axis = place
    first = products[0]
    return [
        Product(
            (*first.tracks[:axis], Track(((dim, 0),), law), *first.tracks[axis + 1 :]),
            guards({**dict(first.where), dim: outputs}, {dim: units}),
            first.why,
            any(product.sized for product in products),
        )
        for law, outputs in laws
    ]


def _as_one(
    products: Sequence[Product],
    found: Mapping[int, AnySet],
    place: tuple[int, int],
    units: int,
    size: int,
) -> Product:
    """All of them as one map that lists its rows."""
    dim, axis = place
    rows = [found.get(unit, EMPTY) for unit in range(units)]
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
"""Fewer products that follow no axis stay as they are: their guards say more than a list."""
