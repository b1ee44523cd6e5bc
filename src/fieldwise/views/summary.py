"""A network at a glance, and two of them side by side, as tables and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from fieldwise.see.comparison import halo
from fieldwise.views.fitting import FittingColumn, FittingTable
from fieldwise.views.json import document, number

if TYPE_CHECKING:
    from fieldwise.field.report import AxisField, Row
    from fieldwise.see.comparison import LayerPair, NetworkComparison
    from fieldwise.see.module_summary import ModuleRow, ModuleSummary


# -------------------------------------------------------------------- a summary


def render(found: ModuleSummary) -> RenderableType:
    """A row per module, indented by depth; in total below."""
    rows = found.rows
    columns = (
        FittingColumn("layer", tuple(_tree_names(rows)), "name"),
        FittingColumn("shape", tuple(_shape(row) for row in rows)),
        FittingColumn("params", tuple(_amount(row.parameters) for row in rows)),
        FittingColumn("MACs", tuple(_amount(row.macs) for row in rows)),
        *_field_columns([row.field for row in rows]),
        FittingColumn("kind", tuple(row.kind for row in rows), "note"),
    )
    shape = "x".join(map(str, found.report.input.shape))
    title = f"{found.model or rows[0].kind}, {found.report.input.name} {shape}"
    total = f"{found.parameters:,} parameters, {found.macs:,} multiplications per run"
    return Group(Text(title, "bold"), FittingTable(columns), Text(total))


def _tree_names(rows: Sequence[ModuleRow]) -> Iterator[str]:
    """Each module's name in the one that it lies in (names of an ONNX file may hold dots)."""
    within = [""] * (1 + max(row.depth for row in rows))
    for row in rows:
        within[row.depth] = row.name
        around = within[row.depth - 1] if row.depth > 1 else ""
        own = row.name.removeprefix(f"{around}.") if around else row.name
        yield "  " * row.depth + (own or "(the model)")


def _amount(count: int) -> str:
    """A count in three digits.

    >>> [_amount(count) for count in (0, 64, 9408, 23508032, 4089184256)]
    ['', '64', '9.41k', '23.5M', '4.09G']
    """
    if count < 1000:
        return str(count) if count else ""
    for unit in "kMGT":
        count_in = count / 1000 ** ("kMGT".index(unit) + 1)
        if count_in < 999.5:
            return f"{count_in:.3g}{unit}"
    return f"{count:.3g}"


def _shape(row: ModuleRow) -> str:
    """Of what was returned first, and how many others there are."""
    if row.shape is None:
        return ""
    first = "x".join(map(str, row.shape))
    return f"{first} +{len(row.others)}" if row.others else first


def _field_columns(rows: Sequence[Row | None]) -> Iterator[FittingColumn]:
    for title, said in (
        ("extent", _extent), ("stride", _stride), ("start", _start), ("ahead", _ahead),
    ):  # fmt: skip
        cells = ("" if row is None else _joined([said(axis) for axis in row.axes]) for row in rows)
        yield FittingColumn(title, tuple(cells))


def _joined(said: Sequence[str]) -> str:
    return said[0] if len(set(said)) == 1 else "x".join(one or "?" for one in said)


def _extent(axis: AxisField) -> str:
    if axis.full or axis.past or axis.future:
        return "all"
    return "" if axis.extent is None else str(axis.extent)


def _stride(axis: AxisField) -> str:
    return "" if axis.stride is None else str(axis.stride)


def _start(axis: AxisField) -> str:
    return "" if axis.start is None else str(axis.start)


def _ahead(axis: AxisField) -> str:
    return "" if axis.look_ahead is None else str(axis.look_ahead)


def data(found: ModuleSummary) -> dict[str, object]:
    """A summary as plain data."""
    return document(
        model=found.model,
        input={"shape": list(found.report.input.shape)},
        parameters=found.parameters,
        macs=found.macs,
        modules=[
            {
                "name": row.name,
                "kind": row.kind,
                "depth": row.depth,
                "parameters": row.parameters,
                "macs": row.macs,
                "shape": None if row.shape is None else list(row.shape),
                "others": [list(shape) for shape in row.others],
                "field": _field(row.field),
            }
            for row in found.rows
        ],
    )


# -------------------------------------------------------------------- a comparison


def render_comparison(found: NetworkComparison) -> RenderableType:
    """The layers that differ, one line each: what it was, what it is."""
    pairs = [pair for pair in found.rows if pair.differs]
    columns = [FittingColumn("layer", tuple(pair.name for pair in pairs), "name")]
    for title, said in (
        ("extent", _extent), ("stride", _stride), ("start", _start), ("halo", _halo),
    ):  # fmt: skip
        columns.append(FittingColumn(title, tuple(_both(pair, said) for pair in pairs)))
    columns.append(FittingColumn("notes", tuple(_note(pair, found) for pair in pairs), "note"))
    same = len(found.rows) - len(pairs)
    alike = "1 layer sees the same" if same == 1 else f"{same} layers see the same"
    title = f"{found.names[0]} → {found.names[1]}"
    same_outputs = "the outputs see the same, with the same halo"
    verdict = "the outputs' fields differ" if found.outputs_differ else same_outputs
    parts: list[RenderableType] = [Text(title, "bold")]
    if pairs:
        parts.append(FittingTable(tuple(columns)))
    return Group(*parts, Text(f"{alike}; {verdict}"))


def _both(pair: LayerPair, said: object) -> str:
    assert callable(said)
    sides = [
        "–" if row is None else _joined([said(axis) for axis in row.axes])
        for row in (pair.one, pair.two)
    ]
    return sides[0] if sides[0] == sides[1] else f"{sides[0]} → {sides[1]}"


def _halo(axis: AxisField) -> str:
    sides = halo(axis)
    return "" if sides == (None, None) else "+".join("∞" if s is None else str(s) for s in sides)


def _note(pair: LayerPair, found: NetworkComparison) -> str:
    if pair.one is None or pair.two is None:
        return f"only in {found.names[0 if pair.two is None else 1]}"
    return "" if "exact" not in pair.changed else "exact in one of them alone"


def comparison(found: NetworkComparison) -> dict[str, object]:
    """A comparison as plain data."""
    return document(
        models=list(found.names),
        differs=found.differs,
        outputs_differ=found.outputs_differ,
        outputs=[_pair(pair) for pair in found.outputs],
        layers=[_pair(pair) for pair in found.rows],
    )


def _pair(pair: LayerPair) -> dict[str, object]:
    return {
        "name": pair.name,
        "differs": pair.differs,
        "changed": list(pair.changed),
        "one": _field(pair.one),
        "two": _field(pair.two),
    }


def _field(row: Row | None) -> dict[str, object] | None:
    """A field in short; ``fieldwise field --format json`` has all of it."""
    if row is None:
        return None
    return {
        "shape": list(row.shape),
        "extent": list(row.extent),
        "count": list(row.count),
        "stride": [number(axis.stride) for axis in row.axes],
        "start": list(row.start),
        "halo": [[number(side) for side in halo(axis)] for axis in row.axes],
        "exact": row.exact,
    }
