"""Products with a constant matrix that is circulant: rolling one index is rolling the other.

Σᵢ xᵢ·C[i, j] moves by r where x moves by k, if C is the same after rolling its rows by k and its
columns by r.  A circular convolution that is written as a matrix is of this kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import gcd, lcm

import numpy as np

from fieldwise.axes import IndexSet
from fieldwise.graph.constants import Constant, Values
from fieldwise.shift.proof.frame import Frame
from fieldwise.shift.proof.layout import Dim, moves, period_of
from fieldwise.shift.proof.signal import Moving


def turned(
    dims: Sequence[Dim], known: Constant, own: Sequence[int], frame: Frame
) -> list[Dim] | None:
    """The dimensions of a constant factor of which one moves, where another one moves with it.

    own: which of them no other factor has

    None where the constant is not circulant.
    """
    moving = [place for place, dim in enumerate(dims) if moves(dim) and known.shape[place] > 1]
    if known.values is None or len(moving) != 1:
        return None
    (rows,) = moving
    digit = dims[rows][0][0]
    if len(dims[rows]) > 1 or len(dims[rows][0]) > 1 or not isinstance(digit, Moving):
        return None
    if not digit.whole or digit.turn != digit.size:
        return None
    period = lcm(frame.period, period_of(tuple(dims)))
    step = digit.step(period)
    for times in range(1, digit.size // gcd(digit.size, step)):
        if times * period >= frame.axis_size:
            return None
        rolled = np.roll(known.values, times * step, rows)
        if np.array_equal(rolled, known.values):
            return None
        for columns in own:
            by = _turn(rolled, known.values, columns)
            if by:
                found = list(dims)
                found[rows] = ((replace(digit, grain=lcm(digit.grain, abs(step) * times)),),)
                found[columns] = ((_mover(frame, known.shape[columns], by, times * period),),)
                return found
    return None


def _turn(rolled: Values, values: Values, dim: int) -> int:
    """By how much the one is to be rolled along a dimension to be the other; 0: by nothing."""
    size = values.shape[dim]
    first = rolled.take(0, dim)
    for by in range(1, size):
        here = np.array_equal(values.take(by, dim), first)
        if here and np.array_equal(np.roll(rolled, by, dim), values):
            return by if 2 * by <= size else by - size
    return 0


def _mover(frame: Frame, size: int, by: int, period: int) -> Moving:
    """A digit that moves ``by`` positions per ``period`` samples, and is not known to otherwise."""
    clean = IndexSet.range(0, size)
    rate, origin = Fraction(by, period), (frame.voice.name, "circulant")
    return Moving(size, rate, size, clean, origin, grain=abs(by))
