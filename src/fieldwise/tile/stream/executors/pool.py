"""Pools: windows padded with what does not count, at the streamed axis's real ends only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.tile.refusal import Blocked
from fieldwise.tile.stream.calls import operator_name
from fieldwise.tile.stream.executors.convolution import per_axis
from fieldwise.tile.stream.executors.registry import ENDLESS, Executor, Link, Rows, Site, executor


def _arguments(site: Site) -> tuple[int, Link, int, dict[str, Any]]:
    """Operand number, link, the streamed spatial axis, and the window per spatial axis."""
    number, link = site.only("self")
    if site.result:
        raise Blocked("the positions of its maxima are used, and these count from the first row")
    axes = _axes(site)
    axis = site.dim - (len(site.shape) - axes)
    if axis < 0:
        raise Blocked("its channels or samples lie along the streamed axis")
    call = site.call
    kernel = per_axis(call["kernel_size"], axes, 1)
    options = {
        "kernel_size": kernel,
        "stride": per_axis(call.get("stride") or kernel, axes, 1),
        "padding": list(per_axis(call["padding"], axes, 0)),
        "ceil_mode": call["ceil_mode"],
    }
    return number, link, axis, options


def _axes(site: Site) -> int:
    """Spatial axes, from the operator's name ('max_pool2d_with_indices')."""
    return int(operator_name(site.call.target).partition("pool")[2][0])


@executor("max_pool")
def _max_pool(site: Site) -> Executor:
    number, link, axis, options = _arguments(site)
    axes = len(options["kernel_size"])
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]
    options["dilation"] = per_axis(site.call.get("dilation"), axes, 1)
    options["padding"][axis] = 0

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        x = rows.padded(number, *link.reach.raw(lo, hi), Border.DROP, fill=float("-inf"))
        return (pool(x, **options),)

    return Executor(run)


@executor("avg_pool")
def _avg_pool(site: Site) -> Executor:
    """Windows are summed with zeros; a window that counts fewer rows than it has is scaled up."""
    number, link, axis, options = _arguments(site)
    axes = len(options["kernel_size"])
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]
    options["count_include_pad"] = site.call["count_include_pad"]
    divisor = site.call.get("divisor_override")
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
    number, link = site.only("self")
    if site.result:
        raise Blocked("the positions of its maxima are used, and these count from the first row")
    axes = _axes(site)
    axis = site.dim - (len(site.shape) - axes)
    if axis < 0:
        raise Blocked("its channels or samples lie along the streamed axis")
    average = site.node.op == "adaptive_avg_pool"
    pool = _ADAPTIVE[average][axes - 1]
    sizes = list(site.shape[len(site.shape) - axes :])
    before, after = link.shape[link.dim], site.rows
    even = before % after == 0

    def pooled(x: Tensor, rows: int) -> Tensor:
        sizes_here = [rows if place == axis else size for place, size in enumerate(sizes)]
        return pool(x, sizes_here)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        if even:
            return (pooled(rows.inside(number, *link.reach.span(lo, hi)), hi - lo),)
        windows = [(i * before // after, -((i + 1) * before // -after)) for i in range(lo, hi)]
        parts = [pooled(rows.inside(number, *window), 1) for window in windows]
        return (torch.cat(parts, site.dim),)

    return Executor(run)


_ADAPTIVE: dict[bool, tuple[Callable[..., Tensor], ...]] = {
    True: (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    False: (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
}
