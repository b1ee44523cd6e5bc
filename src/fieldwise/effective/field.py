"""The effective receptive field of a unit, beside the theoretical one: the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from fieldwise.effective.mean import MapMean
from fieldwise.effective.measures import (
    Square,
    deviations,
    logarithmic,
    published_squares,
    squares,
    width,
)
from fieldwise.effective.protocols import SHARES
from fieldwise.field.unit import UnitField
from fieldwise.reports import Report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ShareRow:
    """The smallest squares that hold a share of the map, by scale and by what they are around.

    share:     of the map's sum
    linear:    around the unit's own centre, on the contributions themselves
    log:       around it, on log10(x + 1), which depends on the unit of the gradient
    published: on that around sample (h // 2, w // 2), as RepLKNet's script has it
    """

    share: float
    linear: Square
    log: Square
    published: Square


@dataclass(frozen=True)
class EffectiveField(Report):
    """How much every input position matters to a unit, on average over inputs.

    layer:    a module's path, None for the output
    unit:     the unit, by one index per dimension
    protocol: how a gradient becomes a contribution (see ``PROTOCOLS``)
    inputs:   what the mean is over
    maps:     mean and spread of the contributions, over the reported axes of the input
    seen:     the theoretical field in this input, which no contribution lies outside of
    centre:   the middle of the unit's own field, in samples; squares are around it
    is_rounding: whether what the protocol differentiates hardly depends on the input, so that the
              map is rounding (see ``UnitGradient.vanishes``)
    model:    what the command line calls the model
    """

    layer: str | None
    unit: tuple[int, ...]
    protocol: str
    inputs: str
    maps: MapMean = field(repr=False)
    seen: UnitField = field(repr=False)
    centre: tuple[float, ...]
    is_rounding: bool = False
    model: str | None = None

    @property
    def map(self) -> NDArray[np.float64]:
        """The mean contribution of every position."""
        return self.maps.mean

    @property
    def standard_error(self) -> NDArray[np.float64]:
        """Of that mean; not a number for fewer than two inputs."""
        return self.maps.standard_error

    @property
    def count(self) -> int:
        """Inputs that the mean is over."""
        return self.maps.count

    @property
    def is_silent(self) -> bool:
        """Whether nothing contributes: a unit behind dead activations, or of no field."""
        return not self.map.any()

    @cached_property
    def rows(self) -> Sequence[ShareRow]:
        """Per share of RepLKNet's table the smallest squares that hold it."""
        logs = logarithmic(self.map)
        return tuple(
            map(
                ShareRow,
                SHARES,
                squares(self.map, self.centre, SHARES),
                squares(logs, self.centre, SHARES),
                published_squares(logs, SHARES),
            )
        )

    @cached_property
    def deviations(self) -> tuple[float, ...]:
        """The standard deviation of the map along each axis, in samples."""
        return deviations(self.map)

    @cached_property
    def side(self) -> float:
        """The root of how many positions get over 1 − 95.45 % of what the centre gets."""
        return width(self.map, self.centre)

    @property
    def theoretical_side(self) -> float:
        """The root of the area that the theoretical field spans in this input."""
        if not self.seen.products:
            return 0.0
        extents = [last - first + 1 for first, last in zip(self.seen.lo, self.seen.hi, strict=True)]
        return float(prod(extents) ** (1 / len(extents)))

    @property
    def ratio(self) -> float:
        """The effective side over the theoretical one."""
        return self.side / self.theoretical_side if self.theoretical_side else float("nan")

    @property
    def outside(self) -> float:
        """The largest contribution outside the theoretical field: 0, or one of the two is wrong."""
        return float(self.map[~self.seen.mask()].max(initial=0.0))
