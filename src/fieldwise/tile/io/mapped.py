"""Where an array lies in a file, so that it can be mapped into memory for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Mapped:
    """An array at ``offset`` of a file.

    It is mapped for each access and let go of afterwards, so that the pages that were touched do
    not count as memory of the process.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    fortran: bool = False

    def map(self, mode: Any) -> np.memmap[Any, Any]:
        """The array; mode is that of numpy.memmap."""
        order: Any = "F" if self.fortran else "C"
        return np.memmap(self.path, self.dtype, mode, self.offset, self.shape, order)
