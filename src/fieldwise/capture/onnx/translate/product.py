"""Products: matrices, sums over indices, attention, spectra."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.values import integer


@translates("MatMul", learned=(0, 1))
def _matmul(node: NodeCall, x: Tensor, y: Tensor) -> Tensor:
    return torch.matmul(x, y)


@translates("Gemm", learned=(1, 2))
def _gemm(node: NodeCall, x: Tensor, y: Tensor, more: Tensor | None = None) -> Tensor:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    x = x.T if node.integer("transA", 0) else x
    transposed = bool(node.integer("transB", 0))
    if alpha == beta == 1 and transposed and (more is None or more.dim() == 1):
        return F.linear(
            x, y, more if more is None or len(more) == y.shape[0] else more.expand(len(y))
        )
    found = torch.matmul(x, y.T if transposed else y)
    found = found if alpha == 1 else found * alpha
    if more is None or beta == 0:
        return found
    return found + (more if beta == 1 else more * beta)


@translates("Einsum", learned=())
def _einsum(node: NodeCall, *xs: Tensor) -> Tensor:
    return torch.einsum(node.text("equation"), *xs)


@translates("Det")
def _det(node: NodeCall, x: Tensor) -> Tensor:
    return torch.linalg.det(x)


# -------------------------------------------------------------------- spectra


@translates("DFT", since=17)
def _dft_by_attribute(node: NodeCall, x: Tensor, length: Tensor | None = None) -> Tensor:
    return _transformed(node, x, length, node.integer("axis", 1))


@translates("DFT", since=20)
def _dft(
    node: NodeCall, x: Tensor, length: Tensor | None = None, axis: Tensor | None = None
) -> Tensor:
    return _transformed(node, x, length, -2 if axis is None else integer(axis, "its axis"))


def _transformed(node: NodeCall, x: Tensor, length: Tensor | None, axis: int) -> Tensor:
    along = axis % x.dim()
    count = x.shape[along] if length is None else integer(length, "its length")
    inverse, half = bool(node.integer("inverse", 0)), bool(node.integer("onesided", 0))
    numbers = torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x.squeeze(-1)
    if inverse and half:
        return torch.fft.irfft(numbers, count, along).unsqueeze(-1)
    if inverse:
        return torch.view_as_real(torch.fft.ifft(numbers, count, along))
    if half and not numbers.is_complex():
        return torch.view_as_real(torch.fft.rfft(numbers, count, along))
    found = torch.fft.fft(numbers, count, along)
    if half:
        found = found.narrow(along, 0, count // 2 + 1)
    return torch.view_as_real(found)


@translates("STFT")
def _stft(
    node: NodeCall,
    signal: Tensor,
    step: Tensor,
    window: Tensor | None = None,
    length: Tensor | None = None,
) -> Tensor:
    if length is None and window is None:
        raise node.refusal("it has neither a window nor a frame_length")
    count = window.shape[0] if length is None else integer(length, "its frame_length")  # type: ignore[union-attr]
    hop = integer(step, "its frame_step")
    numbers = signal
    if signal.dim() == 3:
        pair = signal.shape[-1] == 2
        numbers = torch.view_as_complex(signal.contiguous()) if pair else signal.squeeze(-1)
    frames = numbers.unfold(1, count, hop)
    if window is not None:
        frames = frames * window
    half = bool(node.integer("onesided", 1)) and not numbers.is_complex()
    found = torch.fft.rfft(frames, count, -1) if half else torch.fft.fft(frames, count, -1)
    if node.integer("onesided", 1) and not half:
        found = found[..., : count // 2 + 1]
    return torch.view_as_real(found)


# -------------------------------------------------------------------- attention


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
        query, key, value = _headed(query, heads), _headed(key, shared), _headed(value, shared)
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    present = (key, value)
    if heads != shared:
        key = key.repeat_interleave(heads // shared, 1)
        value = value.repeat_interleave(heads // shared, 1)
    scale = node.number("scale", query.shape[-1] ** -0.5)
    bias = _bias(node, query, key, mask, past_key, lengths)
    cap, mode = node.number("softcap", 0.0), node.integer("qk_matmul_output_mode", 0)
    if not cap and node.outputs < 4:
        found = F.scaled_dot_product_attention(query, key, value, bias, scale=scale)
        return _attended(node, found, flat, present, None)
    root = scale**0.5
    raw = torch.matmul(query * root, (key * root).transpose(-1, -2))
    capped = torch.tanh(raw / cap) * cap if cap else raw
    biased = capped if bias is None else capped + bias
    weights = F.softmax(biased, -1)
    stages = {0: raw, 1: capped if node.version < 24 else biased, 2: biased, 3: weights}
    return _attended(node, torch.matmul(weights, value), flat, present, stages[mode])


def _headed(x: Tensor, heads: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _attended(
    node: NodeCall,
    found: Tensor,
    flat: bool,
    present: tuple[Tensor, Tensor],
    scores: Tensor | None,
) -> Tensor | tuple[Tensor | None, ...]:
    if flat:
        found = found.transpose(1, 2).flatten(2)
    return found if node.outputs < 2 else (found, *present, scores)


def _bias(
    node: NodeCall,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    past: Tensor | None,
    lengths: Tensor | None,
) -> Tensor | None:
    """What is added to the scores: the mask, and minus infinity for what comes later."""
    rows, columns = query.shape[2], key.shape[2]
    bias = mask
    if mask is not None and mask.dtype == torch.bool:
        bias = torch.zeros(mask.shape, dtype=query.dtype).masked_fill(~mask, float("-inf"))
    if bias is not None and bias.shape[-1] < columns:
        bias = F.pad(bias, (0, columns - bias.shape[-1]), value=float("-inf"))
    if node.integer("is_causal", 0):
        before = 0 if past is None else past.shape[2]
        later = torch.arange(columns)[None] > torch.arange(rows)[:, None] + before
        hidden = torch.zeros(rows, columns, dtype=query.dtype).masked_fill(later, float("-inf"))
        bias = hidden if bias is None else bias + hidden
    if lengths is not None:
        absent = torch.arange(columns)[None] >= lengths.reshape(-1, 1)
        hidden = torch.zeros(absent.shape, dtype=query.dtype).masked_fill(absent, float("-inf"))
        hidden = hidden[:, None, None, :]
        bias = hidden if bias is None else bias + hidden
    return bias


@translates("RotaryEmbedding", since=23)
def _rotary(
    node: NodeCall, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None
) -> Tensor:
    flat = x.dim() == 3
    if flat:
        heads = node.integer("num_heads", 0)
        x = x.reshape(x.shape[0], x.shape[1], heads, -1)
    else:
        x = x.transpose(1, 2)
    if positions is not None:
        cos, sin = F.embedding(positions, cos), F.embedding(positions, sin)
    found = rotated(
        x, cos.unsqueeze(2), sin.unsqueeze(2), node.integer("rotary_embedding_dim", 0),
        bool(node.integer("interleaved", 0)),
    )  # fmt: skip
    return found.flatten(2) if flat else found.transpose(1, 2)


def rotated(x: Tensor, cos: Tensor, sin: Tensor, size: int, interleaved: bool) -> Tensor:
    """The first ``size`` features turned, in pairs that lie side by side or half a size apart."""
    size = size or x.shape[-1]
    turned, rest = x[..., :size], x[..., size:]
    cos, sin = cos[..., : size // 2], sin[..., : size // 2]
    if interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = turned.chunk(2, -1)
    real, other = first * cos - second * sin, first * sin + second * cos
    if interleaved:
        turned = torch.stack([real, other], -1).flatten(-2)
    else:
        turned = torch.cat([real, other], -1)
    return torch.cat([turned, rest], -1) if rest.shape[-1] else turned
