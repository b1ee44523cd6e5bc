"""Sampling at a constant grid: where it looks is judged by the grid's values.

``grid_sample`` with a grid that is made once: a fixed warp, a change of coordinates.  RAFT makes
its grids of what it sees, which is refused here.
"""

from __future__ import annotations

import numpy as np

from fieldwise.axes import AxisMap, Border, IndexSet, Table, index_map
from fieldwise.graph.calls import arguments, is_tensor
from fieldwise.graph.constants import constant
from fieldwise.graph.ir import Along, Kwargs, Ref
from fieldwise.graph.tensors import Values
from fieldwise.shift.proof.frame import Advanced, Frame
from fieldwise.shift.proof.layout import Dim, moves, read_along, stays
from fieldwise.shift.proof.signal import BreaksError, Fault

_BILINEAR, _NEAREST, _BICUBIC = 0, 1, 2
_BORDERS = (Border.DROP, Border.CLAMP, Border.REFLECT)
_EXACT = 1e-11
_ROUNDED = 4
"""In how many units in the last place a grid may lie beside what it was meant to be."""
_NEAR = 1e-3
"""Of a sample: what is further off is no rounding, whatever the dtype."""


def sampled(frame: Frame) -> Advanced:
    """What grid_sample makes.

    Raises BreaksError where the grid derives from the input, or forms no regular pattern.
    """
    given = arguments(frame.node)
    grid = given["grid"]
    if not is_tensor(grid) or not isinstance(given["input"], Ref):
        raise BreaksError(Fault("it reads at positions that depend on the data", known=False))
    layout = frame.layout(given["input"].operand)
    found = [*layout[:2], *map(stays, frame.result[2:])]
    known = constant(grid, "grid").values
    if moves(layout[0]):
        raise BreaksError(Fault("it samples each image of a batch at positions of its own"))
    for dim in range(2, len(layout)):
        if moves(layout[dim]):
            if known is None:
                raise BreaksError(Fault("it reads at positions that are learned"))
            place, new = _along(frame, given, layout[dim], dim, known)
            if moves(found[place]):
                raise BreaksError(Fault("it reads a diagonal of what moves", known=False))
            found[place] = new
    return Advanced.of(tuple(found))


def _along(frame: Frame, given: Kwargs, dim: Dim, number: int, known: Values) -> tuple[int, Dim]:
    """Which result dimension follows a dimension of the image, and how."""
    grid = known.astype(float)
    sizes, last = frame.shape_of(given["input"])[2:], grid.shape[-1] - 1
    coordinates = [_positions(grid[..., last - k], size, given) for k, size in enumerate(sizes)]
    mine, size = coordinates[number - 2], sizes[number - 2]
    slack = _slack(known, max(sizes))
    varying = [axis for axis in range(mine.ndim) if not _uniform(mine, axis, slack)]
    if len(varying) != 1 or not varying[0]:
        raise BreaksError(Fault("its grid bends what moves"))
    (axis,) = varying
    if any(not _uniform(other, axis, slack) for other in coordinates if other is not mine):
        raise BreaksError(Fault("its grid mixes the axes"))
    line = np.moveaxis(mine, axis, 0).reshape(mine.shape[axis], -1)[:, 0]
    along = Along(axis + 1, _regular(line, size, given, slack), _BORDERS[given["padding_mode"]])
    if along.border is Border.REFLECT and not given["align_corners"]:
        along = Along(axis + 1, along.map, Border.SYMMETRIC)
    return axis + 1, read_along(dim, along, len(line), frame.explainer, averages=True)


def _positions(coordinate: Values, size: int, given: Kwargs) -> Values:
    """Coordinates in [−1, 1] as positions among samples."""
    if given["align_corners"]:
        return (coordinate + 1) / 2 * (size - 1)
    return ((coordinate + 1) * size - 1) / 2


def _slack(grid: Values, size: int) -> float:
    """By how much of a sample rounding puts the positions of a grid beside what was meant."""
    eps = float(np.finfo(grid.dtype).eps) if np.issubdtype(grid.dtype, np.floating) else 0.0
    return min(max(_EXACT, _ROUNDED * eps * size / 2), _NEAR)


def _uniform(values: Values, axis: int, slack: float) -> bool:
    return bool((abs(values - values.take([0], axis)) < slack).all())


def _regular(line: Values, size: int, given: Kwargs, slack: float) -> AxisMap | Table:
    """The map of a line of positions that repeats with a whole number of samples.

    Where all lie on samples, or alike between them, within the axis, it need not be in order.
    """
    rows = [_taps(float(p), given["interpolation_mode"], slack) for p in line]
    jumps = line - line[0]
    inside = min(map(min, rows)) >= 0 and max(map(max, rows)) < size
    if inside and (abs(jumps - jumps.round()) < slack).all():
        return index_map([IndexSet.of(row) for row in rows])
    places = np.arange(len(line))
    for period in range(1, len(line) // 2 + 1):
        advance = round(float(line[period] - line[0]))
        regular = line[places % period] + advance * (places // period)
        if advance and (abs(line - regular) < slack).all():
            return AxisMap(advance, tuple(map(IndexSet.of, rows[:period])))
    raise BreaksError(Fault("its grid takes steps that are no whole number of samples"))


def _taps(position: float, mode: int, slack: float) -> list[int]:
    near = round(position)
    if mode == _NEAREST:
        if abs(abs(position - near) - 0.5) < slack:
            raise BreaksError(Fault("its grid lies half-way between samples", known=False))
        return [near]
    if abs(position - near) < slack:
        return [near]
    left = int(np.floor(position))
    return [left, left + 1] if mode == _BILINEAR else [left - 1, left, left + 1, left + 2]
