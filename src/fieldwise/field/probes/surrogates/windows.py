"""Maxima over windows, as sums over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.field.probes.surrogates.operation import (
    Operation,
    finite,
    per_axis,
    register,
)


@register(
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices",
    "max_pool2d_with_indices", "max_pool3d_with_indices",
)  # fmt: skip
def _max_pool(op: Operation) -> Sequence[Tensor]:
    """A convolution with a kernel of ones per channel; beyond the border there is nothing."""
    axes = int(op.name[8])
    image = finite(op.args["self"])
    kernel = per_axis(op.args["kernel_size"], axes)
    stride = per_axis(op.args["stride"] or kernel, axes)
    padding = per_axis(op.args["padding"], axes)
    dilation = per_axis(op.args["dilation"], axes)
    pads: list[int] = []
    for axis in reversed(range(axes)):
        reach = (op.shape[axis - axes] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        behind = max(0, reach - padding[axis] - image.shape[axis - axes])
        pads += [padding[axis], behind]
    flat = F.pad(image.reshape(-1, 1, *image.shape[-axes:]), pads)
    ones = torch.ones(1, 1, *kernel, dtype=torch.float64)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    sums = convolve(flat, ones, stride=stride, dilation=dilation)
    inside: tuple[Any, ...] = (..., *(slice(0, size) for size in op.shape[-axes:]))
    return (sums[inside].reshape(op.shape),) * len(op.shapes)


@register("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(op: Operation) -> Sequence[Tensor]:
    average = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
    return (average[int(op.name[17]) - 1](finite(op.args["self"]), op.args["output_size"]),) * 2
