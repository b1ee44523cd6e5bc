"""Single ops whose verdicts are known by hand: the reference of the prover and of the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.shift.proof.single import Single as Single
from tests.shift.proof.single import broken, holds
from tests.shift.proof.singles_of_ops import SINGLES_OF_OPS


def _conv(**options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(2, 2, 3, **options)


def _call(x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
    return layer(x)


def _upsampled(mode: str, **options: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: F.interpolate(x, mode=mode, **options)


def _low_pass(x: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(x, dim=-1)
    kept = torch.arange(spectrum.shape[-1]) < 4
    return torch.fft.irfft(spectrum * kept, n=x.shape[-1], dim=-1)


def _gated(x: Tensor) -> Tensor:
    return x * x.mean((2, 3), keepdim=True).sigmoid()


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _attention(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention of every position to all positions, which are the width."""
    tokens = x.mean(2).transpose(1, 2)
    scores = tokens @ tokens.transpose(1, 2)
    if bias is not None:
        scores = scores + bias
    return (scores.softmax(-1) @ tokens).transpose(1, 2)


def _circular_distance() -> Tensor:
    index = torch.arange(16)
    return ((index[:, None] - index[None, :]) % 16).double().cos()


def _distance() -> Tensor:
    index = torch.arange(16)
    return (index[:, None] - index[None, :]).double().abs().sqrt()


def _windowed(x: Tensor) -> Tensor:
    """Windows of 4 along the width, each mixed by its own softmax and a ramp over the window."""
    windows = x.unflatten(-1, (4, 4))
    return (windows.softmax(-1) * torch.arange(1.0, 5.0)).flatten(-2)


def _with_class_token(x: Tensor, token: Tensor) -> Tensor:
    """Attention among a class token and the positions of the width."""
    tokens = torch.cat([token, x.mean(2).transpose(1, 2)], 1)
    return (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens


def _same_padded(x: Tensor, layer: nn.Module) -> Tensor:
    """TensorFlow's SAME for a kernel of 3 at stride 2 on an even size: one sample at the end."""
    return layer(F.pad(x, (0, 1, 0, 1)))


def _wrapped_by_hand(x: Tensor, layer: nn.Module) -> Tensor:
    return layer(torch.cat([x[..., -1:], x, x[..., :1]], -1))


def _recurrent(x: Tensor, layer: nn.Module) -> Tensor:
    return layer(x.mean(2).transpose(1, 2))[0].transpose(1, 2)


def _alternating() -> Tensor:
    return (torch.arange(16) % 2).double() + 0.5


def _parameter(*shape: int) -> Callable[[], nn.Parameter]:
    return lambda: nn.Parameter(torch.randn(*shape))


_MID = (1, 15)

SINGLES: dict[str, Single] = {
    # ---------------------------------------------------------------- moving elements
    "identity": holds(lambda x: x * 1.0),
    "flip": holds(lambda x: x.flip(-1), step=-1),
    "flip of the other axis": holds(lambda x: x.flip(-2)),
    "x + flip": holds(lambda x: x + x.flip(-1), period=8, step=8, interior=None),
    "transpose": holds(lambda x: x.transpose(2, 3), result_axis=2),
    "roll": holds(lambda x: x.roll(3, -1), interior=(3, 16)),
    "every other sample": holds(lambda x: x[..., ::2], period=2, interior=(0, 8)),
    "every third of 16 samples": broken(
        lambda x: x[..., ::3], "not a multiple", interior=(0, 6)
    ),
    "crop": broken(lambda x: x[..., 1:-1], "crop", interior=(0, 14)),
    "one column": broken(lambda x: x[..., 3], "position", result_axis=None, interior=None),
    "zero-pad": broken(lambda x: F.pad(x, (2, 2)), "zero padding", interior=(2, 18)),
    "zero-pad-then-crop": holds(lambda x: F.pad(x, (2, 2))[..., 2:-2]),
    "repeat": holds(lambda x: x.repeat(1, 1, 1, 2), interior=(0, 16)),
    "pixel unshuffle": holds(lambda x: F.pixel_unshuffle(x, 2), period=2, interior=(0, 8)),
    "pixel shuffle": holds(
        lambda x: F.pixel_shuffle(x.repeat(1, 2, 1, 1), 2), step=2, interior=(0, 32)
    ),
    "windows": holds(_windowed, period=4, step=4),
    # ---------------------------------------------------------------- windows
    "circular conv": holds(_call, layer=_conv(padding=1, padding_mode="circular"), interior=_MID),
    "circular conv, stride 2": holds(
        _call, layer=_conv(padding=1, stride=2, padding_mode="circular"), period=2, interior=(1, 8)
    ),
    "circular conv, stride 2 on 15": broken(
        _call, "not a multiple", layer=_conv(padding=1, stride=2, padding_mode="circular"),
        shape=(1, 2, 12, 15), interior=(1, 7),
    ),
    "wrapped by cat": holds(
        _wrapped_by_hand, layer=_conv(), interior=_MID,
    ),
    "zero-padded conv": broken(_call, "zero padding", layer=_conv(padding=1), interior=_MID),
    "reflecting conv": broken(
        _call, "reflect", layer=_conv(padding=1, padding_mode="reflect"), interior=_MID
    ),
    "replicating conv": broken(
        _call, "edge", layer=_conv(padding=1, padding_mode="replicate"), interior=_MID
    ),
    "valid conv": broken(_call, "valid", layer=_conv(), interior=(0, 14)),
    "asymmetric SAME": broken(
        _same_padded, "zero padding", layer=_conv(stride=2), interior=(0, 7)
    ),
    "max-pool 2": holds(lambda x: F.max_pool2d(x, 2), period=2, interior=(0, 8)),
    "max-pool 3, padded": broken(
        lambda x: F.max_pool2d(x, 3, 1, 1), "padding", interior=_MID
    ),
    "max-pool 3, ceil_mode": broken(
        lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), "ceil_mode", interior=(0, 7)
    ),
    "transposed conv": holds(
        _call, layer=lambda: nn.ConvTranspose2d(2, 2, 2, stride=2), step=2, interior=(0, 32)
    ),
    # ---------------------------------------------------------------- resampling
    "nearest x2": holds(_upsampled("nearest", scale_factor=2), step=2, interior=(0, 32)),
    "nearest 16 to 24": holds(
        _upsampled("nearest", size=(12, 24)), period=2, step=3, interior=(0, 24)
    ),
    "bilinear x2, clamped": broken(
        _upsampled("bilinear", scale_factor=2), "clamp", interior=(1, 31)
    ),
    "bilinear, align_corners": broken(
        _upsampled("bilinear", scale_factor=2, align_corners=True), "align_corners",
        interior=(0, 32),
    ),
    # ---------------------------------------------------------------- the whole axis
    "mean": holds(lambda x: x.mean(-1), step=0, result_axis=None, interior=None),
    "x - mean": holds(lambda x: x - x.mean(-1, keepdim=True), interior=None),
    "softmax over the axis": holds(lambda x: x.softmax(-1), interior=None),
    "squeeze and excitation": holds(_gated, interior=None),
    "FFT low-pass": holds(_low_pass, interior=None),
    "instance norm": holds(lambda x: F.instance_norm(x), interior=None),
    "attention": holds(_attention, result_axis=2, interior=None),
    "attention, circular bias": holds(
        _attention, bias=_circular_distance, result_axis=2, interior=None
    ),
    "attention, bias by distance": broken(
        _attention, "varies", bias=_distance, result_axis=2, interior=None
    ),
    "class token": holds(
        _with_class_token, token=_parameter(1, 1, 2), result_axis=1, interior=None, parts=(1, 17)
    ),
    "cumulative sum": broken(lambda x: x.cumsum(-1), "order", interior=None),
    "LSTM over the axis": broken(
        _recurrent, "order", layer=lambda: nn.LSTM(2, 2, batch_first=True), result_axis=2,
        interior=None,
    ),
    "flatten + linear": broken(
        lambda x, layer: layer(x.flatten(1)), "linear", layer=lambda: nn.Linear(384, 3),
        result_axis=None, interior=None,
    ),
    "linear over the axis": broken(
        _call, "linear", layer=lambda: nn.Linear(16, 16), interior=None
    ),
    # ---------------------------------------------------------------- constants that vary
    "LayerNorm over channels": holds(
        lambda x, layer: layer(x.movedim(1, -1)).movedim(-1, 1), layer=lambda: nn.LayerNorm(2)
    ),
    "LayerNorm([C, H, W])": broken(
        _call, "varies", layer=lambda: nn.LayerNorm([2, 12, 16]), interior=None
    ),
    "LayerNorm([C, H, W]) without affine": holds(
        _call, layer=lambda: nn.LayerNorm([2, 12, 16], elementwise_affine=False), interior=None
    ),
    "position embedding": broken(
        lambda x, embedding: x + embedding, "varies", embedding=_parameter(1, 2, 12, 16),
        interior=None,
    ),
    "position embedding of tokens": broken(
        lambda x, embedding: _tokens(x) + embedding, "varies", embedding=_parameter(1, 192, 2),
        result_axis=1, interior=None,
    ),
    "embedding of the other axis": holds(
        lambda x, embedding: x + embedding, embedding=_parameter(1, 2, 12, 1)
    ),
    "mask that is one everywhere": holds(
        lambda x, mask: x * mask, mask=lambda: torch.ones(12, 16)
    ),
    "alternating mask": holds(lambda x, mask: x * mask, period=2, step=2, mask=_alternating),
    "coordinates as a channel": broken(
        lambda x: torch.cat([x, torch.linspace(-1, 1, 16).expand(1, 1, 12, 16)], 1), "varies",
        interior=None,
    ),
    **SINGLES_OF_OPS,
}  # fmt: skip
"""Name → case."""
