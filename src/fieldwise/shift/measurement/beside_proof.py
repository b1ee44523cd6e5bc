"""A proof beside a measurement: by how much to shift, and whether the two agree."""

from __future__ import annotations

from math import lcm

from fieldwise.shift.certificate import Certificate, Certificates
from fieldwise.shift.measurement.equivariance import Measurement


def proven_periods(proof: Certificates) -> dict[int, int]:
    """Per axis the period of all outputs together, where it is proven of each.

    >>> from fieldwise.shift import certify
    >>> from torch import nn
    >>> proven_periods(certify(nn.MaxPool2d((2, 3)), (1, 1, 12, 12)))
    {2: 2, 3: 3}
    """
    found: dict[int, int] = {}
    for position, axis in enumerate(proof.axes):
        theorems = [output.axes[position].circular for output in proof.outputs]
        periods = [theorem.period for theorem in theorems if theorem.period is not None]
        if periods and len(periods) == len(theorems):
            found[axis] = lcm(*periods)
    return found


def contradictions(
    certificates: tuple[Certificate, ...], measurement: Measurement
) -> tuple[str, ...]:
    """What is proven to hold and measured to be broken, a sentence each: a fault in fieldwise."""
    proven = {
        (name, axis.axis): axis.circular.period
        for certificate in certificates
        for name in (certificate.name, *certificate.names)
        for axis in certificate.axes
        if axis.circular.holds
    }
    return tuple(
        f"'{moved.name}' is proven to hold every {period} along axis {moved.axis}, and measured "
        f"to be off by {moved.error:.1e} at a shift of {moved.shift}; one of the two is wrong, "
        f"so believe neither, and please report the model."
        for moved in (*measurement.outputs, *measurement.layers)
        if moved.verdict == "broken"
        and (period := proven.get((moved.name, moved.axis))) is not None
        and moved.shift % period == 0
    )
