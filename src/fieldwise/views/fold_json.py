"""A fold report as plain data (docs/json.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fieldwise.views.json import document, number

if TYPE_CHECKING:
    from fieldwise.folding import FoldReport, Item


def data(report: FoldReport, *, model: str | None) -> dict[str, Any]:
    """A report, with an entry per item."""
    return document(
        model=model,
        candidates=report.candidates,
        folded=report.folded,
        refused=report.refused,
        exact_possible=report.exact_possible,
        ops_saved=report.ops_saved,
        parameters_saved=report.parameters_saved,
        items=[_item(item) for item in report.items],
        verify=_verify(report),
        warnings=list(report.warnings),
    )


def _item(item: Item) -> dict[str, Any]:
    return {
        "module": item.module,
        "op": item.op,
        "into": item.into,
        "direction": item.direction,
        "error": number(item.error),
        "because": item.because,
    }


def _verify(report: FoldReport) -> dict[str, Any] | None:
    if report.verify is None:
        return None
    return {
        "max_abs": number(report.verify.max_abs),
        "max_rel": number(report.verify.max_rel),
        "unfolded_rel": number(report.verify.unfolded_rel),
        "passed": report.verify.passed,
        "compared": report.verify.compared,
        "note": report.verify.note,
    }
