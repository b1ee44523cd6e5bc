"""The table of every report as a whole: all of its rows, under a title of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from fieldwise.views import fold_table, shift_table, table

if TYPE_CHECKING:
    from fieldwise.field import FieldReport, Row
    from fieldwise.folding import FoldReport
    from fieldwise.shift import Certificate, Certificates, Measurement, Repaired


def shown(report: FieldReport) -> list[Row]:
    """All rows but the one whose samples are counted, which stands there only if it is returned."""
    counted, outputs = report.input.name, report.graph.outputs
    return [row for row in report.rows if row.name != counted or counted in outputs]


def field_report(report: FieldReport) -> RenderableType:
    """A field report: one row per layer."""
    return table.render(report, shown(report), model=report.model or "receptive fields")


def fold_report(report: FoldReport) -> RenderableType:
    """A fold report: one row per affine op."""
    return fold_table.render(report, model="folds")


def certificates(found: Certificates) -> RenderableType:
    """Certificates of translation equivariance: a row per value and axis, outputs first."""
    rank = len(found.graph.shape(found.input))
    return shift_table.render(found.outputs, found.layers, model="certificates", rank=rank)


def certificate(found: Certificate) -> RenderableType:
    """The certificate of one value: a row per axis, under its number."""
    return shift_table.render([found], (), model=found.name, rank=0)


def measurement(found: Measurement) -> RenderableType:
    """What was measured: a row per value and axis, under its number."""
    return Group(*shift_table.measured(found, rank=0))


def repaired(found: Repaired) -> RenderableType:
    """What was changed, a line each, and whether that is a repair."""
    return Group(*map(Text, shift_table.repairs(found)))
