"""A field report as plain data (docs/json.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fieldwise.field.report import AxisField, Piece, Row
from fieldwise.views.json import document, entry, interval

if TYPE_CHECKING:
    from fieldwise.field import FieldReport, UnitField


def data(
    report: FieldReport,
    rows: Sequence[Row],
    *,
    model: str | None,
    units: Mapping[str, UnitField] | None = None,
) -> dict[str, object]:
    """These rows of a report; ``units`` adds what units see, by the names of their rows."""
    layers = [layer(row) | _unit(row, units) for row in rows]
    lost = [{"name": name, "why": why} for name, why in report.not_analysed.items()]
    shape = list(report.input.shape)
    return document(
        model=model,
        input={"shape": shape},
        layers=layers,
        **({"not_analysed": lost} if lost else {}),
    )


def layer(row: Row) -> dict[str, object]:
    """One row.

    >>> from fractions import Fraction
    >>> axis = AxisField(2, 3, 3, Fraction(1, 2), -1, Fraction(0), 2)
    >>> found = layer(Row("conv", "conv", "conv", (1, 4, 8), (axis,)))
    >>> found["extent"], found["stride"], found["why"]
    ([3], ['1/2'], None)
    """
    found = entry(row, "name", "names", "op", "shape") | _numbers(row)
    if any(axis.full_by for axis in row.axes):
        found |= _per_axis(row.axes, "full_by")
    if any(axis.clipped is not None for axis in row.axes):
        found |= _per_axis(row.axes, "clipped")
    if any(len(axis.context) > 1 for axis in row.axes):
        found |= _per_axis(row.axes, "context")
    if row.misaligned is not None:
        found["misaligned"] = row.misaligned
    if row.at_this_size:
        found["at_this_size"] = True
    if row.pieces:
        found["pieces"] = [_piece(piece) for piece in row.pieces]
    return found | _more(row)


def _piece(piece: Piece) -> dict[str, object]:
    units = [[interval(run) for run in side.runs()] for side in piece.units]
    return {"units": units, **_numbers(piece), **_more(piece)}


def _numbers(found: Row | Piece) -> dict[str, object]:
    """What a row and a piece say in any case."""
    per_axis = _per_axis(found.axes, *_LOCAL, "full")
    return per_axis | entry(found, "products", "exact", "why")


def _more(found: Row | Piece) -> dict[str, object]:
    """What a row and a piece say only where there is something to say."""
    more: dict[str, object] = {}
    if any(axis.least is not None for axis in found.axes):
        more |= _per_axis(found.axes, "least")
    if any(axis.past or axis.future for axis in found.axes):
        more |= _per_axis(found.axes, "past", "future", "look_ahead")
    if found.of_unit is not None:
        more |= entry(found, "of_unit")
    if found.local is not None:
        more["local"] = _per_axis(found.local, *_LOCAL)
    return more


def _per_axis(axes: Sequence[AxisField], *names: str) -> dict[str, object]:
    """Per name, the numbers of all axes."""
    entries = [entry(axis, *names) for axis in axes]
    return {name: [one[name] for one in entries] for name in names}


def _unit(row: Row, units: Mapping[str, UnitField] | None) -> dict[str, object]:
    if units is None:
        return {}
    found = units.get(row.name)
    if found is None:
        return {"unit": None, "region": None}
    return {"unit": list(found.unit), "region": _region(found)}


def _region(seen: UnitField) -> dict[str, object]:
    region: dict[str, object] = {
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


_LOCAL = ("extent", "count", "stride", "start", "centre", "period")
