"""Values beside each other: what a concatenation sees, part by part.

Where each operand stands at places of its own along one dimension that no track follows, its
products are what they were, under the guard of its place.  None covers one of another part, and
those with the same tracks are one with a wider guard; so none are compared.

A concatenation that begins as an earlier one does begins with what was found for that: a layer of
DenseNet reads what the layer before it reads, and one value more.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.field.products import DigitLayout, Product, guards
from fieldwise.field.state import ALWAYS_KEPT, ValueState, descent
from fieldwise.graph.ir import Along, Read, Shape


class ReadState(NamedTuple):
    """An operand of what may be a concatenation: how it is read, its shape, its closed form."""

    read: Read
    shape: Shape
    state: ValueState


@dataclass(frozen=True, slots=True)
class _Row:
    """The products of parts one after the other, and the place of each in that row."""

    products: tuple[Product, ...] = ()
    places: Mapping[Hashable, int] = field(default_factory=dict)

    def followed_by(self, part: Sequence[Product]) -> _Row:
        """The row and one part more, products with the same tracks as one."""
        products, places = list(self.products), dict(self.places)
        for new in part:
            key = (new.tracks, new.why, new.sized)
            at = places.setdefault(key, len(products))
            if at < len(products):
                ((dim, known),), ((_, more),) = products[at].where, new.where
                products[at] = replace(products[at], where=((dim, known | more),))
            else:
                products.append(new)
        return _Row(tuple(products), places)


class Concatenations:
    """Those of one sweep.  What was found stands beside what it was found for, told by identity."""

    def __init__(self) -> None:
        self._stands: dict[tuple[int, Shape], tuple[Read, _Stand | None]] = {}
        self._guarded: dict[tuple[int, _Stand], tuple[object, tuple[Product, ...] | None]] = {}
        self._rows: dict[tuple[int, int], tuple[_Row, object, _Row]] = {}
        self._nothing = _Row()

    def state(self, parts: Sequence[ReadState], after: Shape) -> ValueState | None:
        """What the result, of this shape, sees; None where it is no such concatenation."""
        stands = self._stands_of(parts)
        if stands is None or 0 in after:
            return None
        dim, first = stands[0][0], parts[0].state
        for _, shape, state in parts:
            if _but(dim, shape) != _but(dim, after) or not _alike(state.layout, first.layout, dim):
                return None
        products = self._together([part.state.products for part in parts], stands, after)
        local = products
        if any(part.state.local is not part.state.products for part in parts):
            local = self._together([part.state.local for part in parts], stands, after)
        if products is None or local is None:
            return None
        digit = (after[dim], descent(first.layout[dim]))
        layout = (*first.layout[:dim], (digit,), *first.layout[dim + 1 :])
        return ValueState(layout, products, local, first.sizes)

    def _stands_of(self, parts: Sequence[ReadState]) -> list[_Stand] | None:
        """Where the parts stand, if along one dimension, each behind the one before it."""
        found: list[_Stand] = []
        for read, shape, _ in parts:
            key = id(read), shape
            if key not in self._stands:
                self._stands[key] = read, _stand(read, shape)
            stand = self._stands[key][1]
            if stand is None:
                return None
            if found and (stand[0] != found[-1][0] or stand[1].first <= found[-1][1].last):
                return None
            found.append(stand)
        return found

    def _together(
        self, fields: Sequence[tuple[Product, ...]], stands: Sequence[_Stand], after: Shape
    ) -> tuple[Product, ...] | None:
        """The products of all parts; None where some follow the dimension, or hold for a part."""
        row = self._nothing
        for products, stand in zip(fields, stands, strict=True):
            key = id(products), stand
            if key not in self._guarded:
                self._guarded[key] = products, _under(products, stand)
            part = self._guarded[key][1]
            if part is None:
                return None
            step = id(row), id(part)
            if step not in self._rows:
                self._rows[step] = row, part, row.followed_by(part)
            row = self._rows[step][2]
        return _unguarded(row.products, after) if len(row.products) <= ALWAYS_KEPT else None


_Stand = tuple[int, IndexSet]
"""The dimension along which an operand stands among others, and its places there."""


def _stand(read: Read, shape: Shape) -> _Stand | None:
    """Where an operand of this shape stands, if it has places of its own there, in order."""
    step = read.single
    if step is None or len(step.where) != 1:
        return None
    ((dim, places),) = step.where
    if (
        len(step.coords) <= dim
        or not places
        or places != IndexSet.range(places.first, places.first + shape[dim])
    ):
        return None
    back = AxisMap.affine(1, -places.first)
    for number, coord in enumerate(step.coords):
        if not isinstance(coord, Along) or coord.dim != number:
            return None
        if coord.map != back if number == dim else not coord.map.is_identity:
            return None
    return dim, places


def _but(dim: int, shape: Shape) -> tuple[Shape, Shape]:
    return shape[:dim], shape[dim + 1 :]


def _alike(one: DigitLayout, other: DigitLayout, dim: int) -> bool:
    """Whether two layouts are the same but for how many there are along a dimension."""
    if one is other:
        return True
    same = one[:dim] == other[:dim] and one[dim + 1 :] == other[dim + 1 :]
    return same and descent(one[dim]) == descent(other[dim])


def _under(products: Sequence[Product], stand: _Stand) -> tuple[Product, ...] | None:
    """The products under a guard; None where one has a guard already, or follows the dimension.

    What sees the same few indices from everywhere is left to those who list rows (``tabled``).
    """
    for product in products:
        if product.where:
            return None
        for track in product.tracks:
            if any(dim == stand[0] for dim, _ in track.digits):
                return None
            if not track.digits and not track.map.is_global:
                return None
    return tuple([Product(p.tracks, (stand,), p.why, p.sized) for p in products])


def _unguarded(products: tuple[Product, ...], after: Shape) -> tuple[Product, ...]:
    """The products without guards that let everything through."""
    if not any(p.where[0][1].count == after[p.where[0][0]] for p in products):
        return products
    return tuple(replace(p, where=guards(dict(p.where), after)) for p in products)
