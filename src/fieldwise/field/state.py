"""The closed form of one value while the sweep goes on: how its dimensions factor, its field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from fieldwise.axes import FULL, AnySet, AxisMap
from fieldwise.axes.digits import regroup
from fieldwise.field.products import Digit, DigitLayout, Product, Track, antichain, over
from fieldwise.field.tabled import tabled

DIAGONAL = "two axes follow one dimension"
MIXED = "an index that mixes dimensions"
CUTS = "a reshape that cuts across rows"
UNLIKE = "operands whose dimensions factor differently"
MANY = "more rectangles than can be listed, for many positions"
LIMITS = (DIAGONAL, MIXED, CUTS, UNLIKE, MANY)
"""Reasons why the closed form is only a bound where pulling single units is still exact."""

ALWAYS_KEPT, _EACH = 512, 4
"""So many products are always kept, and so many for each unit that guards tell apart."""
MOST = 1 << 10
"""More products than these are never kept: each is compared with each."""


@dataclass(frozen=True, slots=True)
class ValueState:
    """layout: the digits of every dimension; products: the field over them.

    local: the products that reached the value without passing a global operation
    sizes: of the source's axes, at this input size
    """

    layout: DigitLayout
    products: tuple[Product, ...]
    local: tuple[Product, ...]
    sizes: tuple[int, ...]

    def changed(
        self,
        layout: DigitLayout,
        change: Callable[[Product], Iterable[Product]],
        local: Callable[[Product], Iterable[Product]] | None = None,
    ) -> ValueState:
        """Every product changed, the local ones apart where they differ or change otherwise."""
        changed = (new for old in self.products for new in change(old))
        products = united(changed, layout, self.sizes)
        if self.local is self.products and local is None:
            return ValueState(layout, products, products, self.sizes)
        kept = (new for old in self.local for new in (local or change)(old))
        return ValueState(layout, products, united(kept, layout, self.sizes), self.sizes)


def united(
    products: Iterable[Product], layout: DigitLayout, sizes: Sequence[int]
) -> tuple[Product, ...]:
    """The union of these products in as few as are found; ``sizes`` of the source's axes.

    Where each of many units sees rectangles of its own (tokens of an image behind an arbitrary
    mask), the field is bounded by everything: a single unit can still be pulled.
    """
    found = list(products)
    if len(found) < 2:
        return tuple(found)
    found = tabled(found, layout, sizes)
    if len(found) <= ALWAYS_KEPT:
        return antichain(found, layout)
    guarded = {dim for product in found for dim, _ in product.where}
    limit = max(ALWAYS_KEPT, _EACH * prod(_length(layout[dim]) for dim in guarded))
    if len(found) <= min(4 * limit, MOST):
        reduced = antichain(found, layout)
        if len(reduced) <= limit:
            return reduced
    return untold(sizes)


def untold(sizes: Sequence[int]) -> tuple[Product, ...]:
    """Everything, as a bound of more rectangles than can be told."""
    return (Product(tuple(Track((), FULL) for _ in sizes), why=MANY),)


def descent(digits: Iterable[tuple[int, int]]) -> int:
    """The source axes from which these digits stem, as a bit mask."""
    axes = 0
    for _, more in digits:
        axes |= more
    return axes


def bound(product: Product, axis: int, why: str) -> Product:
    """The product with one axis given up: everything, marked as a bound."""
    tracks = (*product.tracks[:axis], Track((), FULL), *product.tracks[axis + 1 :])
    return replace(product, tracks=tracks, why=product.why or why)


def collapse(state: ValueState, dims: Iterable[int]) -> ValueState:
    """The same field with these dimensions written as one digit each."""
    dims = {dim for dim in dims if len(state.layout[dim]) != 1}
    if not dims:
        return state
    layout = tuple(
        ((_length(digits), descent(digits)),) if dim in dims else digits
        for dim, digits in enumerate(state.layout)
    )

    def change(product: Product) -> list[Product]:
        for axis, track in enumerate(product.tracks):
            for dim in dims & {dim for dim, _ in track.digits}:
                merged = _merged(track, dim, state.layout)
                if merged is None:
                    product = bound(product, axis, MIXED)
                    break
                track = merged
            else:
                digits = tuple((d, 0 if d in dims else place) for d, place in track.digits)
                product = _with_track(product, axis, Track(digits, track.map))
        return [product]

    return state.changed(layout, change)


def _merged(track: Track, dim: int, layout: DigitLayout) -> Track | None:
    """All digits of ``dim`` as the one digit (dim, −1), where they stand together in order."""
    places = [place for place, digit in enumerate(track.digits) if digit[0] == dim]
    start, stop = places[0], places[-1] + 1
    if places != list(range(start, stop)):
        return None
    every = tuple((dim, place) for place in range(len(layout[dim])))
    digits = (*track.digits[:start], *every, *track.digits[stop:])
    if any(place < 0 for _, place in track.digits):
        index = _over_mixed(track, digits, layout)
    else:
        index = over(track, digits, layout)
    if index is None:
        return None
    return Track((*track.digits[:start], (dim, -1), *track.digits[stop:]), index)


def _over_mixed(
    track: Track, digits: tuple[Digit, ...], layout: DigitLayout
) -> AxisMap[AnySet] | None:
    """``over`` where some dimensions are merged already: those count as one digit."""
    whole = tuple(
        ((_length(parts), 0),) if (dim, -1) in track.digits else parts
        for dim, parts in enumerate(layout)
    )
    plain = Track(tuple((d, max(place, 0)) for d, place in track.digits), track.map)
    return over(plain, tuple((d, max(place, 0)) for d, place in digits), whole)


def _with_track(product: Product, axis: int, track: Track) -> Product:
    return replace(product, tracks=(*product.tracks[:axis], track, *product.tracks[axis + 1 :]))


def _length(digits: Sequence[tuple[int, int]]) -> int:
    length = 1
    for size, _ in digits:
        length *= size
    return length


def stemming(state: ValueState, axes: Sequence[int]) -> ValueState:
    """The state where digits that stem from no axis stem from those that follow them.

    axes: of the source, as the tracks stand for them

    Rows that were taken at fixed places stem from no axis, until they stand beside each other.
    """
    stems: dict[Digit, int] = {}
    for product in state.products:
        for axis, track in zip(axes, product.tracks, strict=True):
            for dim, place in track.digits:
                if not state.layout[dim][place][1]:
                    stems[dim, place] = stems.get((dim, place), 0) | 1 << axis
    if not stems:
        return state
    layout = tuple(
        tuple((size, stems.get((dim, place), old)) for place, (size, old) in enumerate(digits))
        for dim, digits in enumerate(state.layout)
    )
    return replace(state, layout=layout)


# -------------------------------------------------------------------- operands of one result


def joined(states: Sequence[ValueState]) -> ValueState:
    """What a result sees that reads all of these."""
    first = states[0]
    if all(state is first for state in states):
        return first
    states, layout = _alike(states)
    products = united((p for state in states for p in state.products), layout, first.sizes)
    if all(state.local is state.products for state in states):
        return ValueState(layout, products, products, first.sizes)
    local = united((p for state in states for p in state.local), layout, first.sizes)
    return ValueState(layout, products, local, first.sizes)


def _alike(states: Sequence[ValueState]) -> tuple[Sequence[ValueState], DigitLayout]:
    """The states over common digits: the finest of each dimension, or one where they clash."""
    layout = states[0].layout
    if all(state.layout == layout for state in states):
        return states, layout
    clashing = []
    common = []
    for dim, choices in enumerate(zip(*(state.layout for state in states), strict=True)):
        finest = max(choices, key=len)
        sizes = [size for size, _ in finest]
        if any(_cut([size for size, _ in choice], sizes) is None for choice in choices):
            clashing.append(dim)
            finest = ((_length(finest), 0),)
        if len(finest) == 1:
            finest = ((finest[0][0], descent(d for choice in choices for d in choice)),)
        common.append(finest)
    layout = tuple(common)
    return [_refined(collapse(state, clashing), layout) for state in states], layout


def _cut(digits: list[int], finer: list[int]) -> list[int] | None:
    """Per finer digit the number of the digit it is part of; None where it is part of none."""
    if digits == finer:
        return list(range(len(digits)))
    cut = regroup(digits, finer)
    if cut is None or any(len(taken) != 1 for taken in cut):
        return None
    return [taken[0][0] for taken in cut]


def _refined(state: ValueState, layout: DigitLayout) -> ValueState:
    """The same field over finer digits."""
    parts: dict[Digit, tuple[Digit, ...]] = {}
    for dim, (old, new) in enumerate(zip(state.layout, layout, strict=True)):
        owners = _cut([size for size, _ in old], [size for size, _ in new])
        assert owners is not None
        for place in range(len(old)):
            parts[dim, place] = tuple((dim, k) for k, own in enumerate(owners) if own == place)

    def change(product: Product) -> list[Product]:
        tracks = (
            Track(tuple(new for old in track.digits for new in parts[old]), track.map)
            for track in product.tracks
        )
        return [replace(product, tracks=tuple(tracks))]

    return state.changed(layout, change)
