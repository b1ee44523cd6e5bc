"""Random networks for Hypothesis: small, of every op family, in one to three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

CHANNELS = 4
SIZES = {1: (17, 24), 2: (7, 11), 3: (4, 6)}


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Concat(nn.Module):
    """Branches side by side in the channels, of which every other one is kept."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([branch(x) for branch in self.branches], dim=1)
        return joined[:, :: len(self.branches)]


class Mixed(nn.Module):
    """Half of the channels go through a branch, the others stay."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        return torch.cat([left, self.body(torch.cat([right, right], 1))[:, :2]], dim=1)


class Function(nn.Module):
    """A functional op as a module."""

    def __init__(self, function: Any, label: str) -> None:
        super().__init__()
        self.function, self.label = function, label

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def extra_repr(self) -> str:
        return self.label


class Gate(nn.Module):
    """Squeeze and excitation: a gate from the mean over space."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        self.dims = tuple(range(2, 2 + axes))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x.mean(self.dims, keepdim=True))


@dataclass(frozen=True)
class Drawn:
    """A network and the shape of its input."""

    model: nn.Module
    shape: tuple[int, ...]

    def __repr__(self) -> str:
        return f"{self.model} on {self.shape}"


def _convolution(draw: st.DrawFn, axes: int, *, same: bool = False) -> nn.Module:
    make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    if same:
        kernel = tuple(draw(st.sampled_from([1, 3])) for _ in range(axes))
        dilation = draw(st.sampled_from([1, 1, 2]))
        padding = tuple(dilation * (k - 1) // 2 for k in kernel)
        return make(
            CHANNELS, CHANNELS, kernel, padding=padding, dilation=dilation, groups=groups,
            padding_mode=mode,
        )  # fmt: skip
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    return make(
        CHANNELS, CHANNELS, kernel,
        stride=tuple(draw(st.sampled_from([1, 1, 2, 3])) for _ in range(axes)),
        dilation=draw(st.sampled_from([1, 1, 2])),
        padding=tuple(draw(st.integers(0, 2)) for _ in range(axes)),
        groups=groups, padding_mode=mode,
    )  # fmt: skip


def _transposed(draw: st.DrawFn, axes: int) -> nn.Module:
    make = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
    stride = draw(st.integers(1, 3))
    return make(
        CHANNELS, CHANNELS, draw(st.integers(1, 4)), stride=stride,
        padding=draw(st.integers(0, 1)), output_padding=draw(st.integers(0, stride - 1)),
        groups=draw(st.sampled_from([1, 2])),
    )  # fmt: skip


def _pool(draw: st.DrawFn, axes: int) -> nn.Module:
    kernel = draw(st.integers(1, 3))
    options = {
        "kernel_size": kernel,
        "stride": draw(st.integers(1, 3)),
        "padding": draw(st.integers(0, kernel // 2)),
        "ceil_mode": draw(st.booleans()),
    }
    if draw(st.booleans()):
        make = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1]
        return make(dilation=draw(st.sampled_from([1, 2])), **options)
    make = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[axes - 1]
    return make(count_include_pad=draw(st.booleans()), **options)


def _resampled(draw: st.DrawFn, axes: int) -> nn.Module:
    linear = ("linear", "bilinear", "trilinear")[axes - 1]
    mode = draw(st.sampled_from(["nearest", "nearest-exact", linear]))
    factor = draw(st.sampled_from([2, 2, 3]))
    corners = draw(st.booleans()) if mode == linear else None
    return nn.Upsample(scale_factor=factor, mode=mode, align_corners=corners)


def _moved(draw: st.DrawFn, axes: int) -> nn.Module:
    last = 1 + axes
    choices = {
        "slice": (lambda x: x[..., ::2]),
        "offset": (lambda x: x[..., 1:]),
        "flip": (lambda x: x.flip(last)),
        "roll": (lambda x: x.roll(2, last)),
        "crop": (lambda x: F.pad(x, (-1, 2))),
        "swap": (lambda x: x.transpose(2, last)),
        "layer_norm": (lambda x: F.layer_norm(x.movedim(1, -1), (CHANNELS,)).movedim(-1, 1)),
        "written": _written,
        "wrapped": (lambda x: torch.cat([x[..., -1:], x, x[..., :1]], dim=-1)),
        "doubled": (lambda x: torch.cat([x, x.flip(-1)], dim=-1)),
        "classed": _with_class_token,
        "windows": _windows,
        "unshuffled": _unshuffled,
        "index": (lambda x: x[..., torch.arange(x.shape[-1] - 1, 0, -2)]),
    }
    label = draw(st.sampled_from(sorted(choices)))
    return Function(choices[label], label)


def _written(x: Tensor) -> Tensor:
    """Slice assignment: every other sample is replaced by its neighbour's square."""
    out = x.clone()
    out[..., 1::2] = x[..., : x.shape[-1] // 2 * 2 : 2] ** 2
    return out


def _with_class_token(x: Tensor) -> Tensor:
    """Tokens with one more in front, mixed in their channels; then that one is dropped again."""
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([torch.ones(1, 1, CHANNELS), tokens], dim=1)
    mixed = F.layer_norm(tokens, (CHANNELS,))[:, 1:]
    return mixed.transpose(1, 2).reshape(x.shape)


def _windows(x: Tensor) -> Tensor:
    """Every window of two samples along the last axis is mixed within."""
    x = x[..., : x.shape[-1] // 2 * 2]
    windows = x.unflatten(-1, (-1, 2))
    return (windows + windows.mean(-1, keepdim=True)).flatten(-2)


def _unshuffled(x: Tensor) -> Tensor:
    """Pairs of samples become channels, of which the first half is kept."""
    x = x[..., : x.shape[-1] // 2 * 2]
    pairs = x.unflatten(-1, (-1, 2)).movedim(-1, 2)
    return pairs.flatten(1, 2)[:, :CHANNELS]


def _tokens(draw: st.DrawFn, axes: int) -> nn.Module:
    """Flatten to tokens, mix the channels, fold back."""

    def mix(x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return F.softmax(tokens, dim=-1).transpose(1, 2).reshape(x.shape)

    return Function(mix, "tokens")


def _layer(draw: st.DrawFn, axes: int) -> nn.Module:
    kind = draw(
        st.sampled_from(
            ["conv", "conv", "conv", "pool", "transposed", "resampled", "moved", "moved",
             "residual", "concat", "mixed", "relu", "tokens", "gate"]
        )
    )  # fmt: skip
    if kind == "conv":
        return _convolution(draw, axes)
    if kind == "pool":
        return _pool(draw, axes)
    if kind == "transposed":
        return _transposed(draw, axes)
    if kind == "resampled":
        return _resampled(draw, axes)
    if kind == "moved":
        return _moved(draw, axes)
    if kind == "residual":
        return Residual(nn.Sequential(_convolution(draw, axes, same=True), nn.ReLU(inplace=True)))
    if kind == "concat":
        return Concat(_convolution(draw, axes, same=True), _convolution(draw, axes, same=True))
    if kind == "mixed":
        return Mixed(_convolution(draw, axes, same=True))
    if kind == "tokens":
        return _tokens(draw, axes)
    if kind == "gate" and draw(st.integers(0, 2)) == 0:
        return Gate(axes)
    return nn.ReLU()


@st.composite
def networks(draw: st.DrawFn) -> Drawn:
    """A chain of one to six random layers on a small input of odd or even sizes."""
    axes = draw(st.sampled_from([1, 1, 2, 2, 2, 3]))
    layers = [_layer(draw, axes) for _ in range(draw(st.integers(1, 6 - axes)))]
    low, high = SIZES[axes]
    sizes = tuple(draw(st.integers(low, high)) for _ in range(axes))
    return Drawn(nn.Sequential(*layers).eval(), (1, CHANNELS, *sizes))
