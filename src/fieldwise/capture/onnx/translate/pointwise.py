"""One element at a time: arithmetic, comparisons, activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.translate.unsigned import UNSIGNED, divided, shifted_right, widened
from fieldwise.capture.onnx.values import floats

_UNARY: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}

_BINARY: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}

_MANY: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Sum": torch.add,
}


def _register() -> None:
    for op, function in _UNARY.items():
        translates(op)(widened(lambda node, x, function=function: function(x)))
    for op, binary in _BINARY.items():
        ordered = op.startswith(("Greater", "Less"))
        plain = lambda node, x, y, binary=binary: binary(x, y)  # noqa: E731
        translates(op)(widened(plain, ordered=ordered))
    for op, folded in _MANY.items():
        translates(op)(
            widened(lambda node, *xs, folded=folded: reduce(folded, xs), ordered=op != "Sum")
        )


_register()


@translates("Mean")
def _mean(node: NodeCall, *xs: Tensor) -> Tensor:
    return reduce(torch.add, xs) / len(xs)


@translates("Div")
def _div(node: NodeCall, x: Tensor, y: Tensor) -> Tensor:
    if x.is_floating_point() or x.is_complex():
        return torch.div(x, y)
    return divided(x, y)


@translates("Mod")
def _mod(node: NodeCall, x: Tensor, y: Tensor) -> Tensor:
    if x.dtype in UNSIGNED:
        wide, by = x.to(torch.int64), y.to(torch.int64)
        return (wide - divided(x, y).to(torch.int64) * by).to(x.dtype)
    return torch.fmod(x, y) if node.integer("fmod", 0) else torch.remainder(x, y)


@translates("Pow")
def _pow(node: NodeCall, x: Tensor, y: Tensor) -> Tensor:
    return torch.pow(x, y).to(x.dtype)


@translates("BitShift")
def _bit_shift(node: NodeCall, x: Tensor, y: Tensor) -> Tensor:
    wide, by = x.to(torch.int64), y.to(torch.int64)
    if node.text("direction") == "LEFT":
        return torch.bitwise_left_shift(wide, by).to(x.dtype)
    if x.dtype == torch.uint64:
        return shifted_right(wide, by).to(x.dtype)
    return torch.bitwise_right_shift(wide, by).to(x.dtype)


@translates("Where")
def _where(node: NodeCall, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(condition, x, y)


@translates("IsInf")
def _is_inf(node: NodeCall, x: Tensor) -> Tensor:
    low, high = node.integer("detect_negative", 1), node.integer("detect_positive", 1)
    if low and high:
        return torch.isinf(x)
    if not low and not high:
        return torch.zeros_like(x, dtype=torch.bool)
    return torch.isneginf(x) if low else torch.isposinf(x)


# -------------------------------------------------------------------- activations


@translates("LeakyRelu")
def _leaky_relu(node: NodeCall, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node.number("alpha", 0.01))


@translates("ThresholdedRelu")
def _thresholded_relu(node: NodeCall, x: Tensor) -> Tensor:
    return torch.where(x > node.number("alpha", 1.0), x, 0.0)


@translates("Elu")
def _elu(node: NodeCall, x: Tensor) -> Tensor:
    return F.elu(x, node.number("alpha", 1.0))


@translates("Celu")
def _celu(node: NodeCall, x: Tensor) -> Tensor:
    return F.celu(x, node.number("alpha", 1.0))


@translates("Selu")
def _selu(node: NodeCall, x: Tensor) -> Tensor:
    alpha = node.number("alpha", 1.67326319217681884765625)
    gamma = node.number("gamma", 1.05070102214813232421875)
    return F.elu(x, alpha) * gamma


@translates("Gelu")
def _gelu(node: NodeCall, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.text("approximate", "none"))


@translates("HardSigmoid")
def _hard_sigmoid(node: NodeCall, x: Tensor) -> Tensor:
    return torch.clamp(x * node.number("alpha", 0.2) + node.number("beta", 0.5), 0, 1)


@translates("Softplus")
def _softplus(node: NodeCall, x: Tensor) -> Tensor:
    return F.softplus(x)


@translates("Swish")
def _swish(node: NodeCall, x: Tensor) -> Tensor:
    alpha = node.number("alpha", 1.0)
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(x * alpha)


@translates("Shrink")
def _shrink(node: NodeCall, x: Tensor) -> Tensor:
    bias, bound = node.number("bias", 0.0), node.number("lambd", 0.5)
    shrunk = torch.where(x > bound, x - bias, torch.where(x < -bound, x + bias, 0))
    return shrunk.to(x.dtype)


@translates("PRelu", learned=(1,))
def _prelu(node: NodeCall, x: Tensor, slope: Tensor) -> Tensor:
    wide = (1,) * (x.dim() - slope.dim()) + tuple(slope.shape)
    if x.dim() > 1 and slope.numel() in (1, wide[1]) and wide[1] in (1, x.shape[1]):
        return F.prelu(x, slope.flatten())
    return torch.where(x < 0, x * slope, x)


@translates("Clip", since=1)
def _clip_attributes(node: NodeCall, x: Tensor) -> Tensor:
    return torch.clamp(x, node.number("min", -math.inf), node.number("max", math.inf))


@translates("Clip", since=11)
def _clip(
    node: NodeCall, x: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    if low is None and high is None:
        return torch.clamp(x, torch.finfo(x.dtype).min) if x.is_floating_point() else x.clone()
    return torch.clamp(x, low, high)


# -------------------------------------------------------------------- as they are


@translates("Dropout")
def _dropout(
    node: NodeCall, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None
) -> Tensor | tuple[Tensor, ...]:
    if training is not None and any(floats(training, "whether it drops")):
        rate = 0.5 if ratio is None else floats(ratio, "its rate")[0]
        if rate:
            raise node.refusal("it is in training mode, where it draws numbers")
    kept = torch.ops.aten.alias.default(x)
    return (kept, torch.ones_like(x, dtype=torch.bool)) if node.outputs > 1 else kept


@translates("Identity")
def _identity(node: NodeCall, x: Tensor | list[Tensor] | None) -> object:
    return torch.ops.aten.alias.default(x) if isinstance(x, Tensor) else x
