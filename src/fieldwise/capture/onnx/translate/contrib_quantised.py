"""Quantised operators of com.microsoft: computed in real numbers, and rounded where they round."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.translate.contrib import channels_first, channels_last, microsoft
from fieldwise.capture.onnx.translate.quantised import (
    by_row,
    dequantize,
    dynamic_quantize,
    less,
    q_conv,
    quantize,
    requantised,
)
from fieldwise.capture.onnx.translate.recurrent import lstm
from fieldwise.capture.onnx.translate.window import average_pool

microsoft("QuantizeLinear")(quantize)
microsoft("DequantizeLinear")(dequantize)


def _real(x: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    """What integers stand for."""
    return less(x, zero) * scale.to(torch.float64)


def _whole(found: Tensor, scale: Tensor, zero: Tensor | None, like: Tensor) -> Tensor:
    """The integers that stand for real numbers; without a zero point, of the operand's type."""
    return requantised(found, scale, torch.zeros((), dtype=like.dtype) if zero is None else zero)


# -------------------------------------------------------------------- element by element


@microsoft("QLinearAdd")
def _add(
    node: NodeCall, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, y: Tensor, y_scale: Tensor,
    y_zero: Tensor | None, scale: Tensor, zero: Tensor | None = None,
) -> Tensor:  # fmt: skip
    return _whole(_real(x, x_scale, x_zero) + _real(y, y_scale, y_zero), scale, zero, x)


@microsoft("QLinearMul")
def _mul(
    node: NodeCall, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, y: Tensor, y_scale: Tensor,
    y_zero: Tensor | None, scale: Tensor, zero: Tensor | None = None,
) -> Tensor:  # fmt: skip
    return _whole(_real(x, x_scale, x_zero) * _real(y, y_scale, y_zero), scale, zero, x)


@microsoft("QLinearSigmoid")
def _sigmoid(
    node: NodeCall, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, scale: Tensor,
    zero: Tensor | None = None,
) -> Tensor:  # fmt: skip
    return _whole(torch.sigmoid(_real(x, x_scale, x_zero)), scale, zero, x)


@microsoft("QLinearLeakyRelu")
def _leaky_relu(
    node: NodeCall, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, scale: Tensor,
    zero: Tensor | None = None,
) -> Tensor:  # fmt: skip
    found = F.leaky_relu(_real(x, x_scale, x_zero), node.number("alpha", 0.01))
    return _whole(found, scale, zero, x)


@microsoft("QLinearWhere")
def _where(
    node: NodeCall, condition: Tensor, x: Tensor, x_scale: Tensor, x_zero: Tensor | None,
    y: Tensor, y_scale: Tensor, y_zero: Tensor | None, scale: Tensor, zero: Tensor | None,
) -> Tensor:  # fmt: skip
    found = torch.where(condition, _real(x, x_scale, x_zero), _real(y, y_scale, y_zero))
    return _whole(found, scale, zero, x)


@microsoft("QLinearSoftmax")
def _softmax(
    node: NodeCall, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, scale: Tensor, zero: Tensor
) -> Tensor:
    real = _real(x, x_scale, x_zero)
    axis = node.integer("axis", -1) % x.dim()
    if node.integer("opset", 13) < 13:
        found = F.softmax(real.flatten(axis), -1).reshape(x.shape)
    else:
        found = F.softmax(real, axis)
    return _whole(found, scale, zero, x)


@microsoft("QLinearConcat")
def _concat(node: NodeCall, scale: Tensor, zero: Tensor, *given: Tensor) -> Tensor:
    parts: Sequence[Tensor] = [_real(*given[at : at + 3]) for at in range(0, len(given), 3)]
    return _whole(torch.cat(list(parts), node.integer("axis", 0)), scale, zero, given[0])


# -------------------------------------------------------------------- windows


@microsoft("QLinearConv", learned=(3, 8))
def _conv(node: NodeCall, x: Tensor, *more: Tensor) -> Tensor:
    if node.integer("channels_last", 0):
        return channels_last(q_conv(node, channels_first(x), *more))
    return q_conv(node, x, *more)


@microsoft("QLinearAveragePool")
def _average_pool(
    node: NodeCall, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, scale: Tensor,
    zero: Tensor | None = None,
) -> Tensor:  # fmt: skip
    last, real = bool(node.integer("channels_last", 0)), _real(x, x_scale, x_zero)
    found = average_pool(node, channels_first(real) if last else real)
    return _whole(channels_last(found) if last else found, scale, zero, x)


@microsoft("QLinearGlobalAveragePool")
def _global_average(
    node: NodeCall, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, scale: Tensor,
    zero: Tensor | None = None,
) -> Tensor:  # fmt: skip
    axes = range(1, x.dim() - 1) if node.integer("channels_last", 0) else range(2, x.dim())
    found = _real(x, x_scale, x_zero).mean(tuple(axes), keepdim=True)
    return _whole(found, scale, zero, x)


# -------------------------------------------------------------------- products


@microsoft("QGemm", learned=(3, 6))
def _gemm(
    node: NodeCall, x: Tensor, x_scale: Tensor, x_zero: Tensor, w: Tensor, w_scale: Tensor,
    w_zero: Tensor | None, bias: Tensor | None = None, scale: Tensor | None = None,
    zero: Tensor | None = None,
) -> Tensor:  # fmt: skip
    left = less(x, x_zero)
    right = w.transpose(0, 1) if node.integer("transB", 0) else w
    left = left.transpose(0, 1) if node.integer("transA", 0) else left
    sums = torch.matmul(left, less(right, w_zero))
    steps = x_scale.to(torch.float64) * w_scale.to(torch.float64) * node.number("alpha", 1.0)
    sums = sums if bias is None else sums + bias.to(torch.float64)
    if scale is None:
        return (sums * steps).to(node.working)
    return _whole(sums * steps, scale, zero, x)


@microsoft("MatMulIntegerToFloat", learned=(1, 6))
def _matmul(
    node: NodeCall, x: Tensor, w: Tensor, x_scale: Tensor, w_scale: Tensor,
    x_zero: Tensor | None = None, w_zero: Tensor | None = None, bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    sums = torch.matmul(less(x, by_row(x_zero)), less(w, w_zero))
    left = by_row(x_scale)
    assert left is not None
    found = (sums * left.to(torch.float64) * w_scale.to(torch.float64)).to(node.working)
    return found if bias is None else found + bias


@microsoft("DynamicQuantizeMatMul", learned=(1, 4))
def _dynamic_matmul(
    node: NodeCall, x: Tensor, w: Tensor, w_scale: Tensor, w_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    whole, scale, zero = dynamic_quantize(node, x)
    return _matmul(node, whole, w, scale, w_scale, zero, w_zero, bias)


@microsoft("MatMulNBits", learned=(1, 5))
def _matmul_blocks(
    node: NodeCall, x: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor | None = None,
    groups: Tensor | None = None, bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    bits, rows, columns = (node.integer(name, 4) for name in ("bits", "N", "K"))
    if groups is not None or node.integer("weight_prepacked", 0):
        raise node.refusal("its weights are in another order")
    size = node.integer("block_size", 32)
    blocks = -(-columns // size)
    whole = _unpacked(packed.reshape(rows, blocks, -1), bits).to(x.dtype)
    if zeros is None:
        middle = torch.full((rows, blocks), float(1 << (bits - 1)), dtype=x.dtype)
    elif zeros.is_floating_point():
        middle = zeros.reshape(rows, blocks)
    else:
        middle = _unpacked(zeros.reshape(rows, -1), bits)[:, :blocks].to(x.dtype)
    weights = (whole - middle[..., None]) * scales.reshape(rows, blocks, 1)
    return F.linear(x, weights.flatten(1)[:, :columns], bias)


def _unpacked(packed: Tensor, bits: int) -> Tensor:
    """Integers of fewer than 8 bits out of bytes, lowest bits first."""
    shifts = torch.arange(0, 8, bits, dtype=torch.int32)
    parts = torch.bitwise_right_shift(packed.to(torch.int32)[..., None], shifts)
    return torch.bitwise_and(parts, (1 << bits) - 1).flatten(-2)


@microsoft("DynamicQuantizeLSTM", learned=(1, 2, 3, 7))
def _dynamic_lstm(
    node: NodeCall, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None, lengths: Tensor | None,
    h: Tensor | None, c: Tensor | None, peepholes: Tensor | None, w_scale: Tensor, w_zero: Tensor,
    r_scale: Tensor, r_zero: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """With real weights; that the operands are rounded as well is left out."""
    weights = [
        _real(whole, _per_gate(scale), _per_gate(zero)).to(x.dtype).transpose(1, 2)
        for whole, scale, zero in ((w, w_scale, w_zero), (r, r_scale, r_zero))
    ]
    return lstm(node, x, *weights, b, lengths, h, c, peepholes)


def _per_gate(scale: Tensor) -> Tensor:
    """A scale or zero point of each direction, or of each of its columns."""
    return scale.reshape(scale.shape[0], 1, -1)
