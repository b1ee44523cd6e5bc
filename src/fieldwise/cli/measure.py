"""Single units measured by a probe, independently of the structural answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fieldwise.axes import IndexSet, Region
from fieldwise.capture.torch import as_inputs
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.errors import UsageError
from fieldwise.field import FieldReport, UnitField
from fieldwise.field.probes import GradientProbe, NanProbe, NanUnit, Probe
from fieldwise.field.probes.nan import holds_nan
from fieldwise.field.probes.units import shown_by_run

if TYPE_CHECKING:
    from fieldwise.capture import Model


UnitOfLayer = Mapping[str, tuple[int, ...]]
"""A unit of each layer that is measured."""

Measure = Callable[[UnitOfLayer], Callable[[str], UnitField]]
"""What the unit of a layer is found to see, once it is known which units there are."""


def by_gradient(report: FieldReport) -> Measure:
    """The gradient of the same network with generic weights."""
    probe = GradientProbe.of_graph(report.graph)

    def measure(units: UnitOfLayer, layer: str) -> UnitField:
        unit, dims = units[layer], report.roles(layer).unit
        seen = probe.field(layer, unit, dims=dims, wrt=report.input.name, wrt_dims=report.axes)
        return _as_field(unit, seen)

    return lambda units: partial(measure, units)


@dataclass(frozen=True, slots=True)
class ByNan:
    """NaN in the input of the unmodified model.

    layers: per value that a run shows, as which layers a probe finds it
    """

    model: Model
    report: FieldReport
    layers: Mapping[str, tuple[str | None, ...]]

    @classmethod
    def of(cls, model: Model, report: FieldReport) -> ByNan:
        """The measure of a model that can be run.

        Raises UsageError for one of whole numbers.
        """
        dtype = report.graph.values[report.input.name].dtype
        if not holds_nan(dtype):
            raise UsageError(
                f"The input holds {dtype}, which no NaN gets into; use --method gradient."
            )
        call = ModelCall(model.module, as_inputs(model.example(), model.module))
        return cls(model, report, shown_by_run(report.graph, call))

    def why_not(self, value: str) -> str | None:
        """Why this value is not measured, or None."""
        if value not in self.layers:
            return f"a run of the model shows only what {self.report.graph.part}s return"
        dtype = self.report.graph.values[value].dtype
        return None if holds_nan(dtype) else f"no NaN gets into {dtype}"

    def __call__(self, units: UnitOfLayer) -> Callable[[str], UnitField]:
        """What the unit of a value is found to see; all are looked at in each run."""
        asked = [
            NanUnit(self.layers[value][0], unit, dims=self.report.roles(value).unit)
            for value, unit in units.items()
        ]
        model, axes, numbers = self.model, self.report.axes, {v: n for n, v in enumerate(units)}
        probe = NanProbe(model.module, model.example(), asked, axes=axes)
        return lambda value: _as_field(units[value], probe.field(numbers[value]))


def _as_field(unit: tuple[int, ...], seen: Probe) -> UnitField:
    shape = seen.mask.shape
    flat = IndexSet.of(np.flatnonzero(seen.mask).tolist())
    region = Region.of([(flat,)]).reshape((seen.mask.size,), shape)
    return UnitField(unit, shape, region.products, seen.exact, seen.why)
