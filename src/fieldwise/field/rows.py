"""From a closed form to a row of the report: extents, strides and context per source axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import prod

from fieldwise.axes import EMPTY, AxisMap, IndexSet, Lattice, Region
from fieldwise.axes.digits import summed_out
from fieldwise.field.closed import Closed
from fieldwise.field.products import Digit, Layout, Product, Track, antichain, over
from fieldwise.field.report import AxisField, Row
from fieldwise.field.state import State
from fieldwise.graph.ir import Node, Shape, Value


@dataclass(frozen=True, slots=True)
class Roles:
    """Which dimensions of a value say which unit it is, and which hold its channels."""

    unit: tuple[int, ...]
    batch: tuple[int, ...]
    channel: tuple[int, ...]


def roles(layout: Layout, axes: Sequence[int], source_rank: int) -> Roles:
    """By descent: unit dimensions stem from the source's spatial axes, batch from axis 0."""
    spatial = sum(1 << axis for axis in axes)
    batched = 0 not in axes and source_rank > len(axes)
    unit, batch, channel = [], [], []
    for dim, digits in enumerate(layout):
        descent = 0
        for _, more in digits:
            descent |= more
        if descent & spatial:
            unit.append(dim)
        elif batched and descent == 1:
            batch.append(dim)
        else:
            channel.append(dim)
    return Roles(tuple(unit), tuple(batch), tuple(channel))


@dataclass(frozen=True, slots=True)
class Summary:
    """What a row says of a closed form, apart from the value's own name and shape."""

    axes: tuple[AxisField, ...]
    products: int
    why: str | None
    at_this_size: bool
    local: tuple[AxisField, ...] | None


def summarise(closed: Closed, axes: Sequence[int], source: Shape, *, with_local: bool) -> Summary:
    """Extents, strides and the rest per source axis, of whole units."""
    layout = closed.state.layout
    unit = frozenset(roles(layout, axes, len(source)).unit)
    products, pieces = _of_the_middle(of_units(closed.state.products, layout, unit), layout)
    sized = pieces or any(product.sized for product in products)
    local = None
    if with_local and closed.state.local:
        middle, _ = _of_the_middle(of_units(closed.state.local, layout, unit), layout)
        local = _fields(middle, layout, axes, source, closed, sized=sized)
    return Summary(
        axes=_fields(products, layout, axes, source, closed, sized=sized),
        products=len(products),
        why=next((p.why for p in products if p.why is not None), None),
        at_this_size=sized,
        local=local,
    )


def _of_the_middle(products: Sequence[Product], layout: Layout) -> tuple[tuple[Product, ...], bool]:
    """Of a field in pieces (a concatenation along an axis) those of the middle unit.

    Also whether there are pieces at all: what holds for some units only depends on the size.
    """
    if not any(product.where for product in products):
        return tuple(products), False
    middle = [_middle(digits) for digits in layout]
    chosen = tuple(
        replace(product, where=())
        for product in products
        if all(middle[dim] in indices for dim, indices in product.where)
    )
    return chosen, True


def _middle(digits: Sequence[tuple[int, int]]) -> int:
    return prod(size for size, _ in digits) // 2


def make_row(
    value: Value, node: Node | None, closed: Closed, summary: Summary, aliases: tuple[str, ...]
) -> Row:
    """The row of one value."""
    return Row(
        name=value.name,
        op=node.op if node else "input",
        module=node.module if node else "",
        shape=value.shape,
        axes=summary.axes,
        products=summary.products,
        exact=summary.why is None,
        why=summary.why,
        misaligned=closed.misaligned,
        at_this_size=summary.at_this_size,
        local=summary.local,
        aliases=aliases,
    )


def of_units(
    products: Sequence[Product], layout: Layout, unit: frozenset[int]
) -> tuple[Product, ...]:
    """The field of whole units: all channels together, every track over the unit's own digits."""
    if all(_is_of_units(product, unit) for product in products):
        return tuple(products)
    return antichain(
        (
            Product(
                tuple(_over_units(track, layout, unit) for track in product.tracks),
                tuple((dim, indices) for dim, indices in product.where if dim in unit),
                product.why,
                product.sized,
            )
            for product in products
        ),
        layout,
    )


def _is_of_units(product: Product, unit: frozenset[int]) -> bool:
    return not product.where and all(
        dim in unit for track in product.tracks for dim, _ in track.digits
    )


def _over_units(track: Track, layout: Layout, unit: frozenset[int]) -> Track:
    """Digits that lie in channels (after pixel_unshuffle) are seen together."""
    digits, index = list(track.digits), track.map
    for position in reversed(range(len(digits))):
        if digits[position][0] not in unit:
            assert isinstance(index, AxisMap)
            sizes = tuple(layout[dim][place][0] for dim, place in digits)
            index = summed_out(sizes, position, None).then(index)
            del digits[position]
    return Track(tuple(digits), index)


def _fields(
    products: Sequence[Product],
    layout: Layout,
    axes: Sequence[int],
    source: Shape,
    closed: Closed,
    *,
    sized: bool,
) -> tuple[AxisField, ...]:
    """Per axis; what has no common map is described by the middle unit if it is sized anyway."""
    fields = []
    for position, axis in enumerate(axes):
        tracks = [product.tracks[position] for product in products]
        if any(isinstance(track.map, Lattice) for track in tracks):
            fields.append(AxisField(axis, full=True, full_by=closed.full_by[position]))
        else:
            found = _bounded(axis, tracks, layout, source[axis])
            if found.extent is None and sized and tracks:
                found = _of_middle_unit(axis, tracks, layout, source[axis])
            fields.append(found)
    return tuple(fields)


def _bounded(axis: int, tracks: Sequence[Track], layout: Layout, size: int) -> AxisField:
    digits = _all_digits(axis, tracks, layout)
    union: AxisMap | None = None
    for track in tracks:
        index = over(track, digits, layout)
        if index is not None and union is not None:
            index = union.union(index)
        if index is None:
            return AxisField(axis)
        union = index
    if union is None:
        return AxisField(axis)
    units = prod(layout[dim][place][0] for dim, place in digits)
    return _described(axis, union, units, size)


def _of_middle_unit(axis: int, tracks: Sequence[Track], layout: Layout, size: int) -> AxisField:
    places = _places({dim: _middle(digits) for dim, digits in enumerate(layout)}, layout)
    seen = EMPTY
    for track in tracks:
        seen = seen | _evaluated(track, places, layout, size)
    return AxisField(axis, extent=seen.extent, count=seen.count, clipped=seen.clip(size).extent)


def _all_digits(axis: int, tracks: Sequence[Track], layout: Layout) -> tuple[Digit, ...]:
    """The digits that say where a unit is along a source axis, in their order.

    A window's field depends on the window alone, yet its units are counted one by one.
    """
    widest = max((track.digits for track in tracks), key=len, default=())
    stems = tuple(
        (dim, place)
        for dim, digits in enumerate(layout)
        for place, (size, stem) in enumerate(digits)
        if stem == 1 << axis and size > 1
    )
    return stems if set(widest) <= set(stems) else widest


def closed_region(state: State, unit: Mapping[int, int]) -> tuple[tuple[IndexSet, ...], ...]:
    """The products that one unit sees by the closed form, unclipped; ``unit`` by dimension."""
    places = _places(unit, state.layout)
    found = []
    for product in of_units(state.products, state.layout, frozenset(unit)):
        if all(unit[dim] in indices for dim, indices in product.where):
            found.append(
                tuple(
                    _evaluated(track, places, state.layout, size)
                    for track, size in zip(product.tracks, state.sizes, strict=True)
                )
            )
    return Region.of(found).products


def _places(unit: Mapping[int, int], layout: Layout) -> dict[Digit, int]:
    """The digits of a unit's indices."""
    places = {}
    for dim, index in unit.items():
        rest = index
        for place in reversed(range(len(layout[dim]))):
            rest, places[dim, place] = divmod(rest, layout[dim][place][0])
    return places


def _evaluated(track: Track, places: Mapping[Digit, int], layout: Layout, size: int) -> IndexSet:
    if isinstance(track.map, Lattice):
        return track.map.within(size)
    index = 0
    for dim, place in track.digits:
        index = index * layout[dim][place][0] + places[dim, place]
    return track.map(index)


@lru_cache(maxsize=1 << 12)
def _described(axis: int, index: AxisMap, units: int, size: int) -> AxisField:
    first = index.offsets[0]
    return AxisField(
        axis=axis,
        extent=index.extent,
        count=index.count,
        stride=index.rate,
        start=index.start,
        centre=Fraction(first.first + first.last, 2) if first else None,
        period=index.period,
        clipped=index(units // 2).clip(size).extent,
        map=index,
    )
