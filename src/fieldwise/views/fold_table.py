"""A fold report as a table for people: where every affine op went, or why it stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from fieldwise.views.fitting import FittingColumn, FittingTable
from fieldwise.views.names import shortened
from fieldwise.written import counted

if TYPE_CHECKING:
    from fieldwise.folding import FoldReport, RuntimeCheck, Verification


def render(report: FoldReport, *, model: str) -> RenderableType:
    """A report, for a rich console."""
    table = FittingTable(tuple(_columns(report)))
    lines = [Text(line) for line in (*_totals(report), *map(_warning, report.warnings))]
    return Group(Text(model, "bold"), table, *lines)


def _columns(report: FoldReport) -> Iterator[FittingColumn]:
    items = report.items
    yield FittingColumn(report.part, tuple(shortened(item.module) for item in items), "name")
    yield FittingColumn("op", tuple(item.op for item in items), "word")
    yield FittingColumn("folded into", tuple(item.into or "–" for item in items), "name")
    yield FittingColumn("direction", tuple(item.direction or "–" for item in items), "word")
    errors = ("" if item.error is None else f"{item.error:.1e}" for item in items)
    yield FittingColumn("error", tuple(errors))
    if report.refused:
        yield FittingColumn("stays because", tuple(i.because or "" for i in items), "reason")


def _totals(report: FoldReport) -> list[str]:
    parameters = report.parameters_saved - report.zero_biases
    lines = [
        f"{report.folded} of {report.candidates} affine ops and parallel branches folded: "
        f"{_saved(report.ops_saved, parameters)}"
    ]
    if report.zero_biases:
        lines.append(
            f"with these weights {report.zero_biases} more: biases that are 0 and are left out"
        )
    more = report.exact_possible - report.folded
    if more:
        lines.append(f"{more} more in a graph module: --allow-graph")
    found = report.verify
    if found is not None:
        lines.append(_verdict(found, changed=report.folded > 0))
    if report.runtime is not None:
        lines.append(_in_runtime(report.runtime))
    return lines


def _saved(ops: int, parameters: int) -> str:
    """Constants of an Add in a file count as no parameters, and biases that take them do."""
    if parameters < 0:
        return f"{counted(ops, 'op')} fewer and {counted(-parameters, 'parameter')} more"
    return f"{counted(ops, 'op')} and {counted(parameters, 'parameter')} fewer"


def _verdict(found: Verification, *, changed: bool) -> str:
    if found.passed is None:
        remedy = " (--check 0 takes it as it is)" if changed else ""
        return f"not checked: {found.note}{remedy}"
    verdict = "right" if found.passed else "WRONG"
    note = "" if found.note is None else f"; {found.note}"
    return (
        f"{verdict}: relative error {found.max_rel:.1e} "
        f"(unfolded {found.unfolded_rel:.1e}), absolute {found.max_abs:.1e}{note}"
    )


def _in_runtime(found: RuntimeCheck) -> str:
    if found.passed is None:
        return f"not compared with ONNX Runtime: {found.note}"
    if found.note is not None:
        return f"WRONG in ONNX Runtime: {found.note}"
    verdict = "right" if found.passed else "WRONG"
    return f"{verdict} in ONNX Runtime: relative difference {found.max_rel:.1e}"


def _warning(text: str) -> str:
    return f"warning: {text}"
