"""Every report shown in every way: as the table that the command prints, as HTML, as plain data.

A type is named, not imported: reports of rooms that are not used cost nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType

from fieldwise.views import (
    csv,
    effective,
    field_json,
    fold_json,
    latency,
    saved,
    shift_json,
    summary,
    tables,
    tile,
    tile_json,
)
from fieldwise.views import html as markup
from fieldwise.views import json as writer
from fieldwise.views.json import document

if TYPE_CHECKING:
    from fieldwise.field import FieldReport
    from fieldwise.shift import Certificate, Certificates, Repaired
    from fieldwise.tile import Checked

_WIDTH = 10_000


@dataclass(frozen=True, slots=True)
class ReportView:
    """How a type of reports is shown.

    table: for a rich console; None for one that is shown line by line
    data:  plain data
    entry: the field of the data that has an entry per row
    flat:  the rows as flat records; by default the entries, with 'outer.inner' for what is nested
    lines: what is shown where there is no table; by default as the report says itself
    """

    data: Callable[[Any], dict[str, Any]]
    entry: str
    table: Callable[[Any], RenderableType] | None = None
    flat: Callable[[Any], list[dict[str, object]]] | None = None
    lines: Callable[[Any], str] = str


def text(report: object) -> str:
    """The table as text, unbroken however wide it is, or the lines."""
    view = _view(report)
    if view.table is None:
        return view.lines(report)
    page = io.StringIO()
    Console(file=page, width=_WIDTH, soft_wrap=True).print(view.table(report))
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def html(report: object) -> str:
    """The table or the lines as HTML."""
    view = _view(report)
    if view.table is None:
        return markup.lines(view.lines(report))
    return markup.to_html(view.table(report))


def data(report: object) -> dict[str, object]:
    """The report as plain data."""
    return _view(report).data(report)


def json(report: object) -> str:
    """The data as JSON text."""
    return writer.text(data(report))


def records(report: object) -> list[dict[str, object]]:
    """The rows as flat records."""
    view = _view(report)
    if view.flat is not None:
        return view.flat(report)
    return [dict(_flattened(entry, "")) for entry in view.data(report)[view.entry]]


def _view(report: object) -> ReportView:
    return VIEWS[type(report).__name__]


def _flattened(entry: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# -------------------------------------------------------------------- of each type


def _field_data(report: FieldReport) -> dict[str, object]:
    return field_json.data(report, tables.shown(report), model=report.model)


def _field_records(report: FieldReport) -> list[dict[str, object]]:
    return csv.records(tables.shown(report))


def _certificates_data(found: Certificates) -> dict[str, object]:
    shape = found.graph.shape(found.input)
    return shift_json.data(found.outputs, found.layers, model=None, source=found.input, shape=shape)


def _records_of_axes(found: Certificates) -> list[dict[str, object]]:
    """A record per value and axis."""
    return [record for one in found.rows for record in _axis_records(one)]


def _axis_records(found: Certificate) -> list[dict[str, object]]:
    axes = shift_json.value(found, output=False)["axes"]
    return [{"name": found.name, **dict(_flattened(axis, ""))} for axis in axes]


def _certificate_data(found: Certificate) -> dict[str, object]:
    entry = shift_json.value(found, output=False)
    del entry["output"]
    return document(**entry)


def _repair_data(found: Repaired) -> dict[str, object]:
    return document(**shift_json.repair(found))


def _fault_records(found: Checked) -> list[dict[str, object]]:
    return [{"fault": fault} for fault in found.faults]


VIEWS = {
    "FieldReport": ReportView(_field_data, "layers", tables.field_report, _field_records),
    "FoldReport": ReportView(partial(fold_json.data, model=None), "items", tables.fold_report),
    "Saved": ReportView(saved.data, "files", lines=saved.text),
    "Certificates": ReportView(
        _certificates_data, "outputs", tables.certificates, _records_of_axes
    ),
    "Certificate": ReportView(_certificate_data, "axes", tables.certificate, _axis_records),
    "Measurement": ReportView(shift_json.measured, "measured", tables.measurement),
    "Repaired": ReportView(_repair_data, "changes", tables.repaired),
    "TilePlan": ReportView(tile_json.tile_plan, "tiles"),
    "StreamPlan": ReportView(tile_json.stream_plan, "kept"),
    "RunCertificate": ReportView(tile_json.run_certificate, "outputs"),
    "JobPlan": ReportView(tile_json.job_plan, "pieces", lines=tile.job_plan),
    "JobReport": ReportView(tile_json.job, "pieces", lines=tile.job),
    "LatencyReport": ReportView(latency.data, "outputs", latency.render),
    "ModuleSummary": ReportView(summary.data, "modules", summary.render),
    "NetworkComparison": ReportView(summary.comparison, "layers", summary.render_comparison),
    "EffectiveField": ReportView(effective.data, "shares", effective.render),
    "Checked": ReportView(tile_json.checked, "faults", flat=_fault_records),
    "ManyReport": ReportView(tile_json.many, "files"),
}
