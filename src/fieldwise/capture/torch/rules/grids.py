"""Which elements a constant sampling grid reads: the taps of every position that have a weight."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from fieldwise.axes import IndexSet
from fieldwise.graph.ir import Shape

GridTaps = list[tuple[np.ndarray, np.ndarray]]
"""Per tap: the place along an axis, and whether it has a weight there."""

_NOTHING = 1e-9  # of a weight: rounding
_BICUBIC, _NEAREST = 2, 1
_BORDER, _REFLECTION = 1, 2


def axis_taps(at: np.ndarray, size: int, mode: int, padding: int, *, corners: bool) -> GridTaps:
    """The taps along one axis for coordinates from -1 to 1.

    mode:    0 linear, 1 nearest, 2 cubic, as torch counts; padding: 0 zeros, 1 border, 2 reflection
    corners: -1 and 1 are the centres of the outer elements, not their outer borders
    """
    place = (at + 1) / 2 * (size - 1) if corners else ((at + 1) * size - 1) / 2
    if mode == _BICUBIC:
        return _cubic_taps(place, size, padding, corners)
    place = _padded(place, size, padding, corners)
    if mode == _NEAREST:
        return [_tap(np.rint(place), np.ones_like(place), size)]
    low = np.floor(place)
    return [_tap(low, 1 - (place - low), size), _tap(low + 1, place - low, size)]


def _cubic_taps(place: np.ndarray, size: int, padding: int, corners: bool) -> GridTaps:
    low = np.floor(place)
    part = place - low
    whole = np.abs(part) < _NOTHING
    weights = [np.where(whole, float(tap == 0), 1.0) for tap in range(-1, 3)]
    return [
        _tap(_padded(low + tap, size, padding, corners), weight, size)
        for tap, weight in zip(range(-1, 3), weights, strict=True)
    ]


def _tap(place: np.ndarray, weight: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    used = (np.abs(weight) > _NOTHING) & (place >= 0) & (place < size)
    return np.where(used, place, 0).astype(np.int64), used


def _padded(place: np.ndarray, size: int, padding: int, corners: bool) -> np.ndarray:
    """Coordinates that padding brings inside."""
    if padding == _REFLECTION:
        low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
        span = high - low
        if span:
            away = np.abs(place - low) % (2 * span)
            place = np.minimum(away, 2 * span - away) + low
        else:
            place = np.zeros_like(place)
    return np.clip(place, 0, size - 1) if padding in (_BORDER, _REFLECTION) else place


def places_read(taps: Sequence[GridTaps], shape: Shape) -> list[IndexSet]:
    """Per position, in row-major order, the elements of a plane of this shape that it reads."""
    found: list[set[int]] = [set() for _ in range(taps[0][0][0].size)]
    for combined in product(*taps):
        flat = np.ravel_multi_index(tuple(place for place, _ in combined), shape).reshape(-1)
        used = np.logical_and.reduce([one for _, one in combined]).reshape(-1)
        for position in np.flatnonzero(used):
            found[position].add(int(flat[position]))
    return [IndexSet.of(sorted(one)) for one in found]


def rows_read(taps: GridTaps) -> list[IndexSet]:
    """Per position along one axis, the indices that it reads."""
    return [
        IndexSet.of(sorted({int(place[row]) for place, used in taps if used[row]}))
        for row in range(taps[0][0].size)
    ]
