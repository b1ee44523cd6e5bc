"""Casts: by torch where it has the type, else by the rule of the type."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from onnx import TensorProto
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates

NARROW_BOUNDS: Mapping[int, tuple[int, int]] = {
    TensorProto.UINT4: (0, 15),
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT2: (0, 3),
    TensorProto.INT2: (-2, 1),
}
"""The integers that are held in 8 bits, though they have fewer."""

_FLOAT8 = (
    torch.float8_e4m3fn,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2,
    torch.float8_e5m2fnuz,
)


@translates("Cast")
def _cast(node: NodeCall, x: Tensor) -> Tensor:
    code = node.integer("to", 1)
    return _to(node, x, code, node.dtype(code))


@translates("CastLike")
def _cast_like(node: NodeCall, x: Tensor, like: Tensor) -> Tensor:
    return _to(node, x, node.input_type(1) or node.output_type, like.dtype)


@translates("BitCast")
def _bit_cast(node: NodeCall, x: Tensor) -> Tensor:
    return x.view(node.dtype(node.integer("to", 1)))


def _to(node: NodeCall, x: Tensor, code: int, dtype: torch.dtype) -> Tensor:
    saturates = bool(node.integer("saturate", 1))
    if code in NARROW_BOUNDS:
        low, high = NARROW_BOUNDS[code]
        wrapped = torch.bitwise_and(x.to(torch.int32) - low, high - low) + low
        return wrapped.to(dtype)
    if code == TensorProto.FLOAT4E2M1:
        return float4(x)
    if dtype == torch.float8_e8m0fnu:
        return _power_of_two(x, node.text("round_mode", "up"), saturates)
    if x.dtype == dtype:
        return torch.ops.aten.alias.default(x)
    if dtype in _FLOAT8:
        return _float8(x, dtype, saturates)
    return x.to(dtype)


def _float8(x: Tensor, dtype: torch.dtype, saturates: bool) -> Tensor:
    limit = torch.finfo(dtype).max
    if saturates:
        return torch.where(torch.isnan(x), x, torch.clamp(x, -limit, limit)).to(dtype)
    finite = x.to(dtype)
    if dtype == torch.float8_e5m2:
        return finite
    wide = x.to(torch.float32)
    step = limit - torch.finfo(dtype).eps * 2 ** int(torch.tensor(limit).log2().floor())
    beyond = wide.abs() > limit + (limit - step) / 2
    return torch.where(beyond, float("nan"), finite.to(torch.float32)).to(dtype)


def float4(x: Tensor) -> Tensor:
    """The nearest of 0, ½, 1, 1½, 2, 3, 4, 6 with their signs; ties go to the even one."""
    wide = torch.clamp(x.to(torch.float32).nan_to_num(0.0, math.inf, -math.inf), -6, 6)
    size = wide.abs()
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    return (torch.round(wide / step) * step).to(torch.float8_e4m3fn)


_CARRIES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "up": lambda rest: rest > 0,
    "down": torch.zeros_like,
    "nearest": lambda rest: rest >= 1 << 22,
}


def _power_of_two(x: Tensor, rounding: str, saturates: bool) -> Tensor:
    """Powers of two from 2⁻¹²⁷ to 2¹²⁷, by the bits of a number in single precision."""
    bits = x.to(torch.float32).view(torch.int32)
    exponent = torch.bitwise_and(torch.bitwise_right_shift(bits, 23), 255)
    exponent = exponent + _CARRIES[rounding](torch.bitwise_and(bits, (1 << 23) - 1)).to(torch.int32)
    code = torch.clamp(exponent, max=254 if saturates else 255)
    code = torch.where(torch.isnan(x), 255, code)
    if not saturates:
        code = torch.where(x == 0, 255, code)
    return code.to(torch.uint8).view(torch.float8_e8m0fnu)
