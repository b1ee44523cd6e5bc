"""Products: matrices, sums over indices, spectra, positions turned into angles."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.values import floats, integer, is_known


@translates("MatMul", learned=(0, 1))
def _matmul(node: NodeCall, x: Tensor, y: Tensor) -> Tensor:
    return torch.matmul(x, y)


@translates("Gemm", learned=(1, 2))
def gemm(node: NodeCall, x: Tensor, y: Tensor, more: Tensor | None = None) -> Tensor:
    """A product of matrices, scaled, and something added to it."""
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    x = x.T if node.integer("transA", 0) else x
    transposed = bool(node.integer("transB", 0))
    weight = y if transposed else y.T
    if is_known(y) and _is_bias(more, len(weight)):
        bias = None if more is None or beta == 0 else more.reshape(-1).expand(len(weight))
        scaled = weight if alpha == 1 else weight * alpha
        return F.linear(x, scaled, bias if bias is None or beta == 1 else bias * beta)
    found = torch.matmul(x, weight.T)
    found = found if alpha == 1 else found * alpha
    if more is None or beta == 0:
        return found
    return found + (more if beta == 1 else more * beta)


def _is_bias(more: Tensor | None, features: int) -> bool:
    """Whether what a Gemm adds is a constant, a number per feature or one for all."""
    if more is None or not is_known(more):
        return more is None
    return more.numel() == 1 or (more.numel() == features and more.shape[-1] == features)


@translates("Einsum", learned=())
def _einsum(node: NodeCall, *xs: Tensor) -> Tensor:
    return torch.einsum(node.text("equation"), *xs)


@translates("Det")
def _det(node: NodeCall, x: Tensor) -> Tensor:
    return torch.linalg.det(x)


@translates("MelWeightMatrix")
def _mel_weights(
    node: NodeCall, count: Tensor, length: Tensor, rate: Tensor, lowest: Tensor, highest: Tensor
) -> Tensor:
    bins, size = integer(count, "its bins"), integer(length, "its length")
    low, high = (
        2595 * math.log10(1 + one / 700)
        for one in (*floats(lowest, "its lowest"), *floats(highest, "its highest"))
    )
    mels = [low + n * (high - low) / (bins + 2) for n in range(bins + 2)]
    edges = [
        (size + 1) * 700 * (10 ** (mel / 2595) - 1) // integer(rate, "its rate") for mel in mels
    ]
    at = torch.arange(size // 2 + 1, dtype=torch.float64)[:, None]
    left, middle, right = (torch.tensor(edges[n : bins + n], dtype=torch.float64) for n in range(3))
    rising = torch.where(middle > left, (at - left) / (middle - left), 1.0)
    falling = (right - at) / (right - middle)
    weights = torch.where(at < middle, rising, torch.where(right > middle, falling, rising))
    inside = (at >= left) & ((at < right) | (at == middle))
    return torch.where(inside, weights, 0.0).to(node.dtype(node.integer("output_datatype", 1)))


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
        count = 2 * (count - 1) if length is None else count
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


# -------------------------------------------------------------------- positions


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
