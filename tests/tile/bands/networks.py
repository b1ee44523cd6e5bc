"""Networks of the kinds that people stream, small: segmentation, pyramids, audio."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def block(before: int, after: int) -> nn.Sequential:
    """Convolution, norm, activation."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


def transposed(kernel_size: int, **options: int) -> Callable[[int, int], nn.Module]:
    """Makes transposed convolutions that double the size."""
    return lambda before, after: nn.ConvTranspose2d(before, after, kernel_size, stride=2, **options)


def upsampled(mode: str, **options: bool) -> Callable[[int, int], nn.Module]:
    """Makes interpolations that double the size, with a 1x1 convolution."""
    return lambda before, after: nn.Sequential(
        nn.Upsample(scale_factor=2, mode=mode, **options), nn.Conv2d(before, after, 1)
    )


def volumes() -> nn.Module:
    """Of volumes, with fixed weights and kernels that oneDNN takes at any size."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 4, 5, padding=2),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(4, 4, 5, padding=2),
        nn.ConvTranspose3d(4, 2, 2, 2),
    ).eval()


class UNet(nn.Module):
    """Three levels; ``up`` makes what doubles the size.  Sizes that are not even are cropped to."""

    def __init__(self, up: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        widths = (4, 8, 12, 16)
        pairs = list(pairwise(widths))
        self.first = block(3, 4)
        self.down = nn.ModuleList(block(a, b) for a, b in pairs)
        self.up = nn.ModuleList(up(b, a) for a, b in reversed(pairs))
        self.merge = nn.ModuleList(block(2 * a, a) for a, _ in reversed(pairs))

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.first(x)]
        for down in self.down:
            skips.append(down(F.max_pool2d(skips[-1], 2)))
        y = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            skip, y = skips.pop(), up(y)
            if y.shape != skip.shape:
                y = F.pad(y, (0, skip.shape[3] - y.shape[3], 0, skip.shape[2] - y.shape[2]))
            y = merge(torch.cat([skip, y], 1))
        return y


class Pyramid(nn.Module):
    """A feature pyramid: a top-down path by interpolation to the sizes below, four outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in ((3, 4), (4, 6), (6, 8))
        )
        self.inner = nn.ModuleList(nn.Conv2d(width, 5, 1) for width in (4, 6, 8))
        self.outer = nn.ModuleList(nn.Conv2d(5, 5, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = []
        for stage in self.stages:
            x = F.relu(stage(x))
            maps.append(x)
        found = [self.inner[2](maps[2])]
        for level in (1, 0):
            size = maps[level].shape[2:]
            found.append(self.inner[level](maps[level]) + F.interpolate(found[-1], size=size))
        levels = [outer(y) for outer, y in zip(self.outer, reversed(found), strict=True)]
        return {f"p{n}": y for n, y in enumerate(levels)} | {"pool": F.max_pool2d(levels[-1], 1, 2)}


class Atrous(nn.Module):
    """DeepLab's parallel dilated convolutions, without the image pool, enlarged eight times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 6, 7, stride=2, padding=3), nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(6, 6, 3, stride=2, padding=1),
        )  # fmt: skip
        self.branches = nn.ModuleList(
            nn.Conv2d(6, 4, 3, padding=rate, dilation=rate) for rate in (2, 4, 6)
        )
        self.head = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        y = self.head(torch.cat([branch(y) for branch in self.branches], 1))
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


class WaveNet(nn.Module):
    """Gated dilated convolutions with skips, causal or centred."""

    def __init__(self, *, causal: bool, depth: int = 5) -> None:
        super().__init__()
        self.causal = causal
        taps = 2 if causal else 3
        self.start = nn.Conv1d(1, 4, 1)
        self.filters = nn.ModuleList(nn.Conv1d(4, 8, taps, dilation=2**n) for n in range(depth))
        self.mixes = nn.ModuleList(nn.Conv1d(4, 8, 1) for _ in range(depth))
        self.end = nn.Conv1d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        total = torch.zeros_like(x)
        for level, (convolve, mix) in enumerate(zip(self.filters, self.mixes, strict=True)):
            side = 2**level
            left, right = convolve(F.pad(x, (side, 0 if self.causal else side))).chunk(2, dim=1)
            kept, skip = mix(torch.tanh(left) * torch.sigmoid(right)).chunk(2, dim=1)
            x, total = x + kept, total + skip
        return self.end(F.relu(total))


class Chomped(nn.Module):
    """A causal TCN as usually written: padding on both sides, the end cut off again."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(2, 2, 3, padding=2 * rate, dilation=rate) for rate in (1, 2, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        for rate, conv in zip((1, 2, 4), self.convs, strict=True):
            x = x + F.relu(conv(x)[..., : -2 * rate])
        return x


class WaveUNet(nn.Module):
    """Decimation by slices, linear interpolation with aligned corners on the way back."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv1d(a, b, 15, padding=7) for a, b in ((1, 4), (4, 6)))
        self.up = nn.ModuleList(nn.Conv1d(a, b, 5, padding=2) for a, b in ((10, 4), (5, 3)))

    def forward(self, x: Tensor) -> Tensor:
        skips = [x]
        for down in self.down:
            skips.append(F.leaky_relu(down(skips[-1]))[..., ::2])
        y = skips.pop()
        for up in self.up:
            skip = skips.pop()
            y = F.interpolate(y, size=skip.shape[-1], mode="linear", align_corners=True)
            y = F.leaky_relu(up(torch.cat([y, skip], 1)))
        return y


class Recurrent(nn.Module):
    """A convolution, a GRU of two layers and a running sum: causal states of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru = nn.Conv1d(2, 4, 3), nn.GRU(4, 5, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.pad(x, (2, 0)))
        x = self.gru(x.transpose(1, 2))[0]
        return (x.cumsum(1) / 8).transpose(1, 2)


class Positioned(nn.Module):
    """Patches as tokens with a table of positions, normalised and mixed in their channels."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 4, stride=4)
        self.positions = nn.Parameter(torch.randn(1, rows * columns, 6))
        self.norm, self.mix = nn.LayerNorm(6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        tokens = x.flatten(2).transpose(1, 2) + self.positions
        return self.mix(self.norm(tokens)).transpose(1, 2).reshape(x.shape)
