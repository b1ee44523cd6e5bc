"""From a closed form to a row of the report: extents, strides and context per source axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fieldwise.axes import AxisMap, IndexSet, Region
from fieldwise.axes.digits import summed_out
from fieldwise.field.closed import Closed
from fieldwise.field.describe import (
    Scene,
    combined,
    evaluated,
    fields,
    of_one,
    places_of,
)
from fieldwise.field.pieces import Cell, are_alike, cells, whole
from fieldwise.field.products import DigitLayout, Product, Track, antichain
from fieldwise.field.report import AxisField, Piece, Row
from fieldwise.field.state import ValueState
from fieldwise.graph.ir import Node, Shape, Value
from fieldwise.remembered import Remembered


@dataclass(frozen=True, slots=True)
class Roles:
    """Which dimensions of a value say which unit it is, and which hold its channels."""

    unit: tuple[int, ...]
    batch: tuple[int, ...]
    channel: tuple[int, ...]


def roles(layout: DigitLayout, axes: Sequence[int], source_rank: int) -> Roles:
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
    pieces: tuple[Piece, ...] = ()
    of_unit: tuple[int, ...] | None = None


SUMMARIES = Remembered[tuple[Summary, ValueState]](most=1 << 16)
"""By what is summarised; a state is compared by identity, and lives as long as its summary."""


def summarise(closed: Closed, axes: tuple[int, ...], source: Shape, *, with_local: bool) -> Summary:
    """Extents, strides and the rest per source axis, of whole units."""
    alike = (id(closed.state), closed.full_by, axes, source, with_local)
    known = SUMMARIES.find(alike)
    if known is None:
        known = _summarised(closed, axes, source, with_local=with_local), closed.state
        SUMMARIES.add(alike, known, 1 + len(closed.state.products))
    return known[0]


def _summarised(
    closed: Closed, axes: tuple[int, ...], source: Shape, *, with_local: bool
) -> Summary:
    layout = closed.state.layout
    dims = roles(layout, axes, len(source)).unit
    scene = Scene(layout, dims, axes, source, closed.full_by)
    seen = of_units(closed.state.products, layout, frozenset(dims))
    beside = of_units(closed.state.local, layout, frozenset(dims)) if with_local else ()
    if are_alike(seen, beside):
        return _of_all(scene, seen, beside)
    found = cells(seen, beside, layout, dims)
    if found is None:
        guarded = any(product.where for product in (*seen, *beside))
        return (_of_the_middle if guarded else _of_all)(scene, seen, beside)
    if len(found) < 2:
        cell = found[0] if found else Cell(whole(layout, dims), seen, beside)
        return _of_all(scene, cell.products, cell.local)
    return _in_pieces(scene, found, dims)


def _of_all(scene: Scene, products: Sequence[Product], beside: Sequence[Product]) -> Summary:
    """All units see the same products."""
    found = fields(scene, products, None)
    sized = any(product.sized for product in products)
    if sized and any(_has_no_numbers(field) for field in found):
        return _of_the_middle(scene, products, beside)
    return Summary(
        axes=found,
        products=len(products),
        why=_why(products),
        at_this_size=sized,
        local=fields(scene, beside, None) if beside else None,
    )


def _in_pieces(scene: Scene, found: Sequence[Cell], dims: Sequence[int]) -> Summary:
    """Units of several kinds: a description of each, and what can be said of all."""
    pieces = tuple(_piece(scene, cell, dims) for cell in found)
    of_each = [cell.products for cell in found]
    differ = any(products != of_each[0] for products in of_each)
    local = [piece.local for piece in pieces if piece.local is not None]
    return Summary(
        axes=_together(scene, [piece.axes for piece in pieces], of_each),
        products=max(piece.products for piece in pieces),
        why=next((piece.why for piece in pieces if piece.why is not None), None),
        at_this_size=differ or any(product.sized for product in of_each[0]),
        local=_together(scene, local, [cell.local for cell in found if cell.local])
        if local
        else None,
        pieces=pieces,
    )


def _piece(scene: Scene, cell: Cell, dims: Sequence[int]) -> Piece:
    part = dict(zip(dims, cell.units, strict=True))
    axes, of_unit = fields(scene, cell.products, part), None
    if any(_has_no_numbers(field) for field in axes):
        unit = {dim: _middle(side) for dim, side in part.items()}
        axes, of_unit = of_one(scene, cell.products, unit), tuple(unit.values())
    return Piece(
        units=cell.units,
        axes=axes,
        products=len(cell.products),
        why=_why(cell.products),
        local=fields(scene, cell.local, part) if cell.local else None,
        of_unit=of_unit,
    )


def _together(
    scene: Scene,
    parts: Sequence[tuple[AxisField, ...]],
    products: Sequence[Sequence[Product]],
) -> tuple[AxisField, ...]:
    """Of all pieces: along an axis where all follow one map, what that map says."""
    found = list(combined(parts))
    for position, sides in enumerate(zip(*parts, strict=True)):
        maps = {side.map for side in sides}
        if len(maps) == 1 and None not in maps:
            found[position] = fields(scene, products[0], None)[position]
    return tuple(found)


def _of_the_middle(scene: Scene, products: Sequence[Product], beside: Sequence[Product]) -> Summary:
    """The middle unit alone, where no description of all units is short enough."""
    unit = scene.middle
    chosen, local = (
        tuple(p for p in some if all(unit[dim] in indices for dim, indices in p.where))
        for some in (products, beside)
    )
    return Summary(
        axes=of_one(scene, chosen, unit),
        products=len(chosen),
        why=_why(products),
        at_this_size=True,
        local=of_one(scene, local, unit) if local else None,
        of_unit=tuple(unit.values()) or None,
    )


def _has_no_numbers(field: AxisField) -> bool:
    return field.extent is None and not (field.full or field.past or field.future)


def _why(products: Sequence[Product]) -> str | None:
    return next((product.why for product in products if product.why is not None), None)


def _middle(indices: IndexSet) -> int:
    return list(indices)[indices.count // 2]


def make_row(
    value: Value, node: Node | None, closed: Closed, summary: Summary, aliases: tuple[str, ...]
) -> Row:
    """The row of one value."""
    return Row(
        name=value.name,
        op=node.called if node else "input",
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
        pieces=summary.pieces,
        of_unit=summary.of_unit,
    )


def of_units(
    products: Sequence[Product], layout: DigitLayout, unit: frozenset[int]
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


def _over_units(track: Track, layout: DigitLayout, unit: frozenset[int]) -> Track:
    """Digits that lie in channels (after pixel_unshuffle) are seen together."""
    if all(dim in unit for dim, _ in track.digits):
        return track
    digits, index = list(track.digits), track.map
    for position in reversed(range(len(digits))):
        if digits[position][0] not in unit:
            assert isinstance(index, AxisMap)
            sizes = tuple(layout[dim][place][0] for dim, place in digits)
            index = summed_out(sizes, position, None).then(index)
            del digits[position]
    return Track(tuple(digits), index)


def closed_region(state: ValueState, unit: Mapping[int, int]) -> tuple[tuple[IndexSet, ...], ...]:
    """The products that one unit sees by the closed form, unclipped; ``unit`` by dimension."""
    places = places_of(unit, state.layout)
    found = []
    for product in of_units(state.products, state.layout, frozenset(unit)):
        if all(unit[dim] in indices for dim, indices in product.where):
            found.append(
                tuple(
                    evaluated(track, places, state.layout, size)
                    for track, size in zip(product.tracks, state.sizes, strict=True)
                )
            )
    return Region.of(found).products
