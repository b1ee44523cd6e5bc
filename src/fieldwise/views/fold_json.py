"""A fold report as JSON.

    {"candidates": n, "folded": n, "refused": n, "exact_possible": n,
     "ops_saved": n, "parameters_saved": n,
     "items": [{"module", "op", "into", "direction", "error", "because"}, …],
     "verify": {"max_abs", "max_rel", "unfolded_rel", "passed", "compared", "note"} or null,
     "warnings": ["…"]}

``because`` is null for an op that was folded, ``into`` and ``direction`` are null for one that
stays.  A number that is not finite is null; so is ``passed`` where nothing could be compared.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldwise.folding import FoldReport, Item


def render(report: FoldReport, *, model: str) -> str:
    """A report as JSON text, a line per item."""
    head = {
        "model": model,
        "candidates": report.candidates,
        "folded": report.folded,
        "refused": report.refused,
        "exact_possible": report.exact_possible,
        "ops_saved": report.ops_saved,
        "parameters_saved": report.parameters_saved,
    }
    tail = {"verify": _verify(report), "warnings": list(report.warnings)}
    items = ",\n  ".join(_text(_item(item)) for item in report.items)
    return f'{_text(head)[:-1]}, "items": [\n  {items}\n], {_text(tail)[1:]}'


def _item(item: Item) -> dict[str, Any]:
    return {
        "module": item.module,
        "op": item.op,
        "into": item.into,
        "direction": item.direction,
        "error": _number(item.error),
        "because": item.because,
    }


def _verify(report: FoldReport) -> dict[str, Any] | None:
    if report.verify is None:
        return None
    return {
        "max_abs": _number(report.verify.max_abs),
        "max_rel": _number(report.verify.max_rel),
        "unfolded_rel": _number(report.verify.unfolded_rel),
        "passed": report.verify.passed,
        "compared": report.verify.compared,
        "note": report.verify.note,
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
