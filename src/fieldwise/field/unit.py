"""The exact field of one unit, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fieldwise.axes import Region
from fieldwise.axes.region import Sides
from fieldwise.errors import UsageError
from fieldwise.graph.ir import Shape

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class UnitField:
    """What one unit sees: exact index sets along the reported axes.

    unit:     the unit
    shape:    sizes of the reported axes
    products: the region as a union of products, one IndexSet per axis
    exact:    whether it is exactly this region; else an upper bound, see ``why``
    inside:   no index fell outside an operand on the way: borders and padding play no part
    """

    unit: tuple[int, ...]
    shape: Shape
    products: tuple[Sides, ...]
    exact: bool = True
    why: str | None = None
    inside: bool = True

    @property
    def lo(self) -> tuple[int, ...]:
        """First index seen, per axis.  Raises UsageError where nothing is seen."""
        return tuple(side.first for side in self._hull())

    @property
    def hi(self) -> tuple[int, ...]:
        """Last index seen, per axis (inclusive).  Raises UsageError where nothing is seen."""
        return tuple(side.last for side in self._hull())

    @property
    def count(self) -> int:
        """How many positions are seen, holes not counted."""
        return Region(self.products).count

    def mask(self) -> np.ndarray:
        """Boolean array over the axes: true where the unit sees."""
        import numpy as np

        mask = np.zeros(self.shape, dtype=bool)
        for product in self.products:
            mask[np.ix_(*(list(side) for side in product))] = True
        return mask

    def _hull(self) -> Sides:
        if not self.products:
            raise UsageError(f"Output position {self.unit} sees nothing of the input.")
        return Region(self.products).hull()
