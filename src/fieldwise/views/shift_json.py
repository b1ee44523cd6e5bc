"""Certificates of translation equivariance as JSON.

    {"model": "…", "input": {"shape": […]},
     "outputs": [{"name", "value", "shape", "axes": [{"axis", "size",
        "circular": {"holds", "period", "step", "conditions"},
        "interior": {"range", "empty", "period", "step"},
        "broken_by": [{"node", "module", "why", "remedy"}, …]}, …]}, …],
     "layers": [as outputs],
     "measured": [{"name", "axis", "shift", "error", "control", "eq_t", "verdict"}, …] or null,
     "repair": {"done", "error", "changes": [{"module", "op", "what"}, …]} or null}

A number that is not finite is null.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldwise.shift import Certificate
    from fieldwise.shift.measurement import Measurement, Moved
    from fieldwise.shift.repair import Repaired


def render(
    outputs: Sequence[Certificate],
    layers: Sequence[Certificate],
    *,
    model: str,
    shape: Sequence[int],
    measurement: Measurement | None = None,
    repaired: Repaired | None = None,
) -> str:
    """The certificates as JSON text, a line per value."""
    from fieldwise.shift.certificate import to_dict

    def lines(certificates: Sequence[Certificate]) -> str:
        return ",\n  ".join(_text(to_dict(certificate)) for certificate in certificates)

    head = {"model": model, "input": {"shape": list(shape)}}
    tail = {"measured": _measured(measurement), "repair": _repair(repaired)}
    return (
        f'{_text(head)[:-1]}, "outputs": [\n  {lines(outputs)}\n], '
        f'"layers": [\n  {lines(layers)}\n], {_text(tail)[1:]}'
    )


def _measured(measurement: Measurement | None) -> list[dict[str, Any]] | None:
    if measurement is None:
        return None
    return [_moved(moved) for moved in (*measurement.outputs, *measurement.layers)]


def _moved(moved: Moved) -> dict[str, Any]:
    return {
        "name": moved.name,
        "axis": moved.axis,
        "shift": float(moved.shift),
        "error": _number(moved.error),
        "control": _number(moved.control),
        "eq_t": _number(moved.eq_t),
        "verdict": moved.verdict,
    }


def _repair(repaired: Repaired | None) -> dict[str, Any] | None:
    if repaired is None:
        return None
    changes = [
        {"module": change.module, "op": change.op, "what": change.what}
        for change in repaired.changes
    ]
    error = _number(repaired.measurement.error)
    return {"done": repaired.done, "error": error, "changes": changes}


def _number(value: float) -> float | None:
    return value if isfinite(value) else None


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
