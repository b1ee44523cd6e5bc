"""What is read off a map of contributions: squares that hold a share, widths, a Gaussian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Scale = Literal["linear", "log"]

IN_THE_FIELD = 1 - 0.9545
"""Of what the centre gets: less does not count as in the effective field (Luo et al., 2016)."""


@dataclass(frozen=True, slots=True)
class Square:
    """The smallest square (interval, cube) around a point that holds more than a share of a map.

    share: of the map's sum
    side:  samples along each axis; None where no square within the input holds as much
    ratio: the square's area over the input's, as a fraction
    """

    share: float
    side: int | None
    ratio: float | None


def squares(values: Floats, centre: Sequence[float], shares: Sequence[float]) -> tuple[Square, ...]:
    """Per share the smallest square around ``centre`` whose part within the input holds more.

    ``centre`` is a multiple of ½ per axis, so sides are odd where it is a sample's position.

    >>> squares(np.array([1.0, 1, 6, 1, 1]), (2,), (0.5, 0.7, 0.9))
    (Square(share=0.5, side=1, ratio=0.2), Square(share=0.7, side=3, ratio=0.6), \
Square(share=0.9, side=5, ratio=1.0))
    """
    twice = _twice_the_distance(values.shape, centre)
    sums = np.bincount(twice.ravel(), weights=values.ravel())
    held = np.cumsum(sums)
    total = held[-1]
    found = []
    for share in shares:
        enough = np.flatnonzero(held > share * total)
        side = int(enough[0]) + 1 if len(enough) and total > 0 else None
        ratio = None if side is None else min(1.0, side**values.ndim / prod(values.shape))
        found.append(Square(share, side, ratio))
    return tuple(found)


def published_squares(values: Floats, shares: Sequence[float]) -> tuple[Square, ...]:
    """The same around sample h // 2, as RepLKNet's script has it, from 3 to the whole on.

    It tries the sides 3, 5, … that end before half the height, and gives none beyond.

    >>> published_squares(np.array([1.0, 1, 6, 1, 1, 0, 0]), (0.5, 0.7))
    (Square(share=0.5, side=3, ratio=0.42857142857142855), Square(share=0.7, side=3, \
ratio=0.42857142857142855))
    """
    centre = [size // 2 for size in values.shape]
    distance = _twice_the_distance(values.shape, centre) // 2
    held = np.cumsum(np.bincount(distance.ravel(), weights=values.ravel()))
    found = []
    for share in shares:
        steps = range(1, values.shape[0] // 2)
        first = next((n for n in steps if held[min(n, len(held) - 1)] > share * held[-1]), None)
        side = None if first is None else 2 * first + 1
        ratio = None if side is None else side**values.ndim / prod(values.shape)
        found.append(Square(share, side, ratio))
    return tuple(found)


def logarithmic(values: Floats) -> Floats:
    """log10(x + 1), over its largest value: the scale of RepLKNet's figures.

    It depends on the unit of the gradient: below one it is linear.
    """
    scaled = np.log10(values + 1)
    largest = scaled.max(initial=0.0)
    return scaled / largest if largest > 0 else scaled


def width(values: Floats, centre: Sequence[float]) -> float:
    """The root, along one axis, of how many samples get over 1 − 95.45 % of what the centre gets.

    The centre is the mean of the samples next to it, of which there are several where it lies
    between them.

    >>> width(np.array([0, 0.04, 0.5, 1, 0.5, 0.04, 0]), (3,))
    3.0
    """
    near = np.ix_(*(_both(place, size) for place, size in zip(centre, values.shape, strict=True)))
    count = int((values > IN_THE_FIELD * values[near].mean()).sum())
    return float(count ** (1 / values.ndim))


def deviations(values: Floats) -> tuple[float, ...]:
    """The standard deviation of the map along each axis, in samples, as of a distribution.

    >>> deviations(np.array([1.0, 2, 1]))
    (0.7071067811865476,)
    """
    total = values.sum()
    found = []
    for axis, size in enumerate(values.shape):
        line = values.sum(tuple(other for other in range(values.ndim) if other != axis))
        places = np.arange(size)
        if not total > 0:
            found.append(float("nan"))
            continue
        mean = (line * places).sum() / total
        found.append(float(np.sqrt((line * (places - mean) ** 2).sum() / total)))
    return tuple(found)


def _both(place: float, size: int) -> list[int]:
    """The samples next to a place, within an axis."""
    return sorted({min(max(int(f(place)), 0), size - 1) for f in (np.floor, np.ceil)})


def _twice_the_distance(shape: Sequence[int], centre: Sequence[float]) -> NDArray[np.int64]:
    """Per sample twice the larger of its distances from the centre along the axes."""
    far = np.zeros(tuple(shape), dtype=np.int64)
    for axis, (size, place) in enumerate(zip(shape, centre, strict=True)):
        line = np.abs(2 * np.arange(size) - round(2 * place))
        np.maximum(far, line.reshape([-1 if a == axis else 1 for a in range(len(shape))]), out=far)
    return far
