"""Single units measured by a probe, independently of the structural answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fieldwise.axes import IndexSet, Region
from fieldwise.field import FieldReport, UnitField
from fieldwise.field.probes import GradientProbe, Probe, nan_field

if TYPE_CHECKING:
    from fieldwise.capture import Model


Measure = Callable[[str, tuple[int, ...]], UnitField]
"""What a unit of a layer is found to see."""


def by_gradient(report: FieldReport) -> Measure:
    """The gradient of the same network with generic weights."""
    probe = GradientProbe.of_graph(report.graph)

    def measure(layer: str, unit: tuple[int, ...]) -> UnitField:
        dims = report.roles(layer).unit
        seen = probe.field(layer, unit, dims=dims, wrt=report.input.name, wrt_dims=report.axes)
        return _as_field(unit, seen)

    return measure


def by_nan(model: Model, report: FieldReport) -> Measure:
    """NaN in the input of the unmodified model."""

    def measure(layer: str, unit: tuple[int, ...]) -> UnitField:
        dims = report.roles(layer).unit
        return _as_field(unit, nan_field(model.module, model.example(), layer, unit, dims=dims))

    return measure


def _as_field(unit: tuple[int, ...], seen: Probe) -> UnitField:
    shape = seen.mask.shape
    flat = IndexSet.of(np.flatnonzero(seen.mask).tolist())
    region = Region.of([(flat,)]).reshape((seen.mask.size,), shape)
    return UnitField(unit, shape, region.products, seen.exact, seen.why)
