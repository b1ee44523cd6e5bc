"""Decoders and encoders of the kinds that people stream live, small, with torch alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Snake(nn.Module):
    """x + sin²(a·x)/a, per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.sin(self.a * x).pow(2) / (self.a + 1e-9)


class Dilated(nn.Module):
    """A residual unit of a codec: a dilated convolution, centred, and one of a single tap."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(width), nn.Conv1d(width, width, 7, dilation=dilation, padding=3 * dilation),
            Snake(width), nn.Conv1d(width, width, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def decoder() -> nn.Module:
    """A centred codec decoder: 8 samples per frame."""
    parts: list[nn.Module] = [nn.Conv1d(3, 8, 7, padding=3)]
    for width, rate in ((8, 4), (4, 2)):
        parts += [Snake(width), nn.ConvTranspose1d(width, width // 2, 2 * rate, rate, rate // 2)]
        parts += [Dilated(width // 2, dilation) for dilation in (1, 3)]
    return nn.Sequential(*parts, Snake(2), nn.Conv1d(2, 1, 7, padding=3), nn.Tanh())


def encoder() -> nn.Module:
    """A centred codec encoder: a frame per 8 samples."""
    parts: list[nn.Module] = [nn.Conv1d(1, 2, 7, padding=3)]
    for width, rate in ((2, 2), (4, 4)):
        parts += [Dilated(width, 1), Snake(width)]
        parts += [nn.Conv1d(width, 2 * width, 2 * rate, rate, rate // 2)]
    return nn.Sequential(*parts, Snake(8), nn.Conv1d(8, 3, 3, padding=1))


class Vocoder(nn.Module):
    """Residual blocks of several widths in parallel behind each step up, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.end = nn.Conv1d(3, 8, 7, padding=3), nn.Conv1d(2, 1, 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(w, w // 2, 2 * rate, rate, rate // 2) for w, rate in ((8, 4), (4, 2))
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Conv1d(w, w, k, dilation=2, padding=k - 1) for k in (3, 5))
            for w in (4, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        for up, blocks in zip(self.ups, self.blocks, strict=True):
            x = up(F.leaky_relu(x, 0.1))
            x = sum(x + block(F.leaky_relu(x, 0.1)) for block in blocks) / len(blocks)
        return torch.tanh(self.end(F.leaky_relu(x)))


class Causal(nn.Module):
    """A convolution whose padding is all in front."""

    def __init__(self, before: int, after: int, taps: int, stride: int = 1) -> None:
        super().__init__()
        self.conv, self.pad = nn.Conv1d(before, after, taps, stride), taps - stride

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (self.pad, 0)))


class CausalUp(nn.Module):
    """A transposed convolution whose tail is cut off."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv, self.cut = nn.ConvTranspose1d(before, after, 2 * stride, stride), stride

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[..., : -self.cut]


class Skipped(nn.Module):
    """A recurrent layer of two levels over time, with a skip."""

    def __init__(self, width: int, kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.layer = kind(width, width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x.permute(2, 0, 1))[0].permute(1, 2, 0)


def recurrent_decoder() -> nn.Module:
    """A causal codec decoder with an LSTM: 6 samples per frame."""
    return nn.Sequential(
        Causal(3, 6, 7), Skipped(6), nn.ELU(), CausalUp(6, 4, 3), Causal(4, 4, 3), nn.ELU(),
        CausalUp(4, 2, 2), Causal(2, 1, 7),
    )  # fmt: skip


def recurrent_encoder() -> nn.Module:
    """A causal codec encoder with an LSTM: a frame per 6 samples."""
    return nn.Sequential(
        Causal(1, 2, 7), nn.ELU(), Causal(2, 4, 4, 2), nn.ELU(), Causal(4, 6, 6, 3),
        Skipped(6), Causal(6, 3, 7),
    )  # fmt: skip


class WaveUNet(nn.Module):
    """Strides down and up again, with skip connections."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv1d(a, b, 8, 4, 2) for a, b in ((1, 4), (4, 6)))
        self.middle = nn.Conv1d(6, 6, 3, padding=1)
        self.up = nn.ModuleList(nn.ConvTranspose1d(a, b, 8, 4, 2) for a, b in ((12, 4), (8, 1)))

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.down[0](x))
        second = F.relu(self.down[1](first))
        y = F.relu(self.up[0](torch.cat([second, self.middle(second)], 1)))
        return self.up[1](torch.cat([first, y], 1))


WIDTHS = {
    decoder: 3, encoder: 1, Vocoder: 3, recurrent_decoder: 3, recurrent_encoder: 1, WaveUNet: 1,
}  # fmt: skip
"""Per network, the channels of its input."""


def made(network) -> nn.Module:
    """A network with fixed random weights, in float64."""
    torch.manual_seed(0)
    return network().eval().double()
