"""An array cast to a type when it is read, multiplied by a factor, and normalised by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.tile.files.layout import ModelView

_CHANNELS = 1


@dataclass(frozen=True, slots=True)
class Scaled:
    """A view with every element cast, then multiplied, shifted and divided in that type.

    mean: subtracted, per channel; std: what is divided by then; empty: nothing is
    """

    view: ModelView
    dtype: np.dtype[np.generic]
    scale: float
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """As the model sees it."""
        return self.view.shape

    def __getitem__(self, index: slice | tuple[slice, ...]) -> NDArray[np.generic]:
        rows = self.view[index].astype(self.dtype, copy=False)
        rows = rows if self.scale == 1 else rows * self.dtype.type(self.scale)
        if not self.mean:
            return rows
        given = index if isinstance(index, tuple) else (index,)
        channels = given[_CHANNELS] if len(given) > _CHANNELS else slice(None)
        return (rows - self._by_channel(self.mean, channels)) / self._by_channel(self.std, channels)

    def _by_channel(self, numbers: Sequence[float], channels: slice) -> NDArray[np.generic]:
        chosen = np.asarray(numbers, self.dtype)[channels if len(numbers) > 1 else slice(None)]
        return chosen.reshape(1, -1, *[1] * (len(self.shape) - 2))


def check_normalisation(mean: Sequence[float], std: Sequence[float], shape: Sequence[int]) -> None:
    """Raise UsageError unless there is a number for each channel, or one for all, and no zero."""
    channels = shape[_CHANNELS]
    for option, numbers in (("--mean", mean), ("--std", std)):
        if len(numbers) not in (1, channels):
            raise UsageError(
                f"{option} has {len(numbers)} numbers, and the input {channels} channels; give one "
                "for each, or one for all."
            )
    if not all(std):
        raise UsageError("--std holds a zero, by which nothing can be divided.")
