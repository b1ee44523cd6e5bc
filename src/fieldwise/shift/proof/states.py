"""What a sweep of the proof knows of a value."""

from __future__ import annotations

from dataclasses import dataclass

from fieldwise.shift.proof.layout import Layout
from fieldwise.shift.proof.signal import Fault


@dataclass(frozen=True, slots=True)
class Follows:
    """A value that is followed: how it moves under shifts by multiples of ``period``.

    wraps: whether it went through circular padding, which may be no larger than what it pads
    """

    layout: Layout
    period: int = 1
    wraps: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """A value of which nothing is known any more, and why."""

    faults: tuple[Fault, ...]


ProofState = Follows | Lost
