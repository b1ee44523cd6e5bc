"""Crops side by side along the first axis of the inputs, and their outputs taken apart again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fieldwise.errors import UsageError
from fieldwise.tile.arrays import Readable, as_numpy
from fieldwise.tile.crops.targets import Arguments


def stacked(crops: Sequence[Arguments], count: int) -> Arguments:
    """Equal crops as one call takes them; the last as often as makes so many."""
    first, last = crops[0], crops[-1]
    if count == 1:
        return first
    all_of_them = [*crops, *[last] * (count - len(crops))]
    return first.holding(map(_joined, zip(*(one.arrays for one in all_of_them), strict=True)))


def _joined(parts: Sequence[Readable]) -> Readable:
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if len(tensors) == len(parts):
        return torch.cat(tensors)
    return np.concatenate([as_numpy(part) for part in parts])


def unstacked(array: Readable, place: int, count: int, dim: int) -> Readable:
    """What the crop at a place gives, of the output of a call on so many.

    dim: of the output, along which they stand

    Raises UsageError where the output does not hold as many.

    >>> unstacked(np.arange(6).reshape(6, 1), 1, 3, 0).tolist()
    [[2], [3]]
    """
    if count == 1:
        return array
    size = array.shape[dim] if dim < len(array.shape) else 0
    if size % count:
        raise UsageError(
            f"An output of a batch of {count} crops has {size} rows along axis {dim}, which is not "
            f"as many for each; the plan was made for another network."
        )
    each = size // count
    return array[(slice(None),) * dim + (slice(place * each, (place + 1) * each),)]
