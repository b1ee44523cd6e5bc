"""Operators of com.microsoft: what ONNX Runtime's optimiser writes into a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.translate.window import conv

_microsoft = partial(translates, domain="com.microsoft")


def _activated(node: NodeCall, x: Tensor) -> Tensor:
    name = node.text("activation")
    more = node.numbers("activation_params") or []
    if not name:
        return x
    known: Mapping[str, Callable[[Tensor], Tensor]] = {
        "Relu": torch.relu,
        "Tanh": torch.tanh,
        "Sigmoid": torch.sigmoid,
        "LeakyRelu": lambda one: F.leaky_relu(one, more[0] if more else 0.01),
        "Clip": lambda one: torch.clamp(one, *more[:2]),
        "HardSigmoid": lambda one: torch.clamp(one * more[0] + more[1], 0, 1),
        "HardSwish": F.hardswish,
    }
    found = known.get(name)
    if found is None:
        raise node.refusal(f"its activation is {name!r}")
    return found(x)


@_microsoft("FusedConv", learned=(1, 2))
def _fused_conv(
    node: NodeCall, x: Tensor, w: Tensor, b: Tensor | None = None, more: Tensor | None = None
) -> Tensor:
    found = conv(node, x, w, b)
    return _activated(node, found if more is None else found + more)


@_microsoft("FusedMatMul", "TransposeMatMul", learned=(0, 1))
def _fused_matmul(node: NodeCall, x: Tensor, y: Tensor) -> Tensor:
    if node.integer("transBatchA", 0) or node.integer("transBatchB", 0):
        raise node.refusal("it transposes batches")
    x = x.transpose(-1, -2) if node.integer("transA", 0) else x
    y = y.transpose(-1, -2) if node.integer("transB", 0) else y
    found = torch.matmul(x, y)
    alpha = node.number("alpha", 1.0)
    return found if alpha == 1 else found * alpha


@_microsoft("QuickGelu")
def _quick_gelu(node: NodeCall, x: Tensor) -> Tensor:
    return x * torch.sigmoid(x * node.number("alpha", 1.702))


@_microsoft("Gelu")
def _gelu(node: NodeCall, x: Tensor) -> Tensor:
    return F.gelu(x)


@_microsoft("FastGelu", learned=(1,))
def _fast_gelu(node: NodeCall, x: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@_microsoft("BiasGelu", learned=(1,))
def _bias_gelu(node: NodeCall, x: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(x + bias)
