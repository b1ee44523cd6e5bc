"""Translation equivariance: proven from the graph, measured, and repaired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldwise.shift.certificate import AxisCertificate as AxisCertificate
    from fieldwise.shift.certificate import Breaker as Breaker
    from fieldwise.shift.certificate import Certificate as Certificate
    from fieldwise.shift.certificate import Certificates as Certificates
    from fieldwise.shift.certificate import Circular as Circular
    from fieldwise.shift.certificate import Interior as Interior
    from fieldwise.shift.certificate import Move as Move
    from fieldwise.shift.certificate import to_dict as to_dict
    from fieldwise.shift.exercise import circular_conv as circular_conv
    from fieldwise.shift.exercise import commutes as commutes
    from fieldwise.shift.exercise import translate as translate
    from fieldwise.shift.measurement.equivariance import Measurement as Measurement
    from fieldwise.shift.measurement.equivariance import Moved as Moved
    from fieldwise.shift.measurement.equivariance import measure as measure
    from fieldwise.shift.measurement.lie import Lie as Lie
    from fieldwise.shift.measurement.lie import lie_derivative as lie_derivative
    from fieldwise.shift.measurement.metrics import Consistency as Consistency
    from fieldwise.shift.measurement.metrics import consistency as consistency
    from fieldwise.shift.measurement.metrics import eq_t as eq_t
    from fieldwise.shift.measurement.motion import Motion as Motion
    from fieldwise.shift.proof.sweep import certify as certify
    from fieldwise.shift.repair import Change as Change
    from fieldwise.shift.repair import Repaired as Repaired
    from fieldwise.shift.repair import antialias as antialias
    from fieldwise.shift.repair import circular as circular
    from fieldwise.shift.repair import polyphase as polyphase

_HOMES = {
    **dict.fromkeys(
        ("AxisCertificate", "Breaker", "Certificate", "Certificates", "Circular", "Interior",
         "Move", "to_dict"),
        "certificate",
    ),
    **dict.fromkeys(("circular_conv", "commutes", "translate"), "exercise"),
    "certify": "proof.sweep",
    **dict.fromkeys(("Change", "Repaired", "antialias", "circular", "polyphase"), "repair"),
    **dict.fromkeys(("Lie", "lie_derivative"), "measurement.lie"),
    **dict.fromkeys(("Consistency", "consistency", "eq_t"), "measurement.metrics"),
    **dict.fromkeys(("Measurement", "Moved", "measure"), "measurement.equivariance"),
    "Motion": "measurement.motion",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """NumPy is imported with the first name that needs it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"fieldwise.shift.{_HOMES[name]}"), name)
