"""Attention: scores, what is hidden of them, and the weighted sum."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.values import is_known


@translates("Attention", since=23)
def _attention(
    node: NodeCall,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Tensor | tuple[Tensor | None, ...]:
    flat = query.dim() == 3
    heads = node.integer("q_num_heads", 0) if flat else query.shape[1]
    shared = node.integer("kv_num_heads", 0) if flat else key.shape[1]
    if flat:
        query, key, value = headed(query, heads), headed(key, shared), headed(value, shared)
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    present = (key, value)
    if heads != shared:
        key = key.repeat_interleave(heads // shared, 1)
        value = value.repeat_interleave(heads // shared, 1)
    offset = _offset(query, past_key, lengths)
    allowed = _allowed(node, query.shape[2], key.shape[2], offset, lengths)
    bias = _bias(mask, allowed, key.shape[2], query.dtype)
    found, scores = _weighed(node, query, key, value, bias)
    if flat:
        found = found.transpose(1, 2).flatten(2)
    return found if node.outputs < 2 else (found, *present, scores)


def headed(x: Tensor, heads: int) -> Tensor:
    """(batch, position, features) as (batch, head, position, features of a head)."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _weighed(
    node: NodeCall, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The weighted sums, and, if they are asked for, the scores at the stage that is asked for."""
    scale = node.number("scale", query.shape[-1] ** -0.5)
    cap = node.number("softcap", 0.0)
    empty = None if bias is None else _empty_rows(bias)
    if not cap and node.outputs < 4:
        found = F.scaled_dot_product_attention(query, key, value, bias, scale=scale)
        return (found if empty is None else found.masked_fill(empty, 0.0)), None
    root = scale**0.5
    raw = torch.matmul(query * root, (key * root).transpose(-1, -2))
    capped = torch.tanh(raw / cap) * cap if cap else raw
    biased = capped if bias is None else capped + bias
    code = node.integer("softmax_precision", 0)
    weights = F.softmax(biased.to(node.dtype(code)) if code else biased, -1).to(query.dtype)
    weights = weights if empty is None else weights.masked_fill(empty, 0.0)
    stages = (raw, capped, biased, weights)
    return torch.matmul(weights, value), stages[node.integer("qk_matmul_output_mode", 0)]


def _empty_rows(bias: Tensor) -> Tensor | None:
    """The rows that see nothing, and give zeros; None where all are known to see something."""
    empty = torch.isneginf(bias).all(-1, keepdim=True)
    return empty if not is_known(empty) or bool(empty.any()) else None


# -------------------------------------------------------------------- what is hidden


def _offset(query: Tensor, past: Tensor | None, lengths: Tensor | None) -> Tensor | int:
    """The place of the first query among the keys: one, or one for each batch."""
    if past is not None:
        return past.shape[2]
    return 0 if lengths is None else lengths.reshape(-1, 1, 1, 1) - query.shape[2]


def _allowed(
    node: NodeCall, rows: int, columns: int, offset: Tensor | int, lengths: Tensor | None
) -> Tensor | None:
    """Which keys each query may see; None where it is all of them."""
    place = torch.arange(rows)[:, None] + offset
    keys = torch.arange(columns)
    before, behind = node.integer("left_window_size", -1), node.integer("right_window_size", -1)
    rules = []
    if node.integer("is_causal", 0):
        rules.append(keys <= place)
    if before >= 0:
        rules.append(keys >= place - before)
    if behind >= 0:
        rules.append(keys <= place + behind)
    if lengths is not None:
        rules.append(keys < lengths.reshape(-1, 1, 1, 1))
    allowed = None
    for rule in rules:
        allowed = rule if allowed is None else allowed & rule
    return allowed


def _bias(
    mask: Tensor | None, allowed: Tensor | None, columns: int, dtype: torch.dtype
) -> Tensor | None:
    """What is added to the scores: the mask, and minus infinity for what is hidden."""
    bias = mask
    if mask is not None and mask.dtype == torch.bool:
        bias = hiding(mask, dtype)
    if bias is not None and bias.shape[-1] < columns:
        bias = F.pad(bias, (0, columns - bias.shape[-1]), value=float("-inf"))
    if allowed is not None:
        hidden = hiding(allowed, dtype)
        bias = hidden if bias is None else bias + hidden
    return bias


def hiding(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """Zero where something is seen, minus infinity where not."""
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill(~allowed, float("-inf"))
