"""A field report as JSON.

    {"model": …, "input": {"shape": […]}, "layers": [LAYER, …]}

A LAYER has, per spatial axis of the input where it is a list:

    name, op, shape
    extent, count, stride, start, centre, period    null on a full axis
    full                                            whether something made it see the whole axis
    products, exact, why

and, where there is something to say:

    aliases         the module paths that returned this value
    full_by         per axis, the first layer that saw all of it
    clipped         per axis, the extent of the middle unit's field inside this input
    context         where the period is over 1: per axis and phase, the samples [left, right] of
                    the unit's own position that it sees
    misaligned      the join at which branches of different strides meet
    at_this_size    true: no form independent of the input size exists
    least           per axis, the smallest extent of a unit where units differ; extent is then the
                    largest
    pieces          where units are of several kinds, one entry per kind: "units" (per unit
                    dimension a list of [first, last], both inclusive), extent … period, least,
                    full, products, exact and why; start and centre are those of its first unit
    of_unit         the only unit that the numbers speak of, where no form of all units is short
    local           with --ignore-global: extent … period through the local paths alone
    unit, region    with --unit: {"lo", "hi", "count", "products"}, ``hi`` inclusive; a product is
                    a list of [lo, hi, count] per axis; lo and hi are null if it sees nothing.
                    "exact": false and "why" are added to an upper bound.
                    Both are null where the map has no such unit.

Strides and centres are JSON integers when whole, else strings 'p/q'.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from fieldwise.field.report import AxisField, Piece, Row

if TYPE_CHECKING:
    from fieldwise.field import FieldReport, UnitField


def render(
    report: FieldReport,
    rows: Sequence[Row],
    *,
    model: str,
    units: Mapping[str, UnitField] | None = None,
) -> str:
    """These rows of a report as JSON text, a line per layer; ``units`` adds what units see."""
    head = {"model": model, "input": {"shape": list(report.input.shape)}}
    lines = (_text(layer(row) | _unit(row, units)) for row in rows)
    body = ",\n  ".join(lines)
    return f'{_text(head)[:-1]}, "layers": [\n  {body}\n]}}'


def layer(row: Row) -> dict[str, Any]:
    """One row.

    >>> axis = AxisField(2, 3, 3, Fraction(1, 2), -1, Fraction(0), 2)
    >>> entry = layer(Row("conv", "conv", "conv", (1, 4, 8), (axis,)))
    >>> entry["extent"], entry["stride"], entry["why"]
    ([3], ['1/2'], None)
    """
    entry: dict[str, Any] = {
        "name": row.name,
        "op": row.op,
        "shape": list(row.shape),
        **_axes(row.axes),
        "full": [axis.full for axis in row.axes],
        "products": row.products,
        "exact": row.exact,
        "why": row.why,
    }
    aliases = [alias for alias in row.aliases if alias != row.name]
    if aliases:
        entry["aliases"] = aliases
    if any(axis.full_by for axis in row.axes):
        entry["full_by"] = [axis.full_by for axis in row.axes]
    if any(axis.clipped is not None for axis in row.axes):
        entry["clipped"] = [axis.clipped for axis in row.axes]
    if any(len(axis.context) > 1 for axis in row.axes):
        entry["context"] = [
            [[_number(left), _number(right)] for left, right in axis.context] for axis in row.axes
        ]
    if row.misaligned is not None:
        entry["misaligned"] = row.misaligned
    if row.at_this_size:
        entry["at_this_size"] = True
    if row.pieces:
        entry["pieces"] = [_piece(piece) for piece in row.pieces]
    return entry | _more(row)


def _piece(piece: Piece) -> dict[str, Any]:
    return {
        "units": [[[lo, hi - 1] for lo, hi in side.runs()] for side in piece.units],
        **_axes(piece.axes),
        "full": [axis.full for axis in piece.axes],
        "products": piece.products,
        "exact": piece.exact,
        "why": piece.why,
    } | _more(piece)


def _more(found: Row | Piece) -> dict[str, Any]:
    """What a row and a piece say only where there is something to say."""
    entry: dict[str, Any] = {}
    if any(axis.least is not None for axis in found.axes):
        entry["least"] = [axis.least for axis in found.axes]
    if found.of_unit is not None:
        entry["of_unit"] = list(found.of_unit)
    if found.local is not None:
        entry["local"] = _axes(found.local)
    return entry


def _axes(axes: Sequence[AxisField]) -> dict[str, Any]:
    return {
        "extent": [axis.extent for axis in axes],
        "count": [axis.count for axis in axes],
        "stride": [_number(axis.stride) for axis in axes],
        "start": [axis.start for axis in axes],
        "centre": [_number(axis.centre) for axis in axes],
        "period": [axis.period for axis in axes],
    }


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _number(value: Fraction | None) -> int | str | None:
    if value is None:
        return None
    return value.numerator if value.denominator == 1 else str(value)


def _unit(row: Row, units: Mapping[str, UnitField] | None) -> dict[str, Any]:
    if units is None:
        return {}
    found = units.get(row.name)
    if found is None:
        return {"unit": None, "region": None}
    return {"unit": list(found.unit), "region": _region(found)}


def _region(seen: UnitField) -> dict[str, Any]:
    region: dict[str, Any] = {
        "lo": list(seen.lo) if seen.count else None,
        "hi": list(seen.hi) if seen.count else None,
        "count": seen.count,
        "products": [
            [[side.first, side.last, side.count] for side in product] for product in seen.products
        ],
    }
    if not seen.exact:
        region |= {"exact": False, "why": seen.why}
    return region
