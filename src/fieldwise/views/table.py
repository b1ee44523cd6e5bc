"""A field report as a table for people.

Numbers of axes that differ are joined by 'x' (1183x1311), equal ones are written once; 'all'
marks a full axis.  Where the units of a value are of several kinds, its extents are a range and a
line for each kind follows.  Columns without news are left out; what makes a row inexact is a
footnote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from rich.console import Group, RenderableType
from rich.text import Text

from fieldwise.axes import IndexSet
from fieldwise.field.report import AxisField, Piece, Row
from fieldwise.graph.spatial import usual_axes
from fieldwise.views.fitting import FittingColumn, FittingTable
from fieldwise.views.names import shortened
from fieldwise.written import counted

if TYPE_CHECKING:
    from fieldwise.field import FieldReport, UnitField


@dataclass(frozen=True, slots=True)
class _Column:
    """What a column says of a row ('' says nothing), of the kinds of its units too or not."""

    title: str
    role: Literal["name", "word", "number", "reason"]
    cell: Callable[[Row], str]
    brief: Callable[[Row], str] | None = None
    of_kinds: bool = True
    keeps: bool = False

    def over(self, lines: Sequence[Row | Piece | str]) -> FittingColumn:
        """The column for these lines: rows, kinds of units, and words in the place of a name."""
        brief = None if self.brief is None else tuple(self._cell(self.brief, e) for e in lines)
        cells = tuple(self._cell(self.cell, each) for each in lines)
        return FittingColumn(self.title, cells, self.role, self.keeps, brief)

    def _cell(self, said: Callable[[Row], str], line: Row | Piece | str) -> str:
        if isinstance(line, str):
            return line if self.role == "name" else ""
        if isinstance(line, Piece):
            return said(_as_row(line)) if self.of_kinds else ""
        return said(line)


def render(
    report: FieldReport,
    rows: Sequence[Row],
    *,
    model: str,
    units: Mapping[str, UnitField] | None = None,
) -> RenderableType:
    """These rows of a report, for a rich console; ``units`` adds what single units see."""
    every = [line for row in rows for line in (row, *map(_as_row, row.pieces))]
    reasons = list(dict.fromkeys(row.why or "unknown" for row in every if not row.exact))
    columns = _columns(units, reasons)
    lines = [line for row in rows for line in _lines(row)]
    table = FittingTable(tuple(column.over(lines) for column in columns))
    shape = "x".join(map(str, report.input.shape))
    footnotes = [Text(f"[{number}] {why}") for number, why in enumerate(reasons, 1)]
    footnotes += map(Text, not_analysed(report.not_analysed))
    along = "" if report.axes == usual_axes(len(report.input.shape)) else _along(report.axes)
    return Group(Text(f"{model}, {report.input.name} {shape}{along}", "bold"), table, *footnotes)


def _along(axes: Sequence[int]) -> str:
    """Which axes are reported, where that is not what everyone expects."""
    *first, last = map(str, axes)
    return f" along axes {', '.join(first)} and {last}" if first else f" along axis {last}"


def not_analysed(lost: Mapping[str, str]) -> Iterator[str]:
    """A line per reason why values of a model stand in no row.

    >>> why = "its size depends on the data"
    >>> print(*not_analysed({"boxes": why, "kept": why}))
    not analysed: its size depends on the data: boxes, kept
    """
    by_reason: dict[str, list[str]] = {}
    for name, why in lost.items():
        by_reason.setdefault(why, []).append(shortened(name))
    for why, names in by_reason.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"not analysed: {why}: {', '.join(names[:_SHOWN])}{more}"


_SHOWN = 12
"""So many kinds of units have a line of their own; JSON and CSV name them all."""


def _as_row(piece: Piece) -> Row:
    """The line of one kind of units, in the words of a row."""
    return Row(
        name=f"  positions {spelled(piece.units)}",
        op="",
        module="",
        shape=(),
        axes=piece.axes,
        products=piece.products,
        exact=piece.exact,
        why=piece.why,
        local=piece.local,
        of_unit=piece.of_unit,
    )


def _lines(row: Row) -> Iterator[Row | Piece | str]:
    """A row, and the kinds of its units."""
    yield row
    yield from row.pieces[:_SHOWN]
    if len(row.pieces) > _SHOWN:
        more = counted(len(row.pieces) - _SHOWN, "more kind", "more kinds")
        yield f"  and {more} of positions"


def spelled(units: Sequence[IndexSet]) -> str:
    """Some units: their indices per dimension.

    >>> spelled((IndexSet.of([0, 1, 2, 7]), IndexSet.of([4])))
    '0..2,7 x 4'
    """
    return " x ".join(
        ",".join(str(lo) if hi == lo + 1 else f"{lo}..{hi - 1}" for lo, hi in side.runs())
        for side in units
    )


def _columns(units: Mapping[str, UnitField] | None, reasons: Sequence[str]) -> list[_Column]:
    columns = [
        _Column("layer", "name", lambda row: shortened(row.name)),
        _Column("op", "word", lambda row: row.op),
        _Column("shape", "number", lambda row: "x".join(map(str, row.shape))),
        _Column("extent", "number", lambda row: ("" if row.exact else "≤") + _extent(row.axes)),
        _Column("clipped", "number", lambda row: _clipped(row.axes)),
        _Column("count", "number", lambda row: _count(row.axes)),
        _Column("stride", "number", lambda row: _joined(axis.stride for axis in row.axes)),
        _Column("start", "number", lambda row: _joined(axis.start for axis in row.axes)),
        _Column("look-ahead", "number", lambda row: _look_ahead(row.axes)),
        _Column("rectangles", "number", lambda row: str(row.products) if row.products > 1 else ""),
        _Column("local extent", "number", lambda row: _extent(_local(row)), keeps=True),
        _Column(
            "local stride", "number", lambda row: _joined(a.stride for a in _local(row)), keeps=True
        ),
        _Column(
            "local start", "number", lambda row: _joined(a.start for a in _local(row)), keeps=True
        ),
    ]
    if units is not None:
        asked: tuple[tuple[str, Callable[[Row], str]], ...] = (
            ("position", lambda row: _unit(row, units)),
            ("sees", lambda row: _sees(row, units)),
            ("samples", lambda row: _samples(row, units)),
        )
        columns += [
            _Column(title, "number", cell, of_kinds=False, keeps=True) for title, cell in asked
        ]
    notes = _Column(
        "notes",
        "reason",
        lambda row: "; ".join([*_notes(row, reasons), *_aliases(row)]),
        brief=lambda row: "; ".join(_notes(row, reasons)),
    )
    return [*columns, notes]


def _local(row: Row) -> Sequence[AxisField]:
    """The field through the local paths, only where something global hides it."""
    return row.local if row.local and any(axis.full for axis in row.axes) else ()


def _extent(axes: Sequence[AxisField]) -> str:
    return _joined(_range(axis) for axis in axes)


def _range(axis: AxisField) -> int | str | None:
    """The extent, from the least to the largest where units differ."""
    largest: int | str | None = "all" if axis.full else axis.extent
    if axis.past or axis.future:
        largest = "all of the past" if axis.past else "all of the future"
    return largest if axis.least is None else f"{axis.least}..{largest}"


def _look_ahead(axes: Sequence[AxisField]) -> str:
    """Only where a field has no beginning: what is left to say of its extent."""
    if not any(axis.past for axis in axes):
        return ""
    return _joined(axis.look_ahead for axis in axes)


def _clipped(axes: Sequence[AxisField]) -> str:
    """Only where the input is too small to hold the extent."""
    if all(axis.clipped is None or axis.clipped == axis.extent or axis.past for axis in axes):
        return ""
    return _joined(axis.clipped for axis in axes)


def _count(axes: Sequence[AxisField]) -> str:
    """Only where it differs from the extent: the field has holes."""
    if all(axis.count == axis.extent for axis in axes):
        return ""
    return _joined("all" if axis.full else axis.count for axis in axes)


def _joined(values: Iterable[Fraction | int | str | None]) -> str:
    """Per-axis numbers in one cell.

    >>> _joined([427, 427]), _joined([3, 5]), _joined([Fraction(1, 2), None])
    ('427', '3x5', '1/2x–')
    """
    texts = ["–" if value is None else str(value) for value in values]
    return "x".join(texts if len(set(texts)) > 1 else texts[:1])


def _unit(row: Row, units: Mapping[str, UnitField]) -> str:
    return ",".join(map(str, units[row.name].unit)) if row.name in units else "–"


def _sees(row: Row, units: Mapping[str, UnitField]) -> str:
    if row.name not in units:
        return "–"
    seen = units[row.name]
    if not seen.count:
        return "nothing"
    return " x ".join(f"{lo}..{hi}" for lo, hi in zip(seen.lo, seen.hi, strict=True))


def _samples(row: Row, units: Mapping[str, UnitField]) -> str:
    """How many it sees; an upper bound is marked."""
    if row.name not in units:
        return "–"
    seen = units[row.name]
    return f"{'' if seen.exact else '≤'}{seen.count}"


def _notes(row: Row, reasons: Sequence[str]) -> list[str]:
    makers = dict.fromkeys(axis.full_by for axis in row.axes if axis.full_by)
    notes = [f"all because of {shortened(maker)}" for maker in makers]
    if row.misaligned is not None:
        notes.append(f"misaligned at {row.misaligned}")
    if row.pieces:
        notes.append(f"{len(row.pieces)} kinds of positions")
    if row.of_unit is not None:
        notes.append(f"of position {','.join(map(str, row.of_unit))} alone")
    if row.at_this_size:
        notes.append("at this input size")
    if not row.exact:
        notes.append(f"inexact [{reasons.index(row.why or 'unknown') + 1}]")
    return notes


def _aliases(row: Row) -> list[str]:
    """The other names of its value, which may go where room is short."""
    aliases = [alias for alias in row.aliases if alias != row.name]
    return [f"also {', '.join(map(shortened, aliases))}"] if aliases else []
