"""A field report as CSV: one line per layer, columns per axis named after the input dimension.

``extent_2`` is the extent along dimension 2 of the input.  A cell is empty where there is no
such number (a full axis); fractions are written p/q.  Where the units of a layer are of several
kinds, a line for each follows that of the layer, under the same name: ``units`` says which.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fieldwise.field.report import AxisField, Piece, Row
from fieldwise.views.table import spelled

if TYPE_CHECKING:
    from fieldwise.field import UnitField

_PER_AXIS = ("extent", "count", "stride", "start", "centre", "period", "full", "full_by", "clipped")


def render(rows: Sequence[Row], *, units: Mapping[str, UnitField] | None = None) -> str:
    """These rows of a report as CSV text; ``units`` adds what single units see."""
    lines = records(rows, units=units)
    columns = dict.fromkeys(column for line in lines for column in line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().rstrip("\n")


def records(
    rows: Sequence[Row], *, units: Mapping[str, UnitField] | None = None
) -> list[dict[str, object]]:
    """The lines as records; one per row, and one per kind of its units."""
    return [line for row in rows for line in (_line(row, units), *_pieces(row))]


def _line(row: Row, units: Mapping[str, UnitField] | None) -> dict[str, object]:
    line: dict[str, object] = {
        "name": row.name,
        "op": row.op,
        "shape": "x".join(map(str, row.shape)),
    }
    for axis in row.axes:
        line |= _axis(axis, "")
    line |= {
        "products": row.products,
        "exact": _text(row.exact),
        "why": row.why,
        "misaligned": row.misaligned,
        "at_this_size": _text(row.at_this_size),
    }
    for axis in row.local or ():
        line |= _axis(axis, "local_")
    return line | _of_unit(row) | _unit(row, units)


def _pieces(row: Row) -> Iterator[dict[str, object]]:
    """A line per kind of units."""
    for piece in row.pieces:
        line: dict[str, object] = {"name": row.name, "units": spelled(piece.units)}
        for axis in piece.axes:
            line |= _axis(axis, "")
        line |= {"products": piece.products, "exact": _text(piece.exact), "why": piece.why}
        for axis in piece.local or ():
            line |= _axis(axis, "local_")
        yield line | _of_unit(piece)


def _of_unit(found: Row | Piece) -> dict[str, object]:
    return {} if found.of_unit is None else {"of_unit": "x".join(map(str, found.of_unit))}


def _axis(axis: AxisField, prefix: str) -> dict[str, object]:
    line = {f"{prefix}{name}_{axis.axis}": _text(getattr(axis, name)) for name in _PER_AXIS}
    if axis.least is not None:
        line[f"{prefix}least_{axis.axis}"] = axis.least
    if axis.past or axis.future:
        more = {name: _text(getattr(axis, name)) for name in ("past", "future", "look_ahead")}
        line |= {f"{prefix}{name}_{axis.axis}": text for name, text in more.items()}
    return line


def _unit(row: Row, units: Mapping[str, UnitField] | None) -> dict[str, object]:
    found = (units or {}).get(row.name)
    if found is None:
        return {}
    line: dict[str, object] = {
        "unit": "x".join(map(str, found.unit)),
        "region_count": found.count,
    }
    if found.count:
        for axis, lo, hi in zip(row.axes, found.lo, found.hi, strict=True):
            line |= {f"lo_{axis.axis}": lo, f"hi_{axis.axis}": hi}
    return line


def _text(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
