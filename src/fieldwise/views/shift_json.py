"""Certificates, measurements and repairs as plain data (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fieldwise.views.json import document, entry, interval, number

if TYPE_CHECKING:
    from fieldwise.shift import AxisCertificate, Certificate, Measurement, Repaired


def data(
    outputs: Sequence[Certificate],
    layers: Sequence[Certificate],
    *,
    model: str | None,
    source: str,
    shape: Sequence[int],
    measurement: Measurement | None = None,
    repaired: Repaired | None = None,
    disagreements: Sequence[str] = (),
) -> dict[str, object]:
    """The certificates, with an entry per value, the outputs first."""
    return document(
        model=model,
        input={"name": source, "shape": list(shape)},
        outputs=[
            *(value(certificate, output=True) for certificate in outputs),
            *(value(certificate, output=False) for certificate in layers),
        ],
        measured=_measured(measurement),
        repair=None if repaired is None else repair(repaired),
        contradictions=list(disagreements),
    )


def measured(found: Measurement) -> dict[str, object]:
    """A measurement by itself, with an entry per value and axis."""
    about = ("verdict", "error", "eq_t", "randomised", "up_to_roll", "tolerance", "seed")
    return document(**entry(found, *about), measured=_measured(found))


def value(certificate: Certificate, *, output: bool) -> dict[str, Any]:
    """The certificate of one value."""
    return {
        **entry(certificate, "name", "names", "value", "shape"),
        "output": output,
        "axes": [_axis(axis) for axis in certificate.axes],
    }


def _axis(axis: AxisCertificate) -> dict[str, object]:
    interior = axis.interior
    return {
        **entry(axis, "axis", "size"),
        "circular": entry(axis.circular, "holds", "period", "step", "conditions", "undecided"),
        "interior": {
            "range": interval(interior.range),
            "empty": interior.empty,
            "carried": interval(interior.carried),
            **entry(interior, "period", "step"),
        },
        "broken_by": [
            entry(breaker, "node", "module", "why", "remedy", "known") for breaker in axis.broken_by
        ],
    }


def _measured(measurement: Measurement | None) -> list[dict[str, object]] | None:
    if measurement is None:
        return None
    return [entry(moved, *_MOVED) for moved in (*measurement.outputs, *measurement.layers)]


def repair(repaired: Repaired) -> dict[str, object]:
    """What a repair did, and whether it succeeded."""
    before = repaired.before
    return {
        "done": repaired.done,
        **entry(repaired.measurement, "error", "eq_t"),
        "eq_t_before": None if before is None else number(before.eq_t),
        "why_not": list(repaired.why_not),
        "changes": [entry(change, "module", "op", "what") for change in repaired.changes],
    }


_MOVED = ("name", "axis", "shift", "error", "control", "eq_t", "verdict", "note")
