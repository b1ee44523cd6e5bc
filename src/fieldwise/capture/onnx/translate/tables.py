"""Where each element of a resized or padded axis comes from: index tables, in exact fractions.

A table has a row per element of the result and a column per tap.  Weights that are zero belong to
no tap: another tap of the row, which has a weight, stands in its place, so that nothing is read
that is not used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

_HALF = Fraction(1, 2)
RowTaps = Mapping[int, Fraction]
"""The weights of one row, by place; none is zero."""


@dataclass(frozen=True, slots=True)
class TapTable:
    """Per row of the result the places that it is made of; ``weights`` is None where all are 1.

    outside: rows that are made of nothing but a filling
    """

    places: Tensor
    weights: Tensor | None
    outside: Tensor | None = None

    def apply(self, x: Tensor, axis: int) -> Tensor:
        """The rows along an axis."""
        if self.weights is None:
            return x.index_select(axis, self.places[:, 0])
        shape = [-1 if dim == axis else 1 for dim in range(x.dim())]
        parts = [
            x.index_select(axis, self.places[:, tap])
            * self.weights[:, tap].to(x.dtype).reshape(shape)
            for tap in range(self.places.shape[1])
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def is_identity(self, size: int) -> bool:
        """Whether it changes nothing of an axis of this size."""
        return self.weights is None and self.places[:, 0].tolist() == list(range(size))


def as_fraction(scale: float) -> Fraction:
    """The simplest fraction that is this number in single precision.

    A file that says 1.6 means 8/5, not the nearest number with 24 bits.

    >>> as_fraction(float(np.float32(1.6))), as_fraction(float(np.float32(1 / 3)))
    (Fraction(8, 5), Fraction(1, 3))
    """
    exact = Fraction(scale)
    bound = 1
    while bound < 1 << 24:
        simple = exact.limit_denominator(bound)
        if np.float32(float(simple)) == np.float32(scale):
            return simple
        bound *= 2
    return exact


@dataclass(frozen=True, slots=True)
class ResizedAxis:
    """An axis that is resized: its sizes, and the scale between them."""

    before: int
    after: int
    scale: Fraction
    start: Fraction = Fraction(0)
    end: Fraction = Fraction(1)


ToSource = Callable[[ResizedAxis, int], Fraction]


def _half_pixel(axis: ResizedAxis, at: int) -> Fraction:
    return (at + _HALF) / axis.scale - _HALF


def _symmetric(axis: ResizedAxis, at: int) -> Fraction:
    adjusted = axis.after / (axis.scale * axis.before)
    return Fraction(axis.before, 2) * (1 - adjusted) + _half_pixel(axis, at)


def _crop_and_resize(axis: ResizedAxis, at: int) -> Fraction:
    last = axis.before - 1
    if axis.after == 1:
        return (axis.start + axis.end) * last / 2
    return axis.start * last + at * (axis.end - axis.start) * last / (axis.after - 1)


COORDINATES: Mapping[str, ToSource] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": lambda axis, at: _half_pixel(axis, at) if axis.after > 1 else Fraction(0),
    "align_corners": lambda axis, at: (
        Fraction(at * (axis.before - 1), axis.after - 1) if axis.after > 1 else Fraction(0)
    ),
    "asymmetric": lambda axis, at: at / axis.scale,
    "tf_half_pixel_for_nn": lambda axis, at: (at + _HALF) / axis.scale,
    "tf_crop_and_resize": _crop_and_resize,
}

NEAREST: Mapping[str, Callable[[Fraction], int]] = {
    "round_prefer_floor": lambda x: math.ceil(x - _HALF),
    "round_prefer_ceil": lambda x: math.floor(x + _HALF),
    "floor": math.floor,
    "ceil": math.ceil,
}


def nearest_table(
    axis: ResizedAxis, coordinate: ToSource, rounding: Callable[[Fraction], int]
) -> TapTable:
    """One tap per row, at its full weight."""
    at = [rounding(coordinate(axis, row)) for row in range(axis.after)]
    places = [min(max(place, 0), axis.before - 1) for place in at]
    return TapTable(
        torch.tensor(places, dtype=torch.int64).reshape(-1, 1), None, _outside(axis, coordinate)
    )


def weighted_table(
    axis: ResizedAxis,
    coordinate: ToSource,
    kernel: Callable[[Fraction], Fraction],
    support: int,
    *,
    antialias: bool,
    exclude: bool,
) -> TapTable:
    """RowTaps weighted by a kernel of this support; wider, with antialiasing, where it shrinks."""
    scale = min(axis.scale, Fraction(1)) if antialias else Fraction(1)
    rows = []
    for row in range(axis.after):
        middle = coordinate(axis, row)
        reach = Fraction(support) / scale
        low, high = math.floor(middle - reach) + 1, math.ceil(middle + reach) - 1
        taps: dict[int, Fraction] = {}
        for place in range(low, high + 1):
            if exclude and not 0 <= place < axis.before:
                continue
            inside = min(max(place, 0), axis.before - 1)
            taps[inside] = taps.get(inside, Fraction(0)) + kernel((place - middle) * scale)
        total = sum(taps.values())
        rows.append({place: weight / total for place, weight in taps.items() if weight})
    return _weighted(rows, _outside(axis, coordinate))


def _outside(axis: ResizedAxis, coordinate: ToSource) -> Tensor | None:
    if coordinate is not _crop_and_resize:
        return None
    at = [coordinate(axis, row) for row in range(axis.after)]
    return torch.tensor([not 0 <= one <= axis.before - 1 for one in at])


def _weighted(rows: Sequence[RowTaps], outside: Tensor | None) -> TapTable:
    width = max(map(len, rows), default=1)
    places = [list(row) + [next(iter(row))] * (width - len(row)) for row in rows]
    weights = [[float(one) for one in row.values()] + [0.0] * (width - len(row)) for row in rows]
    found = torch.tensor(places, dtype=torch.int64).reshape(len(rows), width)
    if width == 1 and all(weight == [1.0] for weight in weights):
        return TapTable(found, None, outside)
    return TapTable(
        found, torch.tensor(weights, dtype=torch.float64).reshape(len(rows), width), outside
    )


def linear(x: Fraction) -> Fraction:
    """The triangle of support 1."""
    return max(1 - abs(x), Fraction(0))


def cubic(a: Fraction) -> Callable[[Fraction], Fraction]:
    """The cubic convolution kernel of support 2 with this coefficient (Keys, 1981)."""

    def kernel(x: Fraction) -> Fraction:
        x = abs(x)
        if x <= 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return a * (((x - 5) * x + 8) * x - 4) if x < 2 else Fraction(0)

    return kernel


def padded_places(size: int, before: int, behind: int, mode: str) -> list[int]:
    """Where each element of an axis comes from that is padded (or, with less than 0, cut)."""
    rows = range(-before, size + behind)
    if mode == "edge":
        return [min(max(at, 0), size - 1) for at in rows]
    if mode == "wrap":
        return [at % size for at in rows]
    turn = max(2 * (size - 1), 1)
    return [min(at % turn, turn - at % turn) if size > 1 else 0 for at in rows]
