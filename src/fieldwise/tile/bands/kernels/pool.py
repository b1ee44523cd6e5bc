"""Pools: windows padded with what does not count, at the streamed axis's real ends only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.graph.calls import op_name, per_axis, rebind, replay
from fieldwise.tile.bands.kernels.edges import SlidingWindows
from fieldwise.tile.bands.kernels.layout import row_major
from fieldwise.tile.bands.kernels.pieces import by_pieces
from fieldwise.tile.bands.kernels.registry import ENDLESS, Executor, Link, Rows, Site, executor
from fieldwise.tile.bands.kernels.replayed import replayed
from fieldwise.tile.errors import Blocked


def _spatial_axis(site: Site) -> int:
    """Which of the pooled axes is streamed; negative where samples or channels are."""
    return site.dim - (len(site.shape) - _axes(site))


def _arguments(site: Site) -> tuple[int, Link, int, dict[str, Any]]:
    """Operand number, link, the streamed spatial axis, and the window per spatial axis."""
    number, link = site.only("self")
    if site.result:
        raise Blocked("the positions of its maxima are used, and these count from the first row")
    axes, axis = _axes(site), _spatial_axis(site)
    given = site.given
    kernel = per_axis(given["kernel_size"], axes, 1)
    options = {
        "kernel_size": kernel,
        "stride": per_axis(given.get("stride") or kernel, axes, 1),
        "padding": list(per_axis(given["padding"], axes, 0)),
        "ceil_mode": given["ceil_mode"],
    }
    return number, link, axis, options


def _axes(site: Site) -> int:
    """Spatial axes, from the operator's name ('max_pool2d_with_indices')."""
    return int(op_name(site.node).partition("pool")[2][0])


@executor("max_pool")
def _max_pool(site: Site) -> Executor:
    if _spatial_axis(site) < 0:
        return row_major(replayed(site)) if _is_unbatched_volume(site) else replayed(site)
    number, link, axis, options = _arguments(site)
    axes = len(options["kernel_size"])
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]
    options["dilation"] = per_axis(site.given.get("dilation"), axes, 1)
    most, stride = options["kernel_size"][axis] // 2, options["stride"][axis]
    windows = SlidingWindows(link.reach, stride, most, fill=float("-inf"))

    def pooled(rows: Rows, lo: int, hi: int, room: Tensor | None = None) -> Tensor:
        seen = windows.read(rows, number, lo, hi)
        pads = [*options["padding"]]
        pads[axis] = seen.padding
        given = {**options, "padding": pads}
        if room is not None and not seen.padding and _lie_alike(seen.rows, room):
            return _written(room, seen.rows, given)
        found = seen.cropped(pool(seen.rows, **given), site.dim, hi - lo)
        return found if room is None else room.copy_(found)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        if rows.room is None:
            return (pooled(rows, lo, hi),)
        return (by_pieces(rows, site.streamed, site.dim, lo, hi, partial(pooled, rows)),)

    found = Executor(run, pieces=True, copies=windows.copies)
    return row_major(found) if _is_unbatched_volume(site) else found


def _lie_alike(rows: Tensor, room: Tensor) -> bool:
    """Whether both are images in one block of memory each, in channels-last, as the pool asks.

    A single pixel lies in every layout at once, and torch goes by its strides.
    """
    return rows.dim() == 4 and all(
        one.is_contiguous(memory_format=torch.channels_last) and one.stride(-1) == one.shape[1]
        for one in (rows, room)
    )


def _written(room: Tensor, rows: Tensor, options: Mapping[str, Any]) -> Tensor:
    """What ``max_pool2d`` does without a gradient, its result written there."""
    places = torch.empty_like(room, dtype=torch.int64)
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    pool = torch.ops.aten.max_pool2d_with_indices.out
    pool(rows, *(options[name] for name in names), out=room, indices=places)
    return room


def _is_unbatched_volume(site: Site) -> bool:
    """Torch takes four dimensions for a batch of images, and refuses their layout for volumes."""
    return _axes(site) == len(site.shape) - 1 == 3


@executor("avg_pool")
def _avg_pool(site: Site) -> Executor:
    """Windows are summed with zeros; a window that counts fewer rows than it has is scaled up."""
    if _spatial_axis(site) < 0:
        return replayed(site)
    number, link, axis, options = _arguments(site)
    axes = len(options["kernel_size"])
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]
    options["count_include_pad"] = site.given["count_include_pad"]
    divisor = site.given.get("divisor_override")
    if axes > 1:
        options["divisor_override"] = divisor
    size, pad = link.reach.size or ENDLESS, options["padding"][axis]
    margin = pad if options["count_include_pad"] else 0
    kernel, stride = options["kernel_size"][axis], options["stride"][axis]
    options["padding"][axis] = 0

    def counted(row: int) -> int:
        start = row * stride - pad
        return min(start + kernel, size + margin) - max(start, -margin)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        y = pool(rows.padded(number, *link.reach.raw(lo, hi), Border.DROP), **options)
        if divisor is not None or counted(lo) == counted(hi - 1) == kernel:
            return (y,)
        factors = [kernel / counted(row) for row in range(lo, hi)]
        shape = [hi - lo if dim == site.dim else 1 for dim in range(y.dim())]
        return (y * y.new_tensor(factors).reshape(shape),)

    return Executor(run)


@executor("adaptive_avg_pool", "adaptive_max_pool")
def _adaptive_pool(site: Site) -> Executor:
    """Row by row: the windows of an adaptive pool differ in length."""
    axes, axis = _axes(site), _spatial_axis(site)
    if axis < 0:
        return replayed(site)
    number, link = site.only("self")
    if site.result:
        raise Blocked("the positions of its maxima are used, and these count from the first row")
    sizes = site.shape[-axes:]
    before, after = link.shape[link.dim], site.rows
    even = before % after == 0

    def pooled(x: Tensor, rows: int) -> Tensor:
        sizes_here = [rows if place == axis else size for place, size in enumerate(sizes)]
        return replay(rebind(site.call, {"output_size": sizes_here}), {number: x})[0]

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        if even:
            return (pooled(rows.inside(number, *link.reach.span(lo, hi)), hi - lo),)
        windows = [(i * before // after, -((i + 1) * before // -after)) for i in range(lo, hi)]
        parts = [pooled(rows.inside(number, *window), 1) for window in windows]
        return (torch.cat(parts, site.dim),)

    return Executor(run)
