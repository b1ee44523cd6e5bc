"""A fold report as plain data (docs/json.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldwise.views import saved as written
from fieldwise.views.json import document, entry

if TYPE_CHECKING:
    from fieldwise.folding import FoldReport, Saved


def data(report: FoldReport, *, model: str | None, saved: Saved | None = None) -> dict[str, object]:
    """A report, with an entry per item, and what was written."""
    verified = report.verify
    return document(
        model=model,
        **entry(report, *_COUNTS),
        items=[entry(item, *_ITEM) for item in report.items],
        verify=None if verified is None else entry(verified, *_VERIFIED),
        runtime=None if report.runtime is None else entry(report.runtime, *_RUNTIME),
        warnings=list(report.warnings),
        saved=None if saved is None else written.fields(saved),
    )


_COUNTS = (
    "candidates", "folded", "refused", "exact_possible", "ops_saved", "parameters_saved",
    "zero_biases",
)  # fmt: skip
_ITEM = ("module", "op", "into", "direction", "error", "because")
_RUNTIME = ("max_rel", "passed", "note")
_VERIFIED = ("max_abs", "max_rel", "unfolded_rel", "passed", "compared", "note")
