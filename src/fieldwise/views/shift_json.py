"""Certificates, measurements and repairs as plain data (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fieldwise.views.json import document, interval, number

if TYPE_CHECKING:
    from fieldwise.shift import AxisCertificate, Certificate, Measurement, Moved, Repaired


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
) -> dict[str, Any]:
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


def measured(found: Measurement) -> dict[str, Any]:
    """A measurement by itself, with an entry per value and axis."""
    return document(
        verdict=found.verdict,
        error=number(found.error),
        eq_t=number(found.eq_t),
        randomised=found.randomised,
        up_to_roll=found.up_to_roll,
        tolerance=found.tolerance,
        seed=found.seed,
        measured=_measured(found),
    )


def value(certificate: Certificate, *, output: bool) -> dict[str, Any]:
    """The certificate of one value."""
    return {
        "name": certificate.name,
        "names": list(certificate.names),
        "value": certificate.value,
        "shape": list(certificate.shape),
        "output": output,
        "axes": [_axis_dict(axis) for axis in certificate.axes],
    }


def _axis_dict(axis: AxisCertificate) -> dict[str, Any]:
    circular, interior = axis.circular, axis.interior
    return {
        "axis": axis.axis,
        "size": axis.size,
        "circular": {
            "holds": circular.holds,
            "period": circular.period,
            "step": circular.step,
            "conditions": list(circular.conditions),
            "undecided": circular.undecided,
        },
        "interior": {
            "range": interval(interior.range),
            "empty": interior.empty,
            "carried": interval(interior.carried),
            "period": interior.period,
            "step": interior.step,
        },
        "broken_by": [
            {
                "node": b.node,
                "module": b.module,
                "why": b.why,
                "remedy": b.remedy,
                "known": b.known,
            }
            for b in axis.broken_by
        ],
    }


def _measured(measurement: Measurement | None) -> list[dict[str, Any]] | None:
    if measurement is None:
        return None
    return [_moved(moved) for moved in (*measurement.outputs, *measurement.layers)]


def _moved(moved: Moved) -> dict[str, Any]:
    return {
        "name": moved.name,
        "axis": moved.axis,
        "shift": float(moved.shift),
        "error": number(moved.error),
        "control": number(moved.control),
        "eq_t": number(moved.eq_t),
        "verdict": moved.verdict,
        "note": moved.note,
    }


def repair(repaired: Repaired) -> dict[str, Any]:
    """What a repair did, and whether it succeeded."""
    changes = [
        {"module": change.module, "op": change.op, "what": change.what}
        for change in repaired.changes
    ]
    before = repaired.before
    return {
        "done": repaired.done,
        "error": number(repaired.measurement.error),
        "eq_t": number(repaired.measurement.eq_t),
        "eq_t_before": None if before is None else number(before.eq_t),
        "why_not": list(repaired.why_not),
        "changes": changes,
    }
