"""The smaller levels of an image, each from the one before: half as many rows and columns.

A sample of a level is the mean of up to 2×2 of the level before where values are of floating point,
and the first of them where they are integers, since the mean of two labels is another label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fieldwise.tile.files.calibration import axis_letter

_ENOUGH = 512


def level_factors(axes: str, shape: Sequence[int]) -> list[dict[str, int]]:
    """Per level the factor along each axis, until the image is 512 samples wide and high at most.

    >>> level_factors("CYX", (3, 2000, 700))
    [{}, {'Y': 2, 'X': 2}, {'Y': 4, 'X': 4}]
    """
    planes = [letter for letter in axes if axis_letter(letter) in "YX"]
    sides = [size for letter, size in zip(axes, shape, strict=True) if letter in planes]
    found: list[dict[str, int]] = [{}]
    factor = 2
    while max(sides) * 2 > _ENOUGH * factor:
        found.append(dict.fromkeys(planes, factor))
        factor *= 2
    return found


def level_shape(axes: str, shape: Sequence[int], factors: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a level: what is left over at an end is a sample too."""
    pairs = zip(axes, shape, strict=True)
    return tuple(-(-size // factors.get(letter, 1)) for letter, size in pairs)


def halved(block: NDArray[np.generic], dims: Sequence[int]) -> NDArray[np.generic]:
    """Half as many samples along these dimensions.

    >>> halved(np.array([[1.0, 3.0, 5.0]]), (1,)), halved(np.array([[7, 9, 4]]), (1,))
    (array([[2., 5.]]), array([[7, 4]]))
    """
    if block.dtype.kind != "f":
        return block[tuple(slice(None, None, 2 if d in dims else 1) for d in range(block.ndim))]
    for dim in dims:
        block = _pairs(block, dim)
    return block


def _pairs(block: NDArray[np.generic], dim: int) -> NDArray[np.generic]:
    """The means of pairs; a last one alone is its own."""
    first = block[(*[slice(None)] * dim, slice(0, None, 2))]
    second = block[(*[slice(None)] * dim, slice(1, None, 2))]
    found = first.astype(np.float64)
    both = (*[slice(None)] * dim, slice(0, second.shape[dim]))
    found[both] = (found[both] + second.astype(np.float64)) / 2
    return found.astype(block.dtype)


def blocks_of(shape: Sequence[int], chunks: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """The regions of an array, a chunk each, in order."""
    counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
    for place in np.ndindex(*counts):
        ends = zip(place, chunks, shape, strict=True)
        yield tuple(slice(n * chunk, min((n + 1) * chunk, size)) for n, chunk, size in ends)
