"""Reductions, normalisations, scans and attention: whatever reads whole dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fieldwise.field.probes.surrogates.operation import (
    Operation,
    UnknownDependence,
    added,
    finite,
    listed,
    register,
    spread,
    with_sum,
)
from fieldwise.graph.ir import Shape


@register(
    "mean", "sum", "amax", "amin", "nanmean", "nansum", "logsumexp", "prod", "all", "any",
    "linalg_vector_norm", "norm", "count_nonzero", "var", "std", "var_mean", "std_mean",
    "max", "min", "median", "argmax", "argmin", "mode", "kthvalue", "aminmax", "frobenius_norm",
    "nanmedian", "_aminmax",
)  # fmt: skip
def _reduction(op: Operation) -> Sequence[Tensor]:
    if isinstance(op.args.get("other"), Tensor):
        return (added([spread(finite(tensor), op.shape) for tensor in op.derived()]),)
    source = op.only("self")
    total = source.sum(listed(op.args.get("dim"), source.dim()))
    return tuple(total.reshape(shape) for shape in op.shapes)


@register("softmax", "_softmax", "log_softmax", "_log_softmax", "_safe_softmax")
def _softmax(op: Operation) -> Sequence[Tensor]:
    """−inf becomes zero (its logarithm stays −inf) and is no part of the sum.

    What is alone on its line has a weight of one, whatever it is.
    """
    dim, source = op.args["dim"], op.args["self"]
    number = op.only("self")
    shut = source == -torch.inf
    others = (~shut).sum(dim, keepdim=True) > 1
    weights = torch.where(others, with_sum(torch.where(shut, 0.0, number), dim) + 1, 1.0)
    return (torch.where(shut, -torch.inf if "log" in op.name else 0.0, weights),)


@register("sort", "argsort", "topk", "msort")
def _sorted(op: Operation) -> Sequence[Tensor]:
    total = op.only("self").sum(op.args.get("dim", 0), keepdim=True)
    return tuple(total.expand(shape) for shape in op.shapes)


@register("_fft_r2c", "_fft_c2r", "_fft_c2c")
def _fourier(op: Operation) -> Sequence[Tensor]:
    return (op.only("self").sum(op.args["dim"], keepdim=True).expand(op.shape),)


@register("stft")
def _short_time_fourier(op: Operation) -> Sequence[Tensor]:
    """Per frame the sum of its window; zeros pad the window on both sides."""
    source, size = op.only("self"), op.args["n_fft"]
    if op.args.get("center"):
        raise UnknownDependence("stft that pads by itself")
    length = op.args["win_length"] or size
    first = (size - length) // 2
    frames = source.unfold(-1, size, op.args["hop_length"] or size // 4)
    return (frames[..., first : first + length].sum(-1).unsqueeze(-2).expand(op.shape),)


@register("unfold_backward")
def _overlaps(op: Operation) -> Sequence[Tensor]:
    return op.run(dict(op.args))


@register("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
def _layer_norm(op: Operation) -> Sequence[Tensor]:
    source = op.only("input")
    dims = tuple(range(-len(op.args["normalized_shape"]), 0))
    total = source.sum(dims, keepdim=True)
    return (source + total, *(total.reshape(shape) for shape in op.shapes[1:]))


@register("group_norm", "native_group_norm")
def _group_norm(op: Operation) -> Sequence[Tensor]:
    source = op.only("input")
    groups = op.args["num_groups"] if "num_groups" in op.args else op.args["group"]
    blocks = source.reshape(source.shape[0], groups, -1)
    total = blocks.sum(-1, keepdim=True)
    return (
        (blocks + total).reshape(source.shape),
        *(total.reshape(shape) for shape in op.shapes[1:]),
    )


@register("instance_norm")
def _instance_norm(op: Operation) -> Sequence[Tensor]:
    source = op.only("input")
    if not op.args["use_input_stats"]:
        return (source * 1,)
    return (with_sum(source, tuple(range(2, source.dim()))),)


@register(
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "_native_batch_norm_legit_functional",
    "cudnn_batch_norm", "_batch_norm_impl_index", "_batch_norm_no_update",
    "_batch_norm_with_update", "_batch_norm_with_update_functional",
)  # fmt: skip
def _batch_norm(op: Operation) -> Sequence[Tensor]:
    source = op.only("input")
    statistics = tuple(torch.zeros(shape, dtype=torch.float64) for shape in op.shapes[1:])
    training = op.args.get("training", "with_update" in op.name)
    if training or op.args.get("running_mean") is None:
        mixed = with_sum(source, tuple(dim for dim in range(source.dim()) if dim != 1))
        return (mixed, *statistics)
    return (source * 1, *statistics)


@register("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "_logcumsumexp")
def _cumulative(op: Operation) -> Sequence[Tensor]:
    return (op.only("self").cumsum(op.args["dim"]),) * len(op.shapes)


@register("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(op: Operation) -> Sequence[Tensor]:
    """Each direction of each layer sums what came before; the final states saw everything."""
    if "batch_first" not in op.args:
        raise UnknownDependence(f"{op.name} on a packed sequence")
    source = op.only("input")
    time = source.dim() - 2 if op.args["batch_first"] else 0
    value = source.sum(-1, keepdim=True)
    for _ in range(op.args["num_layers"]):
        value = value.sum(-1, keepdim=True).cumsum(time)
        if op.args["bidirectional"]:
            value = torch.cat([value, value.flip(time).cumsum(time).flip(time)], -1)
    width = op.shape[-1] // value.shape[-1]
    last = value.sum((time, -1))
    states = tuple(last[..., None].expand(shape) for shape in op.shapes[1:])
    return (value.repeat_interleave(width, -1), *states)


@register("scaled_dot_product_attention")
def _attention(op: Operation) -> Sequence[Tensor]:
    query, key, value = (op.args[name] for name in ("query", "key", "value"))
    key, value = (_shared_heads(item, query.shape) for item in (key, value))
    mask = op.args["attn_mask"]
    open_ = _open_pairs(mask, op.args["is_causal"], query.shape[-2], key.shape[-2])
    pairs = query.sum(-1)[..., :, None] + key.sum(-1)[..., None, :]
    if isinstance(mask, Tensor) and mask.requires_grad:
        pairs = pairs + mask
    own = (pairs * open_).sum(-1, keepdim=True)
    return ((own + open_.expand(pairs.shape) @ value).expand(op.shape),)


def _shared_heads(tensor: Tensor, query: Shape) -> Tensor:
    if tensor.dim() < 3 or tensor.shape[-3] in (1, query[-3]):
        return tensor
    return tensor.repeat_interleave(query[-3] // tensor.shape[-3], -3)


def _open_pairs(mask: Any, causal: bool, length: int, keys: int) -> Tensor:
    """1.0 where query l may look at key s."""
    ones = torch.ones(length, keys, dtype=torch.float64)
    if causal:
        return ones.tril()
    if not isinstance(mask, Tensor) or mask.requires_grad or mask.device.type == "meta":
        return ones
    return (mask if mask.dtype == torch.bool else ~mask.isneginf()).to(torch.float64)


@register("cdist")
def _cdist(op: Operation) -> Sequence[Tensor]:
    one, two = op.args["x1"].sum(-1), op.args["x2"].sum(-1)
    return (one[..., :, None] + two[..., None, :],)
