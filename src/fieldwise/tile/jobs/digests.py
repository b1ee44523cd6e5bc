"""Digests of what a piece wrote: taken when it is written, and again of what is found on disk.

A digest is the CRC-32C of the values, row after row along the dimension that pieces follow.  So it
does not depend on the blocks in which they came, nor on the format of the file, and it can be gone
on with from any row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from fieldwise.errors import UsageError
from fieldwise.tile.arrays import Numbers
from fieldwise.tile.files import FileView
from fieldwise.tile.files.protocol import DamagedError
from fieldwise.tile.jobs.records import Wrote
from fieldwise.tile.jobs.work import Box

_AT_ONCE = 1 << 22
"""Bytes that are read at a time, unless a row of the file's blocks has more."""


class Digest:
    """The digest of blocks that follow one another along a dimension."""

    def __init__(self, dim: int, dtype: np.dtype[np.generic], value: int = 0) -> None:
        try:
            from google_crc32c import extend
        except ImportError as error:
            raise UsageError(
                "Jobs need google-crc32c; install it with pip install 'fieldwise[tile]'."
            ) from error
        self.dim, self.dtype, self.value = dim, dtype.newbyteorder("<"), value
        self._extend = extend

    def add(self, block: Numbers) -> None:
        """Take in the next rows."""
        rows = np.moveaxis(block, self.dim, 0).astype(self.dtype, copy=False)
        self.value = self._extend(self.value, rows.tobytes())


@dataclass(frozen=True, slots=True)
class Stored:
    """An output as it is on disk.

    dim: the dimension that pieces follow; rows: how many of them its file holds in one block
    """

    view: FileView
    dim: int
    rows: int

    def digest(self, box: Box) -> int:
        """The digest of a part of it.  Raises DamagedError where that cannot be read."""
        digest, (lo, hi) = Digest(self.dim, self.view.dtype), box[self.dim]
        row = prod(b - a for d, (a, b) in enumerate(box) if d != self.dim) * digest.dtype.itemsize
        step = max(_AT_ONCE // max(row * self.rows, 1), 1) * self.rows
        for at in range(lo, hi, step):
            ends = [(at, min(at + step, hi)) if d == self.dim else e for d, e in enumerate(box)]
            digest.add(self.view.read([a for a, _ in ends], [b for _, b in ends]))
        return digest.value


def fault(stored: Sequence[Stored], wrote: Sequence[Wrote]) -> str | None:
    """Why what is on disk is not what was written; None where it is."""
    for output, part in zip(stored, wrote, strict=True):
        try:
            found = output.digest(part.box)
        except DamagedError as error:
            return str(error)
        if found != part.digest:
            lo, hi = part.box[output.dim]
            where = str(output.view.path)
            return f"rows {lo} to {hi - 1} in {where!r} are not what was written"
    return None
