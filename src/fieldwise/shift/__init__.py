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
    from fieldwise.shift.prove import certify as certify

_HOMES = {
    **dict.fromkeys(
        ("AxisCertificate", "Breaker", "Certificate", "Certificates", "Circular", "Interior",
         "Move", "to_dict"),
        "certificate",
    ),
    **dict.fromkeys(("circular_conv", "commutes", "translate"), "exercise"),
    "certify": "prove",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """NumPy is imported with the first name that needs it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"fieldwise.shift.{_HOMES[name]}"), name)
