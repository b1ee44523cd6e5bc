"""Numbers on which a wrong plan shows: no sample like its neighbours, all in the input's range.

The corner of a real image may be black, white or missing (NaN), and there every halo looks right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldwise.tile.arrays import ArrayOrTensor, as_numpy


def drawn_like(x: object) -> ArrayOrTensor:
    """Random numbers of the shape, dtype and range of an array or tensor, always the same.

    Floats of which all are equal, or none is finite, are drawn from a range as wide as their size;
    integers that are all equal stay, as nothing says which others the network knows.

    >>> drawn_like(np.zeros(3)).round(2), drawn_like(np.array([3, 5, 5], "uint8"))
    (array([0.64, 0.27, 0.04]), array([5, 4, 4], dtype=uint8))
    """
    if isinstance(x, Tensor):
        return torch.from_numpy(_drawn(as_numpy(x))).to(x.device, x.dtype)
    return _drawn(np.asarray(x))


def _drawn(array: NDArray[Any]) -> NDArray[Any]:
    random = np.random.default_rng(0)
    if array.dtype.kind == "c":
        parts = [_drawn(np.ascontiguousarray(part)) for part in (array.real, array.imag)]
        return (parts[0] + 1j * parts[1]).astype(array.dtype)
    finite = array[np.isfinite(array)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
    if array.dtype.kind != "f":
        return random.integers(int(low), int(high), array.shape, endpoint=True).astype(array.dtype)
    low, high = float(low), float(high)
    if low == high:
        high = low + max(abs(low), 1.0)
    return random.uniform(low, high, array.shape).astype(array.dtype)
