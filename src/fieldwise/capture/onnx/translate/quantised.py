"""Quantised operators, as what they mean in real numbers, rounded where they round."""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.translate.casts import NARROW_BOUNDS, float4
from fieldwise.capture.onnx.translate.window import conv


def laid(scale: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """A scale or zero point as it applies to each element: per tensor, per axis, or per block."""
    if not scale.dim() or scale.numel() == 1:
        return scale.reshape(())
    axis %= x.dim()
    if scale.dim() == 1 and not block:
        return scale.reshape([-1 if dim == axis else 1 for dim in range(x.dim())])
    size = block or -(-x.shape[axis] // scale.shape[axis])
    return scale.repeat_interleave(size, axis).narrow(axis, 0, x.shape[axis])


_BOUNDS = {
    torch.uint8: (0, 255),
    torch.int8: (-128, 127),
    torch.uint16: (0, 65535),
    torch.int16: (-32768, 32767),
}


@translates("QuantizeLinear")
def quantize(node: NodeCall, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Real numbers as integers, or as narrow floats."""
    axis, block = node.integer("axis", 1), node.integer("block_size", 0)
    code = node.integer("output_dtype", 0)
    dtype = zero.dtype if zero is not None else node.dtype(code) if code else torch.uint8
    precision = node.integer("precision", 0)
    if precision:
        x, scale = x.to(node.dtype(precision)), scale.to(node.dtype(precision))
    found = x / laid(scale, x, axis, block).to(x.dtype)
    code = code or node.input_type(2) or node.output_type
    if code == TensorProto.FLOAT4E2M1:
        return float4(found)
    if dtype.is_floating_point:
        limit = torch.finfo(dtype).max
        return torch.clamp(found, -limit, limit).to(dtype)
    found = torch.round(found)
    if zero is not None:
        found = found + laid(zero.to(found.dtype), x, axis, block)
    low, high = NARROW_BOUNDS.get(code, _BOUNDS[dtype])
    return torch.clamp(found, low, high).to(dtype)


@translates("DequantizeLinear")
def dequantize(node: NodeCall, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """What integers or narrow floats stand for."""
    axis, block = node.integer("axis", 1), node.integer("block_size", 0)
    code = node.integer("output_dtype", 0)
    dtype = node.dtype(code) if code else scale.dtype
    wide = torch.float32 if dtype.itemsize < 4 else dtype
    found = x.to(wide)
    if zero is not None:
        found = found - laid(zero.to(wide), x, axis, block)
    return (found * laid(scale, x, axis, block).to(wide)).to(dtype)


@translates("DynamicQuantizeLinear")
def dynamic_quantize(node: NodeCall, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Integers by the range of the whole operand, with its scale and zero point."""
    low, high = torch.clamp(x.amin(), max=0.0), torch.clamp(x.amax(), min=0.0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, 1.0, scale).to(x.dtype)
    zero = torch.clamp(torch.round(-low / scale), 0, 255)
    found = torch.clamp(torch.round(x / scale) + zero, 0, 255)
    return found.to(torch.uint8), scale, zero.to(torch.uint8)


def _centred(x: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """The integers less their zero point, in double precision, where all sums are exact."""
    wide = x.to(torch.float64)
    return wide if zero is None else wide - laid(zero.to(torch.float64), x, axis, 0)


def requantised(found: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Real numbers as the integers that stand for them."""
    low, high = _BOUNDS[zero.dtype]
    wide = zero.to(torch.float64)
    wide = wide.reshape(()) if wide.numel() == 1 else wide
    steps = scale.to(torch.float64)
    steps = steps.reshape(()) if steps.numel() == 1 else steps
    return torch.clamp(torch.round(found / steps) + wide, low, high).to(zero.dtype)


@translates("QLinearConv", learned=(3, 8))
def q_conv(
    node: NodeCall, x: Tensor, x_scale: Tensor, x_zero: Tensor, w: Tensor, w_scale: Tensor,
    w_zero: Tensor, y_scale: Tensor, y_zero: Tensor, bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """A convolution of quantised operands, rounded once at its end."""
    sums = conv(node, _centred(x, x_zero, 1), _centred(w, w_zero, 0))
    if bias is not None:
        sums = sums + bias.to(torch.float64).reshape(-1, *([1] * (x.dim() - 2)))
    steps = laid(w_scale.to(torch.float64), sums, 1, 0) * x_scale.to(torch.float64).reshape(())
    return requantised(sums * steps, y_scale, y_zero)


@translates("ConvInteger", learned=(1,))
def _conv_integer(
    node: NodeCall, x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None
) -> Tensor:
    return conv(node, _centred(x, x_zero, 1), _centred(w, w_zero, 0)).to(torch.int32)


def by_row(zero: Tensor | None) -> Tensor | None:
    """The zero point of a left operand is one per row."""
    return zero if zero is None or zero.dim() != 1 or zero.numel() == 1 else zero.unsqueeze(-1)


def less(x: Tensor, zero: Tensor | None) -> Tensor:
    """Integers less their zero point, in double precision."""
    wide = x.to(torch.float64)
    return wide if zero is None else wide - zero.to(torch.float64)


@translates("MatMulInteger", learned=(1,))
def _matmul_integer(
    node: NodeCall, x: Tensor, y: Tensor, x_zero: Tensor | None = None, y_zero: Tensor | None = None
) -> Tensor:
    return torch.matmul(less(x, by_row(x_zero)), less(y, y_zero)).to(torch.int32)


@translates("QLinearMatMul", learned=(3,))
def _q_matmul(
    node: NodeCall, x: Tensor, x_scale: Tensor, x_zero: Tensor, y: Tensor, y_scale: Tensor,
    y_zero: Tensor, z_scale: Tensor, z_zero: Tensor,
) -> Tensor:  # fmt: skip
    sums = torch.matmul(less(x, by_row(x_zero)), less(y, y_zero))
    left = by_row(x_scale)
    assert left is not None
    return requantised(sums * left.to(torch.float64) * y_scale.to(torch.float64), z_scale, z_zero)
