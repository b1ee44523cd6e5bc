"""Micro networks for tests: each small, each with one thing that tools get wrong.

Every class takes no arguments.  ``CATALOGUE`` lists them with the shape of a fitting input.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(before: int, after: int, kernel_size: int = 3, **options) -> nn.Conv2d:
    """A convolution padded to keep the size at stride 1, unless told otherwise."""
    options.setdefault("padding", options.get("dilation", 1) * (kernel_size - 1) // 2)
    return nn.Conv2d(before, after, kernel_size, **options)


class Chain(nn.Sequential):
    """(3,1) pool(2,2) (3,1) (3,2): extent 12, stride 4."""

    def __init__(self) -> None:
        super().__init__(
            conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 4), nn.ReLU(), conv(4, 5, stride=2)
        )


class Residual(nn.Module):
    """x + 3x3(relu(bn(3x3(x)))): extent 5."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4, 1)
        self.conv1, self.bn1, self.conv2 = conv(4, 4), nn.BatchNorm2d(4), conv(4, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.conv2(self.relu(self.bn1(self.conv1(x))))
        y += x
        return self.relu(y)


class Concat(nn.Module):
    """3x3 beside 5x5: extent 5; channels 0-1 see 3, channels 2-4 see 5."""

    def __init__(self) -> None:
        super().__init__()
        self.three, self.five = conv(3, 2), conv(3, 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.three(x), self.five(x)], 1)


class Dilated(nn.Sequential):
    """k3 d4: extent 9, count 3 per axis."""

    def __init__(self) -> None:
        super().__init__(conv(3, 4, dilation=4))


class _UNet(nn.Module):
    depth = 4

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(conv(3 if level == 0 else 2, 2) for level in range(self.depth))
        self.bottom = conv(2, 2)
        self.up = nn.ModuleList(self.upsampling() for _ in range(self.depth))
        self.merge = nn.ModuleList(conv(4, 2) for _ in range(self.depth))
        self.head = conv(2, 1, 1)

    def upsampling(self) -> nn.Module:
        return nn.ConvTranspose2d(2, 2, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            x = F.relu(block(x))
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = F.relu(self.bottom(x))
        for up, merge in zip(self.up, self.merge, strict=True):
            x = F.relu(merge(torch.cat([skips.pop(), up(x)], 1)))
        return self.head(x)


class TransposedUNet(_UNet):
    """Four levels, transposed convolutions: period 16 at the output."""


class NearestUNet(_UNet):
    depth = 2

    def upsampling(self) -> nn.Module:
        return nn.Upsample(scale_factor=2, mode="nearest")


class BilinearUNet(_UNet):
    depth = 2

    def upsampling(self) -> nn.Module:
        return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


class InceptionLike(nn.Module):
    """1x7 beside 7x1: the field is a cross of 13 samples, not a square of 49."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 2, (1, 7), padding=(0, 3))
        self.tall = nn.Conv2d(3, 2, (7, 1), padding=(3, 0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.wide(x), self.tall(x)], 1)


class SqueezeExcitation(nn.Module):
    """A gate from the global mean: everything is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.reduce, self.expand = conv(3, 4), conv(4, 2, 1), conv(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate = self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class ParallelStrides(nn.Module):
    """1x1 stride 2 beside 3x3 · 3x3 stride 2 (5 samples): extent 5, stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.short = conv(3, 4, 1, stride=2)
        self.long = nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 4, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return self.short(x) + self.long(x)


class EarlyParallelStrides(nn.Module):
    """1x1 stride 2 beside 3x3 stride 2 · 3x3 (7 samples): extent 7, stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.short = conv(3, 4, 1, stride=2)
        self.long = nn.Sequential(conv(3, 4, stride=2), nn.ReLU(), conv(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.short(x) + self.long(x)


class DownUp(nn.Sequential):
    """conv k3 s2, then transposed k3 s2: even and odd outputs differ."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, stride=2, padding=1),
            nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1),
        )


class NearestAfterConv(nn.Sequential):
    """3x3, nearest x2, 3x3."""

    def __init__(self) -> None:
        super().__init__(conv(3, 4), nn.Upsample(scale_factor=2), conv(4, 2))


class PixelShuffle(nn.Sequential):
    """3x3, pixel shuffle x2, 3x3."""

    def __init__(self) -> None:
        super().__init__(conv(3, 8), nn.PixelShuffle(2), conv(2, 2))


class Twice(nn.Module):
    """One 3x3 called twice: extent 5."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.conv(x)))


class FunctionalPool(nn.Module):
    """3x3, F.max_pool2d(3, 2, 1): extent 5, stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.conv(x), 3, 2, 1)


class DilatedPool(nn.Sequential):
    """A max-pool k3 d2: extent 5, count 3 per axis."""

    def __init__(self) -> None:
        super().__init__(nn.MaxPool2d(3, stride=1, padding=1, dilation=2))


class EvenKernels(nn.Sequential):
    """k4 s2 p1, then k2: extent 6, stride 2."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 4, stride=2, padding=1), nn.Conv2d(4, 2, 2))


class CeilMode(nn.Sequential):
    """Pools whose last window hangs over the border."""

    def __init__(self) -> None:
        super().__init__(
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            conv(3, 2),
            nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True),
        )


class Same(nn.Sequential):
    """padding='same' with an even kernel: one more behind than in front."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 2, 4, padding="same", dilation=2))


class _PaddingMode(nn.Sequential):
    mode = "zeros"

    def __init__(self) -> None:
        super().__init__(
            conv(3, 2, 5, padding_mode=self.mode), conv(2, 2, stride=2, padding_mode=self.mode)
        )


class Circular(_PaddingMode):
    mode = "circular"


class Reflect(_PaddingMode):
    mode = "reflect"


class Replicate(_PaddingMode):
    mode = "replicate"


class TensorFlowSame(nn.Module):
    """TensorFlow's SAME: how much is padded, and where, depends on the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, stride=2)
        self.two = nn.Conv2d(4, 4, 5, stride=2)

    @staticmethod
    def pad(x: Tensor, kernel_size: int, stride: int) -> Tensor:
        pads: list[int] = []
        for size in reversed(x.shape[2:]):
            total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
            pads += [total // 2, total - total // 2]
        return F.pad(x, pads)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.pad(self.one(self.pad(x, 3, 2)), 5, 2))


class Attention(nn.Module):
    """Patches of 4, then softmax(q kᵀ) v over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)

    def mix(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(tokens)).chunk(3, -1)
        return self.out((q @ k.transpose(-2, -1) / 8**0.5).softmax(-1) @ v)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        tokens = x.flatten(2).transpose(1, 2)
        return (tokens + self.mix(tokens)).transpose(1, 2).reshape(x.shape)


class ShiftedWindows(Attention):
    """Attention within windows of 2x2 patches, rolled by one, as in Swin (without its mask)."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).permute(0, 2, 3, 1)
        batch, height, width, channels = x.shape
        rolled = x.roll((-1, -1), (1, 2))
        grid = (batch, height // 2, 2, width // 2, 2, channels)
        windows = rolled.reshape(grid).transpose(2, 3).reshape(-1, 4, channels)
        swapped = (batch, height // 2, width // 2, 2, 2, channels)
        mixed = self.mix(windows).reshape(swapped).transpose(2, 3).reshape(x.shape)
        return (x + mixed.roll((1, 1), (1, 2))).permute(0, 3, 1, 2)


class FusedAttention(Attention):
    """Causal scaled_dot_product_attention: patch l sees patches 0 to l."""

    def mix(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(tokens).unsqueeze(1).chunk(3, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).squeeze(1))


class Lstm(nn.Module):
    """A causal LSTM over (N, C, T): step t sees 0 to t."""

    bidirectional = False

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True, bidirectional=self.bidirectional)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x.transpose(1, 2))[0].transpose(1, 2)


class BidirectionalLstm(Lstm):
    """Both directions: everything is seen."""

    bidirectional = True


class Signal(nn.Sequential):
    """1-D: k5 s2, pool(2,2), k3: extent 15, stride 4."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(2, 3, 5, stride=2, padding=2), nn.MaxPool1d(2), nn.Conv1d(3, 3, 3, padding=1)
        )


class Volume(nn.Sequential):
    """3-D: kernels that differ per axis, then a max-pool."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(1, 2, (3, 1, 5), padding=(1, 0, 2)), nn.MaxPool3d((1, 2, 2)), nn.PReLU()
        )


class _Bottleneck(nn.Module):
    """The original bottleneck: the stride stands in the first 1x1."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = width * 4
        self.conv1 = nn.Conv2d(before, width, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(before, after, 1, stride=stride), nn.BatchNorm2d(after))
            if stride != 1 or before != after
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + self.downsample(x))


class CaffeResNet50(nn.Module):
    """He et al.'s ResNet-50 with ``width`` channels in its first stage: extent 483, stride 32."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        before = width
        for stage, blocks in enumerate((3, 4, 6, 3)):
            layers = []
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(_Bottleneck(before, width * 2**stage, stride))
                before = width * 2**stage * 4
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


CATALOGUE: dict[type[nn.Module], tuple[int, ...]] = {
    Chain: (1, 3, 19, 16),
    Residual: (1, 3, 9, 8),
    Concat: (1, 3, 9, 8),
    Dilated: (1, 3, 12, 11),
    TransposedUNet: (1, 3, 32, 32),
    NearestUNet: (1, 3, 12, 16),
    BilinearUNet: (1, 3, 12, 16),
    InceptionLike: (1, 3, 10, 9),
    SqueezeExcitation: (1, 3, 6, 5),
    ParallelStrides: (1, 3, 11, 10),
    EarlyParallelStrides: (1, 3, 11, 10),
    DownUp: (1, 3, 10, 8),
    NearestAfterConv: (1, 3, 7, 6),
    PixelShuffle: (1, 3, 7, 6),
    Twice: (1, 3, 9, 8),
    FunctionalPool: (1, 3, 11, 10),
    DilatedPool: (1, 3, 9, 8),
    EvenKernels: (1, 3, 12, 11),
    CeilMode: (1, 3, 16, 12),
    Same: (1, 3, 11, 9),
    Circular: (1, 3, 9, 8),
    Reflect: (1, 3, 9, 8),
    Replicate: (1, 3, 9, 8),
    TensorFlowSame: (1, 3, 13, 16),
    Attention: (1, 3, 16, 12),
    ShiftedWindows: (1, 3, 24, 16),
    FusedAttention: (1, 3, 16, 12),
    Lstm: (1, 3, 7),
    BidirectionalLstm: (1, 3, 7),
    Signal: (1, 2, 37),
    Volume: (1, 1, 6, 8, 9),
}
"""Every micro network but the large ResNet, with the shape of a small fitting input."""
