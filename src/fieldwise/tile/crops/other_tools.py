"""What to tell other tools so that their tiles give what the whole image gives, or why none can.

Each tool cuts, weighs and joins in its own way; what is exact in one is not in the next.  Sources:

- MONAI, ``sliding_window_inference``: windows start every int(roi · (1 − overlap)) samples, the
  last is pulled back to end with the image, all windows have the same weights, and sums of
  weighted outputs are divided by the sum of weights.
- TorchIO, ``GridSampler`` and ``GridAggregator(overlap_mode='crop')``: windows start every
  patch_size − patch_overlap samples, the last is pulled back, and half the overlap is cropped from
  every side that is not the volume's border.
- CAREamics, ``TiledPatching`` and ``stitch_prediction``: as TorchIO, and where the last window is
  pulled back it gives what the one before it did not.
- TerraTorch, ``tiled_inference``: chips of ``crop`` samples every ``stride``, of which ``delta``
  are cropped from every side; with padding the image is first mirrored by delta.
- Dask, ``dask.array.map_overlap`` with boundary 'none': every chunk with ``depth`` samples of its
  neighbours, nothing at the border; ``trim`` takes off as much of the result.
- bioimage.io (model description 0.5, bioimageio.core): a block is ``min + n · step`` samples, of
  which ``halo`` are cropped from either side of the output; at the border blocks are padded by
  reflection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fieldwise.tile.crops.windows import (
    Tiling,
    ToolWindow,
    cut,
    cut_axes,
    is_whole,
    margin_of,
    misfits,
    moved,
    sides_of,
    trim_of,
    uneven,
    windows_of,
    wrapped,
)

_IMAGE, _VOLUME = 2, 3
"""Axes of an image, of a volume."""


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
    windows = windows_of(plan)
    core = np.zeros([one.window for one in windows], dtype=np.float32)
    core[tuple(slice(one.margin, one.window - one.margin) for one in windows)] = 1
    settings = {
        "roi_size": tuple(one.window for one in windows),
        "sw_batch_size": 1,
        "overlap": tuple(one.overlap for one in windows),
        "mode": "constant",
        "roi_weight_map": core,
    }
    why = misfits(plan, windows)
    widest = max(one.margin for one in windows)
    if widest:
        why.append(
            f"all windows have the same weights, so that the outer {widest} samples of the "
            f"image get none (NaN); take the inner part, or use fieldwise.tile.tiled"
        )
    return _settings("MONAI", "sliding_window_inference", settings, why)


def as_torchio(plan: Tiling) -> ToolSettings:
    """For ``GridSampler`` and ``GridAggregator``, which know volumes alone.

    An image has a last axis of one sample there, to be added and taken off around the model.
    """
    windows = windows_of(plan)
    flat = _VOLUME - len(windows)
    settings: dict[str, object] = {
        "patch_size": (*(one.window for one in windows), *[1] * flat),
        "patch_overlap": (*_overlaps(windows), *[0] * flat),
        "padding_mode": None,
        "overlap_mode": "crop",
    }
    why = misfits(plan, windows)
    if flat < 0:
        why.append(f"a volume has three axes, and the input has {len(windows)}")
    why += _scaled(plan)
    return _settings("TorchIO", "GridSampler, GridAggregator", settings, why)


def as_careamics(plan: Tiling) -> ToolSettings:
    """For ``CAREamist.predict``: half the overlap is cropped, but at the borders of the image."""
    windows = windows_of(plan)
    settings: dict[str, object] = {
        "tile_size": tuple(one.window for one in windows),
        "tile_overlap": _overlaps(windows),
    }
    why = [*misfits(plan, windows), *_scaled(plan)]
    return _settings("CAREamics", "CAREamist.predict", settings, why)


def as_terratorch(plan: Tiling) -> ToolSettings:
    """For ``tiled_inference`` of TerraTorch, whose chips lose ``delta`` samples on every side.

    There is one delta for both axes.  Both are mirrored by as much, so that the image's borders are
    not those of the whole; blending is off, since it would mix in what chips do not see.
    """
    windows, axes = windows_of(plan), cut_axes(plan)
    delta = max(map(margin_of, plan.axes), default=0) if axes else 0
    settings: dict[str, object] = {"delta": delta}
    for letter, one in zip("hw", windows, strict=False):
        settings |= {f"{letter}_crop": one.tile + 2 * delta, f"{letter}_stride": one.tile}
    settings |= {"blend_overlaps": False, "average_patches": True}
    settings["padding"] = "reflect" if delta else False
    why = [*misfits(plan, windows), *_scaled(plan)]
    if len(windows) != _IMAGE:
        why.append(f"an image has two axes, and the input has {len(windows)}")
    if axes and len(plan.axes) < len(windows):
        why.append("axes that are not tiled are mirrored at their borders too; plan all of them")
    if delta:
        why.append(
            f"the image is mirrored at its borders, so that the outer {delta} samples are not what "
            "the whole image gives"
        )
    return _settings("TerraTorch", "tiled_inference", settings, why)


def as_dask(plan: Tiling) -> ToolSettings:
    """For ``dask.array.map_overlap`` on an array that is chunked by ``chunks``.

    Where an output is not of the input's size, what is trimmed is not the depth: then ``trim`` is
    False and ``trim_output`` says, per output and axis, what to take off (before, behind).
    """
    sides = {axis.axis: (0, 0) if is_whole(axis) else sides_of(axis) for axis in plan.axes}
    rank = len(plan.shapes[0])
    same = all(s == 1 for output in plan.outputs for s in output.scales) and not cut(plan)
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
                dim: trim_of(axis, sides[axis.axis], scale, output.shape[dim])
                for axis, dim, scale in zip(plan.axes, output.dims, output.scales, strict=True)
            }
            for output in plan.outputs
        }
    axes = cut_axes(plan)
    why = [*uneven(axes), *wrapped(axes), *moved(plan)]
    for axis in plan.axes:
        last = axis.size % axis.tile or axis.tile
        if max(sides[axis.axis]) > last:
            why.append(
                f"the last chunk of axis {axis.axis} has {last} samples and its neighbour needs "
                f"{max(sides[axis.axis])} of it; use larger tiles"
            )
    return _settings("Dask", "dask.array.map_overlap", settings, why)


def as_bioimageio(plan: Tiling) -> ToolSettings:
    """For the axes of a model description: sizes and halos as multiples of the grid."""
    inputs: dict[int, object] = {}
    outputs: dict[str, dict[int, object]] = {output.name: {} for output in plan.outputs}
    why = [*uneven(plan.axes), *wrapped(plan.axes)]
    for place, axis in enumerate(plan.axes):
        margin = margin_of(axis)
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


def _overlaps(windows: Sequence[ToolWindow]) -> tuple[int, ...]:
    """By how much neighbours overlap where half of that is cropped from either."""
    return tuple(2 * one.margin for one in windows)


def _scaled(plan: Tiling) -> list[str]:
    scales = {scale for output in plan.outputs for scale in output.scales}
    return (
        [] if scales == {1} else ["outputs of another size than the input are not cropped to scale"]
    )
