"""Where the positions of a result lie in the input: on its samples, or by their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from fieldwise.field import AxisField, FieldReport, receptive_fields
from fieldwise.graph.graph import Graph
from fieldwise.tile.files.calibration import OutputGrid, axis_letter
from fieldwise.tile.files.layout import AxisLayout
from fieldwise.tile.jobs.request import FIRST_SPATIAL


def output_grids(
    report: FieldReport, name: str, layout: AxisLayout, result: AxisLayout
) -> Mapping[str, OutputGrid | None]:
    """Per axis of a result, by letter, where its positions lie in the input (see Calibration.on).

    report: the fields of the network, with its local paths
    name:   of the output in the graph
    layout, result: the axes of the input's file and of the result's

    Along an axis as long as the input's on which positions follow one another as samples do,
    position i is sample i: whoever trains such a network holds its result against a picture of the
    same pixels.  Else a position lies at the centre of its field: of the closed form, which knows
    no border.  Where the fields of neighbours differ (networks that upsample), the grid is that
    whose distance to the centres is 0 on the mean.  What a global layer adds is left out, where a
    local path remains.
    """
    row = report.find(name)
    spatial = report.roles(name).unit
    found: dict[str, OutputGrid | None] = {}
    for letter in result.axes:
        if letter not in layout.axes:
            continue
        dim = layout.dims[layout.axes.index(letter)]
        if dim < FIRST_SPATIAL:
            found[axis_letter(letter)] = OutputGrid(Fraction(1))
            continue
        place = report.axes.index(dim)
        own = result.dims[result.axes.index(letter)]
        fields = [row.axes[place], *([row.local[place]] if row.local else [])]
        grids = [_grid(one) for one in fields if own in spatial]
        grid = next((one for one in grids if one is not None), None)
        if grid is not None and grid.step == 1 and row.shape[own] == report.input.shape[dim]:
            grid = _on_samples(grid)
        found[axis_letter(letter)] = grid
    return found


def _on_samples(grid: OutputGrid) -> OutputGrid:
    """The grid of the samples, for positions that are one for each."""
    return OutputGrid(grid.step, Fraction(0), grid.off + abs(grid.start or Fraction(0)))


def fields_of(graph: Graph) -> FieldReport:
    """The fields of a network, with its local paths, along the axes behind batch and channels."""
    rank = len(graph.shape(graph.inputs[0]))
    whole = replace(graph, zeros={})  # a masked kernel lies where it would without its mask
    return receptive_fields(whole, ignore_global=True, axes=range(FIRST_SPATIAL, rank))


def _grid(found: AxisField) -> OutputGrid | None:
    """The grid of the centres; None where no rate is known."""
    if found.map is None or not found.map.rate:
        return None
    index = found.map.bounded
    if index is None:
        return OutputGrid(found.map.rate, None)
    rate = index.rate
    centres = [
        Fraction(offset.first + offset.last, 2) - rate * phase
        for phase, offset in enumerate(index.offsets)
        if offset
    ]
    start = sum(centres, Fraction(0)) / len(centres)
    return OutputGrid(rate, start, max(abs(one - start) for one in centres))
