"""Arrays that lie as they are in a file: read and written run by run, never mapped into memory.

A mapped file that is cut short meanwhile, or whose disk is full, kills the process; a call that
reads or writes raises OSError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError


@contextmanager
def reading(path: Path) -> Iterator[int]:
    """A handle to read an input with.  Raises UsageError where it is gone by now, or short."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            yield handle
        finally:
            os.close(handle)
    except (EOFError, OSError) as error:
        said = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{str(path)!r} was whole when it was opened and cannot be read now ({said}): did it "
            "change meanwhile?  Write it again, and use --overwrite to begin again."
        ) from error


@dataclass(frozen=True, slots=True)
class RawArray:
    """Elements that follow one another from ``offset`` of a file on.

    fortran: the first index moves fastest, in place of the last
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int
    fortran: bool = False

    @property
    def end(self) -> int:
        """Where it ends in the file."""
        return self.offset + prod(self.shape) * self.dtype.itemsize

    def read(self, handle: int, index: Sequence[slice]) -> NDArray[np.generic]:
        """A region of it.  Raises EOFError where the file ends before, and OSError."""
        region = self._region(index)
        found = np.empty([hi - lo for lo, hi in region], self.dtype)
        into = found.reshape(-1).view(np.uint8).data
        for start, offset, nbytes in _runs(self._stored, region, self.dtype.itemsize):
            _read_at(handle, into[start : start + nbytes], self.offset + offset)
        return found.transpose() if self.fortran else found

    def write(self, handle: int, start: Sequence[int], block: NDArray[np.generic]) -> None:
        """Write a block that begins at this index.  Raises OSError."""
        region = self._region([slice(at, at + n) for at, n in zip(start, block.shape, strict=True)])
        values = np.ascontiguousarray(block.transpose() if self.fortran else block, self.dtype)
        data = values.reshape(-1).view(np.uint8).data
        for begin, offset, nbytes in _runs(self._stored, region, self.dtype.itemsize):
            write_at(handle, data[begin : begin + nbytes], self.offset + offset)

    @property
    def _stored(self) -> tuple[int, ...]:
        """The shape in the order in which it lies there."""
        return self.shape[::-1] if self.fortran else self.shape

    def _region(self, index: Sequence[slice]) -> list[tuple[int, int]]:
        """[lo, hi) per dimension, in the order in which they lie there."""
        ends = (one.indices(size) for one, size in zip(index, self.shape, strict=True))
        region = [(lo, max(lo, hi)) for lo, hi, _ in ends]
        return region[::-1] if self.fortran else region


def write_at(handle: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of it.  Raises OSError."""
    left = memoryview(data)
    while left:
        written = os.pwrite(handle, left, offset)
        left, offset = left[written:], offset + written


def _read_at(handle: int, into: memoryview, offset: int) -> None:
    while into:
        count = os.preadv(handle, [into], offset)
        if count == 0:
            raise EOFError(f"the file ends at byte {offset}")
        into, offset = into[count:], offset + count


def _runs(
    shape: Sequence[int], region: Sequence[tuple[int, int]], item: int
) -> Iterator[tuple[int, int, int]]:
    """Bytes that follow one another both in a region of a C-ordered array and in the array.

    Per run: where it begins in the region and in the array, and its length.

    >>> list(_runs((3, 4, 5), [(1, 3), (2, 4), (0, 5)], 1))
    [(0, 30, 10), (10, 50, 10)]
    """
    inner = len(shape)
    while inner and region[inner - 1] == (0, shape[inner - 1]):
        inner -= 1
    outer = max(inner - 1, 0)
    size = item * prod(hi - lo for lo, hi in region[outer:])
    if size == 0:
        return
    strides = [item * prod(shape[dim + 1 :]) for dim in range(len(shape))]
    last = region[outer][0] * strides[outer] if shape else 0
    for number, place in enumerate(product(*(range(*ends) for ends in region[:outer]))):
        at = sum(n * stride for n, stride in zip(place, strides, strict=False))
        yield number * size, at + last, size
