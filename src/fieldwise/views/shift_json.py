"""Certificates of translation equivariance as JSON.

    {"model": "…", "input": {"name": "…", "shape": […]},
     "outputs": [{"name", "value", "shape", "output", "axes": [{"axis", "size",
        "circular": {"holds", "period", "step", "conditions", "undecided"},
        "interior": {"range", "empty", "carried", "period", "step"},
        "broken_by": [{"node", "module", "why", "remedy", "known"}, …]}, …]}, …],
     "measured": [{"name", "axis", "shift", "error", "control", "eq_t", "verdict", "note"}, …]
        or null,
     "repair": {"done", "error", "eq_t", "eq_t_before", "why_not": […],
                "changes": [{"module", "op", "what"}, …]} or null,
     "contradictions": [where proof and measurement disagree]}

The values that were asked for stand behind the outputs; 'output' tells the two apart.  A range is
[start, stop) of positions, 'carried' those of them that a shift by one period brings to others of
them.  A breaker that is not 'known' is an op that is not supported, or one that may be undone by
what comes after it, and a theorem with no other breakers is 'undecided'.  A note says why there is
no evidence, where that is known.  A number that is not finite is null.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldwise.shift import Certificate
    from fieldwise.shift.measurement.equivariance import Measurement, Moved
    from fieldwise.shift.repair import Repaired


def render(
    outputs: Sequence[Certificate],
    layers: Sequence[Certificate],
    *,
    model: str,
    source: str,
    shape: Sequence[int],
    measurement: Measurement | None = None,
    repaired: Repaired | None = None,
    disagreements: Sequence[str] = (),
) -> str:
    """The certificates as JSON text, a line per value."""
    values = [_value(certificate, output=True) for certificate in outputs]
    values += [_value(certificate, output=False) for certificate in layers]
    head = {"model": model, "input": {"name": source, "shape": list(shape)}}
    tail: dict[str, Any] = {"measured": _measured(measurement), "repair": _repair(repaired)}
    tail["contradictions"] = list(disagreements)
    lines = ",\n  ".join(map(_text, values))
    return f'{_text(head)[:-1]}, "outputs": [\n  {lines}\n], {_text(tail)[1:]}'


def _value(certificate: Certificate, *, output: bool) -> dict[str, Any]:
    from fieldwise.shift.certificate import to_dict

    plain = to_dict(certificate)
    axes = plain.pop("axes")
    return plain | {"output": output, "axes": axes}


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
        "note": moved.note,
    }


def _repair(repaired: Repaired | None) -> dict[str, Any] | None:
    if repaired is None:
        return None
    changes = [
        {"module": change.module, "op": change.op, "what": change.what}
        for change in repaired.changes
    ]
    before = repaired.before
    return {
        "done": repaired.done,
        "error": _number(repaired.measurement.error),
        "eq_t": _number(repaired.measurement.eq_t),
        "eq_t_before": None if before is None else _number(before.eq_t),
        "why_not": list(repaired.why_not),
        "changes": changes,
    }


def _number(value: float) -> float | None:
    return value if isfinite(value) else None


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
