"""Which arrays can be read, and fed to a model."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from fieldwise.errors import UsageError


def check_kind(path: Path, dtype: np.dtype[np.generic]) -> None:
    """Raise UsageError unless the elements are real numbers."""
    if dtype.kind not in "biuf":
        raise UsageError(
            f"{str(path)!r} holds elements of type {dtype}, not real numbers; convert it first."
        )


def check_chunks(path: Path, chunks: Sequence[int], dtype: np.dtype[np.generic]) -> None:
    """Raise UsageError where a chunk, which is read whole, would fill the memory."""
    nbytes = prod(chunks) * dtype.itemsize
    if min(chunks, default=1) < 1 or nbytes > MAX_CHUNK:
        written = "x".join(map(str, chunks[:8]))
        raise UsageError(
            f"{str(path)!r} is stored in chunks of {written}, which are {nbytes} bytes and at "
            f"most {MAX_CHUNK} can be read; write it in smaller ones."
        )


MAX_CHUNK = 1 << 29
"""Bytes of a chunk, a tile or a strip."""


def holds_value(dtype: np.dtype[np.generic], value: float) -> bool:
    """Whether a type has this value, or is of floating point.

    >>> holds_value(np.dtype("uint8"), 255), holds_value(np.dtype("uint8"), -9999)
    (True, False)
    """
    if dtype.kind == "f":
        return True
    if dtype.kind == "b" or value != value or value != int(value):
        return False
    limits = np.iinfo(dtype.str)
    return int(limits.min) <= value <= int(limits.max)
