"""Carrying out what a certificate says."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fieldwise.shift import Move


def moved(value: Tensor, moves: Sequence[Move], times: int = 1) -> Tensor:
    """The value after ``times`` periods, by its certificate's moves."""
    value = value.clone()
    for move in moves:
        part = value.narrow(move.dim, move.start, move.stop - move.start)
        digits = part.unflatten(move.dim, (move.outer, move.size, move.inner))
        rolled = digits.roll(times * move.step, move.dim + 1)
        part.copy_(rolled.flatten(move.dim, move.dim + 2).clone())
    return value
