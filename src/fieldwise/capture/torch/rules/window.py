"""Convolutions and pools: a window that slides along each spatial axis.

Layout: (batch, channels, *spatial), or without the batch where torch allows it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.capture.torch.registry import OpCall, Reads, one, rule
from fieldwise.graph.ir import WHOLE, Along, Coord, Read, Unknown, separable


def per_axis(value: int | Sequence[int] | None, axes: int, default: int = 0) -> tuple[int, ...]:
    """A torch size argument, once per spatial axis."""
    if value is None or (not isinstance(value, int) and len(value) == 0):
        return (default,) * axes
    if isinstance(value, int):
        return (value,) * axes
    return tuple(value) * axes if len(value) == 1 else tuple(value)


def channel_blocks(groups: int, before: int, after: int, dim: int) -> Coord:
    """Input channels that an output channel of a grouped convolution reads."""
    if groups == 1:
        return WHOLE
    block = IndexSet.range(0, before // groups)
    return Along(dim, AxisMap(before // groups, (block,) * (after // groups)))


def _convolution(call: OpCall, axes: int, *, transposed: bool) -> Reads:
    weight = call.shape("weight")
    stride = per_axis(call["stride"], axes, 1)
    dilation = per_axis(call["dilation"], axes, 1)
    taps = structural_taps(call, weight[2:])
    padding = _conv_padding(call["padding"], axes, weight[2:], dilation)
    reads: list[Read] = []
    source = call.operand("input")
    if source is not None:
        shape = call.operands[source]
        batch = len(shape) - axes - 1
        channel = channel_blocks(call["groups"], shape[batch], call.result[batch], batch)
        spatial = []
        for axis in range(axes):
            if transposed:
                size = weight[2 + axis]
                index = AxisMap.transposed(
                    size, stride=stride[axis], dilation=dilation[axis], padding=padding[axis]
                )
            else:
                offsets = taps[axis].scale(dilation[axis]).shift(-padding[axis])
                index = AxisMap(stride[axis], (offsets,))
            spatial.append(Along(batch + 1 + axis, index))
        reads.append(separable(source, *(Along(d) for d in range(batch)), channel, *spatial))
    reads.extend(_weight_reads(call, len(call.result) - axes - 1))
    return one(*reads)


def structural_taps(call: OpCall, sizes: Sequence[int]) -> tuple[IndexSet, ...]:
    """Per spatial axis the kernel taps that can be non-zero: all of them."""
    return tuple(IndexSet.range(0, size) for size in sizes)


def _weight_reads(call: OpCall, channel: int) -> list[Read]:
    """Reads of a kernel or bias that itself derives from the input (hypernetworks)."""
    reads = []
    for name in ("weight", "bias"):
        number = call.operand(name)
        if number is not None:
            rest = len(call.operands[number]) - 1
            first = Along(channel) if call["groups"] == 1 and name == "bias" else WHOLE
            reads.append(separable(number, first, *([WHOLE] * rest)))
    return reads


def _conv_padding(
    padding: object, axes: int, kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """Padding before index 0; for 'same' the smaller half goes in front, as in torch."""
    if padding == "valid":
        return (0,) * axes
    if padding == "same":
        return tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    return per_axis(padding, axes)  # type: ignore[arg-type]


@rule("conv1d", name="conv")
def _conv1d(call: OpCall) -> Reads:
    return _convolution(call, 1, transposed=False)


@rule("conv2d", name="conv")
def _conv2d(call: OpCall) -> Reads:
    return _convolution(call, 2, transposed=False)


@rule("conv3d", name="conv")
def _conv3d(call: OpCall) -> Reads:
    return _convolution(call, 3, transposed=False)


@rule("conv_transpose1d", name="conv_transpose")
def _conv_transpose1d(call: OpCall) -> Reads:
    return _convolution(call, 1, transposed=True)


@rule("conv_transpose2d", name="conv_transpose")
def _conv_transpose2d(call: OpCall) -> Reads:
    return _convolution(call, 2, transposed=True)


@rule("conv_transpose3d", name="conv_transpose")
def _conv_transpose3d(call: OpCall) -> Reads:
    return _convolution(call, 3, transposed=True)


@rule("convolution", name="conv")
def _generic_convolution(call: OpCall) -> Reads:
    return _convolution(call, len(call.shape("weight")) - 2, transposed=call["transposed"])


def _pool(call: OpCall, axes: int) -> Reads:
    source = call.operand("self")
    assert source is not None
    lead = len(call.operands[source]) - axes
    kernel = per_axis(call["kernel_size"], axes)
    stride = per_axis(call["stride"] or kernel, axes)
    padding = per_axis(call["padding"], axes)
    dilation = per_axis(call.args.get("dilation"), axes, 1)
    coords: list[Coord] = [Along(dim) for dim in range(lead)]
    for axis in range(axes):
        index = AxisMap.window(
            kernel[axis], stride=stride[axis], dilation=dilation[axis], padding=padding[axis]
        )
        coords.append(Along(lead + axis, index))
    return ((separable(source, *coords),),) * len(call.results)


@rule("max_pool1d", "max_pool1d_with_indices", name="max_pool")
def _max_pool1d(call: OpCall) -> Reads:
    return _pool(call, 1)


@rule("max_pool2d", "max_pool2d_with_indices", name="max_pool")
def _max_pool2d(call: OpCall) -> Reads:
    return _pool(call, 2)


@rule("max_pool3d", "max_pool3d_with_indices", name="max_pool")
def _max_pool3d(call: OpCall) -> Reads:
    return _pool(call, 3)


@rule("avg_pool1d", name="avg_pool")
def _avg_pool1d(call: OpCall) -> Reads:
    return _pool(call, 1)


@rule("avg_pool2d", name="avg_pool")
def _avg_pool2d(call: OpCall) -> Reads:
    return _pool(call, 2)


@rule("avg_pool3d", name="avg_pool")
def _avg_pool3d(call: OpCall) -> Reads:
    return _pool(call, 3)


def _adaptive(call: OpCall, axes: int) -> Reads:
    """Output i pools the inputs from ⌊i·in/out⌋ to ⌈(i+1)·in/out⌉ − 1."""
    source = call.operand("self")
    assert source is not None
    shape = call.operands[source]
    lead = len(shape) - axes
    coords: list[Coord] = [Along(dim) for dim in range(lead)]
    for dim in range(lead, len(shape)):
        coords.append(_adaptive_axis(dim, shape[dim], call.results[0][dim]))
    return ((separable(source, *coords),),) * len(call.results)


def _adaptive_axis(dim: int, before: int, after: int) -> Coord:
    if after == 1:
        return WHOLE
    windows = tuple(
        IndexSet.range(i * before // after, -(-(i + 1) * before // after)) for i in range(after)
    )
    return Along(dim, AxisMap(before, windows))


@rule("adaptive_avg_pool1d", name="adaptive_avg_pool")
def _adaptive_avg_pool1d(call: OpCall) -> Reads:
    return _adaptive(call, 1)


@rule("adaptive_avg_pool2d", "_adaptive_avg_pool2d", name="adaptive_avg_pool")
def _adaptive_avg_pool2d(call: OpCall) -> Reads:
    return _adaptive(call, 2)


@rule("adaptive_avg_pool3d", "_adaptive_avg_pool3d", name="adaptive_avg_pool")
def _adaptive_avg_pool3d(call: OpCall) -> Reads:
    return _adaptive(call, 3)


@rule("adaptive_max_pool1d", name="adaptive_max_pool")
def _adaptive_max_pool1d(call: OpCall) -> Reads:
    return _adaptive(call, 1)


@rule("adaptive_max_pool2d", name="adaptive_max_pool")
def _adaptive_max_pool2d(call: OpCall) -> Reads:
    return _adaptive(call, 2)


@rule("adaptive_max_pool3d", name="adaptive_max_pool")
def _adaptive_max_pool3d(call: OpCall) -> Reads:
    return _adaptive(call, 3)


@rule("max_unpool2d", "max_unpool3d", name="max_unpool")
def _max_unpool(call: OpCall) -> Reads:
    """Where a value lands depends on the indices, hence on the data."""
    reads = []
    for name in ("self", "indices"):
        source = call.operand(name)
        if source is None:
            continue
        shape = call.operands[source]
        lead = len(shape) - (3 if call.op.endswith("3d") else 2)
        why = "max_unpool writes to positions that depend on the data"
        coords: list[Coord] = [Along(dim) for dim in range(lead)]
        reads.append(separable(source, *coords, *[Unknown(why)] * (len(shape) - lead)))
    return one(*reads)
