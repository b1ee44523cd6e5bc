"""Periodic boundaries: whatever stood beyond the border becomes the other side of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fieldwise.shift.repair.adapt import Adaptation, Session
from fieldwise.shift.repair.borders import Borders
from fieldwise.shift.repair.calls import (
    AVG_POOL,
    CONV,
    INTERPOLATE,
    MAX_POOL,
    PAD,
    TRANSPOSED,
    UNFOLD,
    Call,
    Function,
)
from fieldwise.shift.repair.resampling import interpolate, transposed
from fieldwise.shift.repair.windows import conv, pad, pool, unfold


@dataclass(frozen=True, slots=True)
class Periodic(Adaptation):
    """Periodic along some axes."""

    borders: Borders

    @property
    def prefix(self) -> str:
        """``CircularConv2d``."""
        return "Circular"

    @property
    def rank(self) -> int:
        """The last, so that what other repairs pad is wrapped too."""
        return 1

    def session(self) -> Session:
        """Nothing is kept during a run."""
        return _Session(self.borders)


Rule = Callable[[Call, Borders], Any]

_FAMILIES: tuple[tuple[dict[Function, int], Rule], ...] = (
    (CONV, conv),
    (MAX_POOL, pool),
    (AVG_POOL, pool),
    (UNFOLD, unfold),
    (PAD, pad),
    (TRANSPOSED, transposed),
    (INTERPOLATE, interpolate),
)
_RULES = {function: rule for family, rule in _FAMILIES for function in family}


@dataclass(frozen=True, slots=True)
class _Session(Session):
    borders: Borders

    def rewrite(self, call: Call) -> Any:
        """By the rule for its function; every function that is known has one."""
        return _RULES[call.func](call, self.borders)
