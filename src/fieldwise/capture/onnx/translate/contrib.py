"""Operators of com.microsoft: what ONNX Runtime's optimisers write into a file, fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.translate.product import gemm
from fieldwise.capture.onnx.translate.window import conv, max_pool

microsoft = partial(translates, domain="com.microsoft")
"""The decorator for operators of com.microsoft."""


def activated(node: NodeCall, x: Tensor, more: Sequence[float] = ()) -> Tensor:
    """The activation that a node names, with its parameters; the operand itself without one."""
    name = node.text("activation")
    known: Mapping[str, Callable[[Tensor], Tensor]] = {
        "": lambda one: one,
        "Relu": torch.relu,
        "Tanh": torch.tanh,
        "Sigmoid": torch.sigmoid,
        "LeakyRelu": lambda one: F.leaky_relu(one, more[0] if more else 0.01),
        "Clip": lambda one: torch.clamp(one, *more[:2]),
        "HardSigmoid": lambda one: torch.clamp(one * more[0] + more[1], 0, 1),
        "HardSwish": F.hardswish,
        "Gelu": F.gelu,
        "QuickGelu": lambda one: one * torch.sigmoid(one * (more[0] if more else 1.702)),
        "SiLU": F.silu,
    }
    found = known.get(name)
    if found is None:
        raise node.refusal(f"its activation is {name!r}")
    return found(x)


def channels_first(x: Tensor) -> Tensor:
    """Channels moved from the end to where torch has them."""
    return x.movedim(-1, 1)


def channels_last(x: Tensor) -> Tensor:
    """Channels moved to the end."""
    return x.movedim(1, -1)


# -------------------------------------------------------------------- convolutions


@microsoft("FusedConv", learned=(1, 2))
def fused_conv(
    node: NodeCall, x: Tensor, w: Tensor, b: Tensor | None = None, more: Tensor | None = None
) -> Tensor:
    """A convolution, something added to it, and an activation."""
    found = conv(node, x, w, b)
    found = found if more is None else found + more
    return activated(node, found, node.numbers("activation_params") or ())


@microsoft("NhwcMaxPool")
def _nhwc_max_pool(node: NodeCall, x: Tensor) -> Tensor:
    found = max_pool(node, channels_first(x))
    assert isinstance(found, Tensor)
    return channels_last(found)


# -------------------------------------------------------------------- products


@microsoft("FusedGemm", learned=(1, 2))
def _fused_gemm(node: NodeCall, x: Tensor, y: Tensor, more: Tensor | None = None) -> Tensor:
    given = [f"activation_{name}" for name in ("alpha", "beta", "gamma")]
    parameters = [node.number(n, 0.0) for n in given if n in node.node.attributes]
    return activated(node, gemm(node, x, y, more), parameters)


@microsoft("FusedMatMul", "TransposeMatMul", learned=(0, 1))
def _fused_matmul(node: NodeCall, x: Tensor, y: Tensor) -> Tensor:
    found = torch.matmul(_turned(node, x, "A"), _turned(node, y, "B"))
    alpha = node.number("alpha", 1.0)
    return found if alpha == 1 else found * alpha


def _turned(node: NodeCall, x: Tensor, side: str) -> Tensor:
    if node.integer(f"transBatch{side}", 0):
        x = x.movedim(0, -2)
    return x.transpose(-1, -2) if node.integer(f"trans{side}", 0) else x


# -------------------------------------------------------------------- element by element


@microsoft("QuickGelu")
def _quick_gelu(node: NodeCall, x: Tensor) -> Tensor:
    return x * torch.sigmoid(x * node.number("alpha", 1.702))


@microsoft("Gelu")
def _gelu(node: NodeCall, x: Tensor) -> Tensor:
    return F.gelu(x)


@microsoft("FastGelu", learned=(1,))
def _fast_gelu(node: NodeCall, x: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@microsoft("BiasGelu", learned=(1,))
def _bias_gelu(node: NodeCall, x: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(x + bias)


# -------------------------------------------------------------------- norms


@microsoft("SkipLayerNormalization", learned=(2, 3, 4))
def _skip_layer_norm(
    node: NodeCall, x: Tensor, skip: Tensor, scale: Tensor, shift: Tensor | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    total = x + skip if bias is None else x + skip + bias
    eps = node.number("epsilon", 1e-12)
    found = F.layer_norm(total, total.shape[-1:], scale, shift, eps)
    if node.outputs < 2:
        return (found,)
    spread = (total.var(-1, correction=0, keepdim=True) + eps).rsqrt()
    return found, total.mean(-1, keepdim=True), spread, total


@microsoft("SkipSimplifiedLayerNormalization", learned=(2, 3))
def _skip_rms_norm(
    node: NodeCall, x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor | None = None
) -> tuple[Tensor | None, ...]:
    total = x + skip if bias is None else x + skip + bias
    found = F.rms_norm(total, total.shape[-1:], scale, node.number("epsilon", 1e-12))
    return found, None, None, total


@translates("SimplifiedLayerNormalization", learned=(1,))
def _rms_norm(node: NodeCall, x: Tensor, scale: Tensor) -> Tensor:
    sizes = x.shape[node.integer("axis", -1) % x.dim() :]
    return F.rms_norm(x, sizes, scale, node.number("epsilon", 1e-5))


@microsoft("EmbedLayerNormalization", learned=(2, 3, 4, 5, 6))
def _embed_layer_norm(
    node: NodeCall, words: Tensor, parts: Tensor | None, word_table: Tensor, place_table: Tensor,
    part_table: Tensor | None, scale: Tensor, shift: Tensor, mask: Tensor | None = None,
    places: Tensor | None = None,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    at = torch.arange(words.shape[1])[None] if places is None else places
    total = F.embedding(words, word_table) + F.embedding(at, place_table)
    if parts is not None and part_table is not None:
        total = total + F.embedding(parts, part_table)
    eps = node.number("epsilon", 1e-12)
    found = F.layer_norm(total, total.shape[-1:], scale, shift, eps)
    if node.outputs < 2:
        return (found,)
    counted = None if mask is None else mask.sum(1, dtype=torch.int32)
    if counted is None:
        counted = torch.zeros(words.shape[0], dtype=torch.int32)
    return found, counted, total
