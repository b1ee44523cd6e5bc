"""Operators of com.microsoft.nchwc: what ONNX Runtime writes for the processor it runs on.

Channels lie in blocks there.  Here they lie as ever; what is undone is the order of the weights.
The size of a block is not in the file: it is that of this processor, as in ONNX Runtime.
"""

from __future__ import annotations

import platform
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.translate.contrib import (
    channels_first,
    channels_last,
    fused_conv,
)
from fieldwise.capture.onnx.translate.resample import resized_by_scales
from fieldwise.capture.onnx.translate.window import average_pool, max_pool

_nchwc = partial(translates, domain="com.microsoft.nchwc")


def _block(channels: int) -> int:
    """How many channels lie side by side, of so many."""
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512" or platform.machine() in _ARM
    return 16 if wide and channels % 16 == 0 else 8


_ARM = ("arm64", "aarch64")


@_nchwc("ReorderInput")
def _into_blocks(node: NodeCall, x: Tensor) -> Tensor:
    first = channels_first(x) if node.integer("channels_last", 0) else x
    more = -first.shape[1] % _block(0)
    return F.pad(first, (0, 0, 0, 0, 0, more)) if more else torch.ops.aten.alias.default(first)


@_nchwc("ReorderOutput")
def _out_of_blocks(node: NodeCall, x: Tensor) -> Tensor:
    found = x.narrow(1, 0, node.integer("channels", x.shape[1]))
    return channels_last(found) if node.integer("channels_last", 0) else found


@_nchwc("Conv", learned=(1, 2))
def _conv(
    node: NodeCall, x: Tensor, w: Tensor, b: Tensor | None = None, more: Tensor | None = None
) -> Tensor:
    return fused_conv(node, x, _weights(w), b, more)


def _weights(w: Tensor) -> Tensor:
    """Weights in the order of their shape, which they have not in the file."""
    out, within, high, wide = w.shape
    size = _block(out)
    if within < size:
        laid = w.reshape(out // size, within, high, wide, size).permute(0, 4, 1, 2, 3)
    else:
        laid = w.reshape(out // size, within // size, high, wide, size, size)
        laid = laid.permute(0, 5, 1, 4, 2, 3)
    return laid.reshape(w.shape)


@_nchwc("MaxPool")
def _max_pool(node: NodeCall, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    return max_pool(node, x)


@_nchwc("AveragePool")
def _average_pool(node: NodeCall, x: Tensor) -> Tensor:
    return average_pool(node, x)


@_nchwc("GlobalMaxPool")
def _global_max(node: NodeCall, x: Tensor) -> Tensor:
    return x.amax((2, 3), keepdim=True)


@_nchwc("GlobalAveragePool")
def _global_average(node: NodeCall, x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


@_nchwc("Upsample")
def _upsample(node: NodeCall, x: Tensor) -> Tensor:
    scales = [float(one) for one in node.integers("scales") or []]
    how = node.text("coordinate_transformation_mode", "asymmetric")
    return resized_by_scales(node, x, scales, how, "floor")
