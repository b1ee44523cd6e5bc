"""An array cast to a type and multiplied by a factor when it is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldwise.tile.files.layout import ModelView


@dataclass(frozen=True, slots=True)
class Scaled:
    """A view with every element cast, then multiplied in that type."""

    view: ModelView
    dtype: np.dtype[np.generic]
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """As the model sees it."""
        return self.view.shape

    def __getitem__(self, index: slice | tuple[slice, ...]) -> NDArray[np.generic]:
        rows = self.view[index].astype(self.dtype, copy=False)
        return rows if self.scale == 1 else rows * self.dtype.type(self.scale)
