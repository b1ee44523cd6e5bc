"""What to tell other tools so that their tiles give what the whole image gives, or why none can.

Each tool cuts, weighs and joins in its own way; what is exact in one is not in the next.  Sources:

- MONAI, ``sliding_window_inference``: windows start every int(roi · (1 − overlap)) samples, the
  last is pulled back to end with the image, all windows have the same weights, and sums of
  weighted outputs are divided by the sum of weights.
- TorchIO, ``GridSampler`` and ``GridAggregator(overlap_mode='crop')``: windows start every
  patch_size − patch_overlap samples, the last is pulled back, and half the overlap is cropped from
  every side that is not the volume's border.
- Dask, ``dask.array.map_overlap`` with boundary 'none': every chunk with ``depth`` samples of its
  neighbours, nothing at the border; ``trim`` takes off as much of the result.
- bioimage.io (model description 0.5, bioimageio.core): a block is ``min + n · step`` samples, of
  which ``halo`` are cropped from either side of the output; at the border blocks are padded by
  reflection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from fieldwise.tile.crops.parts import AxisPlan, OutputPlan


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
class ToolSettings:
    """The parameters of a call of another tool.

    tool, call: which; settings: its arguments
    exact:      whether the tool gives what the whole image gives with them
    why:        what keeps it from being exact, and what to do about it
    """

    tool: str
    call: str
    settings: Mapping[str, object]
    exact: bool
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = ", ".join(f"{name}={_text(value)}" for name, value in self.settings.items())
        verdict = "exact" if self.exact else "not exact: " + "; ".join(self.why)
        return f"{self.call}({told})  # {verdict}"


def _text(value: object) -> str:
    return f"<array {'x'.join(map(str, value.shape))}>" if hasattr(value, "shape") else repr(value)


# -------------------------------------------------------------------- the tools


def as_monai(plan: Tiling) -> ToolSettings:
    """For ``sliding_window_inference``: exact away from the borders, with a weight map of the core.

    With any other weights, outputs that see beyond their window count as well.
    """
    margins = [_margin(axis) for axis in plan.axes]
    roi = [axis.tile + 2 * margin for axis, margin in zip(plan.axes, margins, strict=True)]
    core = np.zeros(roi, dtype=np.float32)
    core[tuple(slice(margin, size - margin) for margin, size in zip(margins, roi, strict=True))] = 1
    settings = {
        "roi_size": tuple(roi),
        "sw_batch_size": 1,
        "overlap": tuple(
            1 - (axis.tile + 0.5) / size for axis, size in zip(plan.axes, roi, strict=True)
        ),
        "mode": "constant",
        "roi_weight_map": core,
    }
    why = [*_uneven(plan), *_wrapped(plan), *_moved(plan), *_cut(plan), *_small(plan, roi)]
    if any(margins):
        why.append(
            f"all windows have the same weights, so that the outer {max(margins)} samples of the "
            f"image get none (NaN); take the inner part, or use fieldwise.tile.tiled"
        )
    return _settings("MONAI", "sliding_window_inference", settings, why)


def as_torchio(plan: Tiling) -> ToolSettings:
    """For ``GridSampler`` and ``GridAggregator``, which know volumes alone.

    An image has a last axis of one sample there, to be added and taken off around the model.
    """
    margins = [_margin(axis) for axis in plan.axes]
    patch = [axis.tile + 2 * margin for axis, margin in zip(plan.axes, margins, strict=True)]
    flat = 3 - len(patch)
    settings: dict[str, object] = {
        "patch_size": (*patch, *[1] * flat),
        "patch_overlap": (*(2 * margin for margin in margins), *[0] * flat),
        "padding_mode": None,
        "overlap_mode": "crop",
    }
    why = [*_uneven(plan), *_wrapped(plan), *_moved(plan), *_cut(plan), *_small(plan, patch)]
    scales = {scale for output in plan.outputs for scale in output.scales}
    if scales != {1}:
        why.append("outputs of another size than the input are not cropped to scale")
    return _settings("TorchIO", "GridSampler, GridAggregator", settings, why)


def as_dask(plan: Tiling) -> ToolSettings:
    """For ``dask.array.map_overlap`` on an array that is chunked by ``chunks``.

    Where an output is not of the input's size, what is trimmed is not the depth: then ``trim`` is
    False and ``trim_output`` says, per output and axis, what to take off (before, behind).
    """
    sides = {axis.axis: _sides(axis) for axis in plan.axes}
    same = all(s == 1 for output in plan.outputs for s in output.scales) and not _cut(plan)
    rank = len(plan.shapes[0])
    settings: dict[str, object] = {
        "chunks": tuple(
            next((axis.tile for axis in plan.axes if axis.axis == dim), -1) for dim in range(rank)
        ),
        "depth": {dim: sides.get(dim, 0) for dim in range(rank)},
        "boundary": "none",
        "trim": same,
        "allow_rechunk": False,
    }
    if not same:
        settings["trim_output"] = {
            output.name: {
                dim: _trim(axis, sides[axis.axis], scale, output.shape[dim])
                for axis, dim, scale in zip(plan.axes, output.dims, output.scales, strict=True)
            }
            for output in plan.outputs
        }
    why = [*_uneven(plan), *_wrapped(plan), *_moved(plan)]
    for axis in plan.axes:
        last = axis.size % axis.tile or axis.tile
        if axis.size > axis.tile and max(sides[axis.axis]) > last:
            why.append(
                f"the last chunk of axis {axis.axis} has {last} samples and its neighbour needs "
                f"{max(sides[axis.axis])} of it; use larger tiles"
            )
    return _settings("Dask", "dask.array.map_overlap", settings, why)


def as_bioimageio(plan: Tiling) -> ToolSettings:
    """For the axes of a model description: sizes and halos as multiples of the grid."""
    inputs: dict[int, object] = {}
    outputs: dict[str, dict[int, object]] = {output.name: {} for output in plan.outputs}
    why = [*_uneven(plan), *_wrapped(plan)]
    for place, axis in enumerate(plan.axes):
        margin = _margin(axis)
        inputs[axis.axis] = {"size": {"min": 2 * margin + axis.grid, "step": axis.grid}}
        for output in plan.outputs:
            scale = output.scales[place]
            outputs[output.name][output.dims[place]] = {
                "halo": int(margin * scale),
                "scale": str(1 / scale),
            }
        if margin:
            why.append(
                f"blocks are padded by reflection, so that the outer {margin} samples of axis "
                f"{axis.axis} are not what the whole image gives"
            )
    return _settings("bioimage.io", "axes", {"inputs": inputs, "outputs": outputs}, why)


def _settings(
    tool: str, call: str, settings: Mapping[str, object], why: Sequence[str]
) -> ToolSettings:
    return ToolSettings(tool, call, settings, not why, tuple(why))


# -------------------------------------------------------------------- what stands in the way


def _sides(axis: AxisPlan) -> tuple[int, int]:
    """The samples (before, behind) that crops hold beyond their tiles: multiples of the grid."""
    before, behind = axis.halo
    for number, piece in enumerate(axis.pieces):
        start, stop = piece.reads[0][0], piece.reads[-1][1]
        if len(piece.reads) == 1 and start > 0:
            before = max(before, number * axis.tile - start)
        if len(piece.reads) == 1 and stop < axis.size:
            behind = max(behind, stop - (number + 1) * axis.tile)
    return _up(before, axis.grid), _up(behind, axis.grid)


def _margin(axis: AxisPlan) -> int:
    """The same on both sides."""
    return max(_sides(axis))


def _trim(axis: AxisPlan, sides: tuple[int, int], scale: Fraction, rows: int) -> tuple[int, int]:
    """What to take off (before, behind) of a chunk's output of an image that gives ``rows``.

    What an image gives less, or more, than its size times the scale, a chunk does as well.
    """
    before, behind = sides
    return int(before * scale), int(behind * scale) - int(axis.size * scale - rows)


def _up(samples: int, grid: int) -> int:
    return -(-samples // grid) * grid


def _uneven(plan: Tiling) -> list[str]:
    return [
        f"the size {axis.size} of axis {axis.axis} is not a multiple of the stride {axis.grid}, "
        f"so that windows do not all end as the image does"
        for axis in plan.axes
        if axis.size % axis.grid
    ]


def _wrapped(plan: Tiling) -> list[str]:
    return [
        f"outputs at the border of axis {axis.axis} see the other end of the image"
        for axis in plan.axes
        if axis.border == "wrapped"
    ]


def _moved(plan: Tiling) -> list[str]:
    return [
        f"axis {axis.axis} is dimension {dim} of the output '{output.name}', and pieces are put "
        f"where they were cut"
        for output in plan.outputs
        for axis, dim in zip(plan.axes, output.dims, strict=True)
        if axis.axis != dim
    ]


def _cut(plan: Tiling) -> list[str]:
    return [
        f"the output '{output.name}' has {output.shape[dim]} samples of axis {axis.axis} and not "
        f"{axis.size * scale}, since it is not padded to the input's"
        for output in plan.outputs
        for axis, dim, scale in zip(plan.axes, output.dims, output.scales, strict=True)
        if not axis.size % axis.grid and output.shape[dim] != axis.size * scale
    ]


def _small(plan: Tiling, window: Sequence[int]) -> list[str]:
    return [
        f"the window of {size} is larger than axis {axis.axis} of {axis.size}; use smaller tiles"
        for axis, size in zip(plan.axes, window, strict=True)
        if size > axis.size
    ]
