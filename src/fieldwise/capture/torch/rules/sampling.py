"""Ops that look where the data say: unknown along space, exact in the other dimensions."""

from __future__ import annotations

import numpy as np

from fieldwise.axes import IndexSet, index_map
from fieldwise.capture.torch.registry import OpCall, Reads, known_values, one, rule
from fieldwise.capture.torch.rules.common import (
    MOST_PLACES,
    blocks,
    entirely,
    per_result,
    separably,
)
from fieldwise.capture.torch.rules.grids import axis_taps, places_read, rows_read
from fieldwise.capture.torch.rules.indexing import line_along
from fieldwise.graph.ir import (
    WHOLE,
    Along,
    Coord,
    Read,
    Ref,
    Reshape,
    Separable,
    Unknown,
    numel,
    separable,
)
from fieldwise.graph.kinds import ANY, LINEAR, Kind

# -------------------------------------------------------------------- sampling on a grid


def _sampling(call: OpCall) -> Kind:
    """A constant grid gives every place weights that depend on the place alone."""
    return ANY if isinstance(call["grid"], Ref) else LINEAR


@rule(
    "grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "_grid_sampler_2d_cpu_fallback",
    name="grid_sample", kind=_sampling, asks=("grid",),
)  # fmt: skip
def _grid_sample(call: OpCall) -> Reads:
    """The image where the grid says, if that is constant; the grid at the position itself."""
    space = range(2, len(call.result))
    number = call.operand("input")
    image = [] if number is None else [_sampled(number, call)]
    return one(*image, *separably(call, grid=[Along(0), *map(Along, space), WHOLE]))


def _sampled(number: int, call: OpCall) -> Read:
    shape, grid = call.operands[number], known_values(call["grid"])
    rank = len(shape) - 2
    if grid is None or not grid.size or not (grid == grid[:1]).all():
        why = f"{call.named('grid_sample')} reads at positions that its grid holds"
        if grid is not None:
            why = f"{call.named('grid_sample')} reads at other positions in each image of a batch"
        return separable(number, Along(0), Along(1), *[Unknown(why)] * rank)
    options = (call["interpolation_mode"], call["padding_mode"])
    corners = bool(call["align_corners"])
    coordinates = [grid[0, ..., rank - 1 - axis].astype(np.float64) for axis in range(rank)]
    lines = [line_along(at, axis) for axis, at in enumerate(coordinates)]
    sizes = shape[2:]
    if all(line is not None for line in lines):
        along = [
            Along(2 + axis, index_map(rows_read(axis_taps(line, size, *options, corners=corners))))
            for axis, (line, size) in enumerate(zip(lines, sizes, strict=True))
            if line is not None
        ]
        return separable(number, Along(0), Along(1), *along)
    if numel(call.result[2:]) > MOST_PLACES:
        why = f"{call.named('grid_sample')} reads at more positions than are listed one by one"
        return separable(number, Along(0), Along(1), *[Unknown(why)] * rank)
    taps = [
        axis_taps(at, size, *options, corners=corners)
        for at, size in zip(coordinates, sizes, strict=True)
    ]
    walk = index_map(places_read(taps, sizes))
    step = Separable((Along(0), Along(1), Along(2, walk)))
    flat, wide = (*shape[:2], numel(sizes)), (*call.result[:2], numel(call.result[2:]))
    return Read(number, (Reshape(), step, Reshape()), (flat, wide))


@rule("affine_grid_generator", kind=LINEAR)
def _affine_grid(call: OpCall) -> Reads:
    """Coordinate k of every position is row k of the matrix applied to the position."""
    return one(*separably(call, theta=(Along(0), Along(len(call.result) - 1), WHOLE)))


# -------------------------------------------------------------------- torchvision


@rule("torchvision::deform_conv2d")
def _deform_conv2d(call: OpCall) -> Reads:
    """Offsets and masks are read at the position itself, by the groups that channels are in."""
    why = Unknown(f"{call.named('deform_conv2d')} reads at positions that its offsets hold")
    before, after = call.shape("input")[1], call.result[1]
    groups, offset_groups = call["groups"], call["offset_groups"]
    reads = separably(call, input=(Along(0), blocks(1, before, after, groups), why, why))
    for name in ("offset", "mask"):
        if (number := call.operand(name)) is not None and (name == "offset" or call["use_mask"]):
            taps = call.operands[number][1] // offset_groups
            channels = _offset_channels(before, after, groups, offset_groups, taps)
            reads.append(separable(number, Along(0), channels, Along(2), Along(3)))
    kernel = (Along(1), WHOLE, WHOLE, WHOLE)
    return one(*reads, *separably(call, weight=kernel, bias=(Along(1),)))


def _offset_channels(before: int, after: int, groups: int, offset_groups: int, taps: int) -> Coord:
    """An output channel reads the offsets of the input channels of its group."""
    if offset_groups == 1 or groups == 1:
        return WHOLE
    share, per_offset = before // groups, before // offset_groups
    rows = []
    for channel in range(after):
        group = channel // (after // groups)
        first, last = group * share // per_offset, ((group + 1) * share - 1) // per_offset
        rows.append(IndexSet.range(first * taps, (last + 1) * taps))
    return Along(1, index_map(rows))


@rule("torchvision::roi_align", "torchvision::roi_pool")
def _roi_align(call: OpCall) -> Reads:
    return _regions(call, Along(1))


@rule("torchvision::ps_roi_align", "torchvision::ps_roi_pool")
def _ps_roi_align(call: OpCall) -> Reads:
    """Every cell of a region has its own channel."""
    return _regions(call, Unknown("position-sensitive pooling picks channels by position"))


def _regions(call: OpCall, channels: Coord) -> Reads:
    """Any sample of any image of the batch; of the boxes the one in question."""
    why = Unknown(f"{call.called} reads the regions that its boxes hold")
    boxes = (Along(0), WHOLE)
    return per_result(call, *separably(call, input=(why, channels, why, why), rois=boxes))


@rule("torchvision::nms")
def _nms(call: OpCall) -> Reads:
    why = Unknown(f"{call.named('nms')} keeps boxes by their scores and overlaps")
    return one(*entirely(call, coord=why))
