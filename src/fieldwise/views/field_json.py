"""A field report as plain data (docs/json.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fieldwise.field.report import AxisField, Piece, Row
from fieldwise.views.json import document, interval, number

if TYPE_CHECKING:
    from fieldwise.field import FieldReport, UnitField


def data(
    report: FieldReport,
    rows: Sequence[Row],
    *,
    model: str | None,
    units: Mapping[str, UnitField] | None = None,
) -> dict[str, Any]:
    """These rows of a report; ``units`` adds what units see, by the names of their rows."""
    layers = [layer(row) | _unit(row, units) for row in rows]
    return document(model=model, input={"shape": list(report.input.shape)}, layers=layers)


def layer(row: Row) -> dict[str, Any]:
    """One row.

    >>> from fractions import Fraction
    >>> axis = AxisField(2, 3, 3, Fraction(1, 2), -1, Fraction(0), 2)
    >>> entry = layer(Row("conv", "conv", "conv", (1, 4, 8), (axis,)))
    >>> entry["extent"], entry["stride"], entry["why"]
    ([3], ['1/2'], None)
    """
    entry: dict[str, Any] = {
        "name": row.name,
        "names": list(row.names),
        "op": row.op,
        "shape": list(row.shape),
        **_axes(row.axes),
        "full": [axis.full for axis in row.axes],
        "products": row.products,
        "exact": row.exact,
        "why": row.why,
    }
    if any(axis.full_by for axis in row.axes):
        entry["full_by"] = [axis.full_by for axis in row.axes]
    if any(axis.clipped is not None for axis in row.axes):
        entry["clipped"] = [axis.clipped for axis in row.axes]
    if any(len(axis.context) > 1 for axis in row.axes):
        entry["context"] = [
            [[number(left), number(right)] for left, right in axis.context] for axis in row.axes
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
        "units": [[interval(run) for run in side.runs()] for side in piece.units],
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
        "stride": [number(axis.stride) for axis in axes],
        "start": [axis.start for axis in axes],
        "centre": [number(axis.centre) for axis in axes],
        "period": [axis.period for axis in axes],
    }


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
