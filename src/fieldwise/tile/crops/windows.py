"""A plan as windows of one size, laid over the image from its first sample on; and why not.

So other tools tile: they know a window and an overlap per axis, nothing of a grid or of borders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from fieldwise.tile.crops.parts import AxisPlan, OutputPlan

_FIRST = 2
"""The first axis behind batch and channels."""


class Tiling(Protocol):
    """What is asked of a plan (see ``TilePlan``)."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the inputs."""

    @property
    def axes(self) -> tuple[AxisPlan, ...]:
        """The tiled ones."""

    @property
    def outputs(self) -> tuple[OutputPlan, ...]:
        """Of the model."""


@dataclass(frozen=True, slots=True)
class ToolWindow:
    """What one call reads of one spatial axis.

    axis, size: of the input; tile: what is kept of a window away from the borders
    margin:     samples beyond that, on either side; none where one window is the whole axis
    """

    axis: int
    size: int
    tile: int
    margin: int

    @property
    def window(self) -> int:
        """Samples that are read."""
        return self.tile + 2 * self.margin

    @property
    def overlap(self) -> float:
        """The share of a window by which MONAI shortens its step: int(window · (1 − overlap)).

        Half a sample is left over, so that rounding does not matter.
        """
        return 1 - (self.tile + 0.5) / self.window if self.margin else 0.0


def windows_of(plan: Tiling) -> list[ToolWindow]:
    """Of every axis behind batch and channels; what is not tiled is read at once."""
    shape, tiled = plan.shapes[0], {axis.axis: axis for axis in plan.axes}
    return [
        ToolWindow(dim, shape[dim], *_tile_of(tiled[dim]))
        if dim in tiled
        else ToolWindow(dim, shape[dim], shape[dim], 0)
        for dim in range(_FIRST, len(shape))
    ]


def is_whole(axis: AxisPlan) -> bool:
    """Whether one tile is the whole axis, so that nothing is cut."""
    return len(axis.pieces) == 1


def cut_axes(plan: Tiling) -> list[AxisPlan]:
    """The axes of which there are several tiles."""
    return [axis for axis in plan.axes if not is_whole(axis)]


def _tile_of(axis: AxisPlan) -> tuple[int, int]:
    """The tile and the margin; the size of the axis and none where one tile is all of it."""
    return (axis.size, 0) if is_whole(axis) else (axis.tile, margin_of(axis))


def sides_of(axis: AxisPlan) -> tuple[int, int]:
    """The samples (before, behind) that crops hold beyond their tiles: multiples of the grid."""
    before, behind = axis.halo
    for number, piece in enumerate(axis.pieces):
        start, stop = piece.reads[0][0], piece.reads[-1][1]
        if len(piece.reads) == 1 and start > 0:
            before = max(before, number * axis.tile - start)
        if len(piece.reads) == 1 and stop < axis.size:
            behind = max(behind, stop - (number + 1) * axis.tile)
    return _up(before, axis.grid), _up(behind, axis.grid)


def margin_of(axis: AxisPlan) -> int:
    """The same on both sides."""
    return max(sides_of(axis))


def trim_of(axis: AxisPlan, sides: tuple[int, int], scale: Fraction, rows: int) -> tuple[int, int]:
    """What to take off (before, behind) of a chunk's output of an image that gives ``rows``.

    What an image gives less, or more, than its size times the scale, a chunk does as well.
    """
    before, behind = sides
    return int(before * scale), int(behind * scale) - int(axis.size * scale - rows)


def _up(samples: int, grid: int) -> int:
    return -(-samples // grid) * grid


def uneven(axes: Sequence[AxisPlan]) -> list[str]:
    """Sizes that are no multiples of the stride."""
    return [
        f"the size {axis.size} of axis {axis.axis} is not a multiple of the stride {axis.grid}, "
        f"so that windows do not all end as the image does"
        for axis in axes
        if axis.size % axis.grid
    ]


def wrapped(axes: Sequence[AxisPlan]) -> list[str]:
    """Axes of which an output sees both ends."""
    return [
        f"outputs at the border of axis {axis.axis} see the other end of the image"
        for axis in axes
        if axis.border == "wrapped"
    ]


def moved(plan: Tiling) -> list[str]:
    """Axes that stand elsewhere in an output."""
    return [
        f"axis {axis.axis} is dimension {dim} of the output '{output.name}', and pieces are put "
        f"where they were cut"
        for output in plan.outputs
        for axis, dim in zip(plan.axes, output.dims, strict=True)
        if axis.axis != dim
    ]


def cut(plan: Tiling) -> list[str]:
    """Outputs that are not padded to the size of the input."""
    return [
        f"the output '{output.name}' has {output.shape[dim]} samples of axis {axis.axis} and not "
        f"{axis.size * scale}, since it is not padded to the input's"
        for output in plan.outputs
        for axis, dim, scale in zip(plan.axes, output.dims, output.scales, strict=True)
        if not axis.size % axis.grid and output.shape[dim] != axis.size * scale
    ]


def _small(windows: Sequence[ToolWindow]) -> list[str]:
    return [
        f"the window of {one.window} is larger than axis {one.axis} of {one.size}; "
        "use smaller tiles"
        for one in windows
        if one.window > one.size
    ]


def _elsewhere(plan: Tiling) -> list[str]:
    return [
        f"axis {axis.axis} is tiled, and only those behind batch and channels are there"
        for axis in plan.axes
        if axis.axis < _FIRST
    ]


def misfits(plan: Tiling, windows: Sequence[ToolWindow]) -> list[str]:
    """What is in the way where windows of one size are laid from the image's first sample on."""
    axes = cut_axes(plan)
    found = [*_elsewhere(plan), *uneven(axes), *wrapped(axes), *moved(plan), *cut(plan)]
    return [*found, *_small(windows)]
