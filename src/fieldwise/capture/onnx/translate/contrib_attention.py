"""Attention as ONNX Runtime fuses it: projections, heads, masks and turned positions in one."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.translate.attention import headed, hiding
from fieldwise.capture.onnx.translate.contrib import microsoft
from fieldwise.capture.onnx.translate.product import rotated


@microsoft("Attention", learned=(1, 2))
def _attention(
    node: NodeCall, x: Tensor, weights: Tensor, bias: Tensor | None = None,
    mask: Tensor | None = None, past: Tensor | None = None, added: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    for name in ("do_rotary", "past_present_share_buffer"):
        if node.integer(name, 0):
            raise node.refusal(f"its {name} is set")
    projected = torch.matmul(x, weights)
    projected = projected if bias is None else projected + bias
    sizes = node.integers("qkv_hidden_sizes") or [weights.shape[1] // 3] * 3
    query, key, value = (headed(one, _heads(node)) for one in projected.split(sizes, -1))
    if past is not None:
        key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
    found = _attended(node, query, key, value, mask, added)
    return (found, torch.stack([key, value])) if node.outputs > 1 else (found,)


@microsoft("MultiHeadAttention", learned=(3,))
def _multi_head(
    node: NodeCall, query: Tensor, key: Tensor | None = None, value: Tensor | None = None,
    bias: Tensor | None = None, mask: Tensor | None = None, added: Tensor | None = None,
    past_key: Tensor | None = None, past_value: Tensor | None = None,
    shared: Tensor | None = None, beams: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    if key is None or value is None or query.dim() != 3:
        raise node.refusal("its queries, keys and values are packed into one")
    if shared is not None or beams is not None:
        raise node.refusal("its keys share a buffer")
    if bias is not None:
        first, second, third = bias.split([query.shape[-1], query.shape[-1], value.shape[-1]])
        query, key, value = query + first, key + second, value + third
    query = headed(query, _heads(node))
    key, value = (headed(x, _heads(node)) if x.dim() == 3 else x for x in (key, value))
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    found = _attended(node, query, key, value, mask, added)
    return (found, key, value)[: node.outputs]


def _heads(node: NodeCall) -> int:
    return node.integer("num_heads", 1)


def _attended(
    node: NodeCall,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    added: Tensor | None,
) -> Tensor:
    scale = node.number("scale", 0.0) or query.shape[-1] ** -0.5
    rows, columns = query.shape[2], key.shape[2]
    parts = [] if added is None else [added]
    if mask is not None:
        parts.append(_mask_bias(node, mask, columns, query.dtype))
    if node.integer("unidirectional", 0):
        later = torch.arange(columns) <= torch.arange(rows)[:, None] + (columns - rows)
        parts.append(hiding(later, query.dtype))
    bias = sum(parts[1:], parts[0]) if parts else None
    found = F.scaled_dot_product_attention(query, key, value, bias, scale=scale)
    return found.transpose(1, 2).flatten(2)


def _mask_bias(node: NodeCall, mask: Tensor, columns: int, dtype: torch.dtype) -> Tensor:
    """What is added where a mask is 0: per key, or per query and key."""
    if mask.dim() == 1 and mask.shape[0] != 1:
        seen = torch.arange(columns) < mask[:, None]
    elif mask.dim() in (2, 3):
        seen = mask != 0
    else:
        raise node.refusal(f"its mask has {mask.dim()} dimensions")
    seen = seen[:, None, None] if seen.dim() == 2 else seen[:, None]
    fill = node.number("mask_filter_value", -10000.0)
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, fill)


@microsoft("RotaryEmbedding")
def _rotary(node: NodeCall, x: Tensor, places: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    if node.number("scale", 1.0) != 1 or node.integer("is_packed_batching", 0):
        raise node.refusal("it scales positions, or packs batches")
    size = node.integer("rotary_embedding_dim", 0)
    flat = x.dim() == 3
    if flat:
        wide = x.shape[-1] // node.integer("num_heads", 0) if size else 2 * cos.shape[-1]
        x = x.reshape(x.shape[0], x.shape[1], -1, wide)
    else:
        x = x.transpose(1, 2)
    at = places if places.dim() == 2 else places + torch.arange(x.shape[1])[None]
    cos, sin = F.embedding(at, cos).unsqueeze(2), F.embedding(at, sin).unsqueeze(2)
    found = rotated(x, cos, sin, size, bool(node.integer("interleaved", 0)))
    return found.flatten(2) if flat else found.transpose(1, 2)
