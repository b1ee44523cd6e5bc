"""From a closed form to a row of the report: extents, strides and context per source axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import prod

from fieldwise.axes import AxisMap, Lattice
from fieldwise.axes.digits import summed_out
from fieldwise.field.closed import Closed, axis_maps
from fieldwise.field.products import Layout, Product, Track
from fieldwise.field.report import AxisField, Row
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


def make_row(
    value: Value,
    node: Node | None,
    closed: Closed,
    axes: Sequence[int],
    source: Shape,
    aliases: tuple[str, ...],
    *,
    with_local: bool,
) -> Row:
    """The row of one value."""
    state = closed.state
    unit = frozenset(roles(state.layout, axes, len(source)).unit)
    local = None
    if with_local and state.local:
        local = _fields(state.local, state.layout, unit, axes, source, closed)
    return Row(
        name=value.name,
        op=node.op if node else "input",
        module=node.module if node else "",
        shape=value.shape,
        axes=_fields(state.products, state.layout, unit, axes, source, closed),
        products=len(state.products),
        exact=all(product.why is None for product in state.products),
        why=next((p.why for p in state.products if p.why is not None), None),
        misaligned=closed.misaligned,
        at_this_size=any(product.sized for product in state.products),
        local=local,
        aliases=aliases,
    )


def _fields(
    products: Sequence[Product],
    layout: Layout,
    unit: frozenset[int],
    axes: Sequence[int],
    source: Shape,
    closed: Closed,
) -> tuple[AxisField, ...]:
    fields = []
    for position, axis in enumerate(axes):
        tracks = [product.tracks[position] for product in products]
        if any(isinstance(track.map, Lattice) for track in tracks):
            fields.append(AxisField(axis, full=True, full_by=closed.full_by[position]))
        else:
            fields.append(_bounded(axis, tracks, layout, unit, source[axis]))
    return tuple(fields)


def _bounded(
    axis: int, tracks: Sequence[Track], layout: Layout, unit: frozenset[int], size: int
) -> AxisField:
    union: AxisMap | None = None
    tracks = [_over_units(track, layout, unit) for track in tracks]
    for index in axis_maps(tracks, layout):
        if index is None:
            return AxisField(axis)
        if union is not None:
            index = union.union(index)  # noqa: PLW2901
            if index is None:
                return AxisField(axis)
        union = index
    if union is None:
        return AxisField(axis)
    widest = max((track.digits for track in tracks), key=len, default=())
    units = prod(layout[dim][place][0] for dim, place in widest)
    return _described(axis, union, units, size)


def _over_units(track: Track, layout: Layout, unit: frozenset[int]) -> Track:
    """Digits that lie in channels (after pixel_unshuffle) are seen together."""
    digits, index = list(track.digits), track.map
    assert isinstance(index, AxisMap)
    for position in reversed(range(len(digits))):
        if digits[position][0] not in unit:
            sizes = tuple(layout[dim][place][0] for dim, place in digits)
            index = summed_out(sizes, position, None).then(index)
            del digits[position]
    return Track(tuple(digits), index)


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
        context=tuple(
            (Fraction(0), Fraction(0))
            if not offset
            else (position - offset.first, offset.last - position)
            for phase, offset in enumerate(index.offsets)
            for position in (index.rate * phase,)
        ),
    )
