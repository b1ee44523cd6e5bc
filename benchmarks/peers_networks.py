"""The networks on which fieldwise and its peers are asked the same question; see peers.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Network:
    """A network, the shape of its input, and what about it is worth asking."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def made(self) -> nn.Module:
        """The network in eval mode, with weights that no two processes draw differently."""
        torch.manual_seed(0)
        return self.build().eval()


class UNet(nn.Module):
    """Two levels; up again by a transposed convolution, or by interpolation."""

    def __init__(self, *, bilinear: bool) -> None:
        super().__init__()
        self.inner, self.deep = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.up = (
            nn.Upsample(scale_factor=2, mode="bilinear")
            if bilinear
            else nn.ConvTranspose2d(8, 8, 2, 2)
        )
        self.out = nn.Conv2d(16, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """As many rows and columns as there are."""
        fine = self.inner(x).relu()
        coarse = self.deep(functional.max_pool2d(fine, 2)).relu()
        return self.out(torch.cat([fine, self.up(coarse)], 1))


class Shared(nn.Module):
    """One convolution, three times in a row and once beside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(8, 2, 1)
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Half as many rows and columns."""
        x = self.stem(x)
        deep = self.conv(self.conv(self.conv(x)))
        return self.head(torch.cat([self.conv(x), deep], 1))


class Branches(nn.Module):
    """1×7 and 7×1 side by side: what is seen is a cross, and no rectangle."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 4, (1, 7), padding=(0, 3))
        self.high = nn.Conv2d(3, 4, (7, 1), padding=(3, 0))

    def forward(self, x: Tensor) -> Tensor:
        """As many rows and columns as there are."""
        return self.wide(x) + self.high(x)


class Gated(nn.Module):
    """A squeeze-and-excitation gate: every position sees all of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """As many rows and columns as there are."""
        x = self.conv(x)
        return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()


class Causal(nn.Module):
    """Dilated convolutions that see the past only, with residuals (WaveNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(4, 4, 2, dilation=2**n) for n in range(5))
        self.stem = nn.Conv1d(1, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """As many samples as there are."""
        x = self.stem(x)
        for conv in self.convs:
            x = x + conv(functional.pad(x, (conv.dilation[0], 0))).tanh()
        return x


class Chomped(nn.Module):
    """Causal by padding on both sides and cutting off the end (TCN)."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv1d(1, 4, 3, padding=4, dilation=2)
        self.two = nn.Conv1d(4, 2, 3, padding=8, dilation=4)

    def forward(self, x: Tensor) -> Tensor:
        """As many samples as there are."""
        return self.two(self.one(x)[..., :-4].relu())[..., :-8]


class Codec(nn.Module):
    """Down by strides and up again by transposed convolutions, as audio codecs are built."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv1d(1, 4, 7, padding=3), nn.ELU(),
            nn.Conv1d(4, 8, 4, stride=2, padding=1), nn.ELU(),
            nn.Conv1d(8, 8, 8, stride=4, padding=2), nn.ELU(),
        )  # fmt: skip
        self.up = nn.Sequential(
            nn.ConvTranspose1d(8, 8, 8, stride=4, padding=2), nn.ELU(),
            nn.ConvTranspose1d(8, 4, 4, stride=2, padding=1), nn.ELU(),
            nn.Conv1d(4, 1, 7, padding=3),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """As many samples as there are, where they are a multiple of 8."""
        return self.up(self.down(x))


class Recurrent(nn.Module):
    """An LSTM behind a convolution: all of the past is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lstm = nn.Conv1d(1, 4, 3, padding=1), nn.LSTM(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """As many samples as there are."""
        return self.lstm(self.conv(x).transpose(1, 2))[0].transpose(1, 2)


def _vgg() -> nn.Module:
    from torchvision.models import vgg16

    features: nn.Module = vgg16(weights=None).features
    return features


def _resnet(*, dilated: bool = False) -> nn.Module:
    from torchvision.models import resnet50

    dilation = [False, dilated, dilated]
    net = resnet50(weights=None, replace_stride_with_dilation=dilation)
    return nn.Sequential(*list(net.children())[:-2])


def _inception() -> nn.Module:
    from torchvision.models import inception_v3

    net = inception_v3(weights=None, init_weights=False)
    names = [name for name, _ in net.named_children()]
    last = names.index("Mixed_6b")
    parts = [getattr(net, name) for name in names[: last + 1] if name != "AuxLogits"]
    return nn.Sequential(*parts)


def _line(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


IMAGES = (
    Network("VGG16", _vgg, (1, 3, 224, 224)),
    Network("ResNet-50, trunk", _resnet, (1, 3, 224, 224)),
    Network("ResNet-50, dilated (DeepLab)", lambda: _resnet(dilated=True), (1, 3, 128, 128)),
    Network("Inception-v3 to Mixed_6b", _inception, (1, 3, 171, 171)),
    Network("U-Net, transposed convolution", lambda: UNet(bilinear=False), (1, 3, 32, 32)),
    Network("U-Net, bilinear", lambda: UNet(bilinear=True), (1, 3, 32, 32)),
    Network("shared layers", Shared, (1, 3, 40, 40)),
    Network(
        "grouped and strided convolutions",
        _line(nn.Conv2d(4, 8, 3, stride=2, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 5, groups=8)),
        (1, 4, 40, 40),
    ),
    Network(
        "stride above the kernel",
        _line(nn.Conv2d(3, 4, 2, stride=3), nn.ReLU(), nn.Conv2d(4, 4, 2)),
        (1, 3, 40, 40),
    ),
    Network(
        "transposed convolution, kernel 4, stride 3",
        _line(nn.ConvTranspose2d(3, 4, 4, stride=3, padding=1), nn.Conv2d(4, 2, 3)),
        (1, 3, 16, 16),
    ),
    Network(
        "kernels 3×5 and 1×2",
        _line(nn.Conv2d(3, 4, (3, 5), stride=(1, 2)), nn.MaxPool2d((1, 2))),
        (1, 3, 40, 40),
    ),
    Network("1×7 beside 7×1", Branches, (1, 3, 24, 24)),
    Network("squeeze and excitation", Gated, (1, 3, 16, 16)),
    Network("causal, dilated (WaveNet)", Causal, (1, 1, 96)),
    Network("causal, cut (TCN)", Chomped, (1, 1, 64)),
    Network("codec: strides and transposed", Codec, (1, 1, 128)),
    Network("LSTM", Recurrent, (1, 1, 32)),
)

SIGNALS = (
    Network("causal, dilated (WaveNet)", Causal, (1, 1, 672)),
    Network("causal, cut (TCN)", Chomped, (1, 1, 672)),
    Network("codec: strides and transposed", Codec, (1, 1, 672)),
    Network(
        "kernels 3, 5 and 9, padded",
        _line(
            nn.Conv1d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(4, 4, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(4, 2, 9, padding=4),
        ),
        (1, 1, 672),
    ),
    Network(
        "strides 3 and 2",
        _line(nn.Conv1d(1, 4, 5, stride=3), nn.ReLU(), nn.Conv1d(4, 2, 4, stride=2)),
        (1, 1, 672),
    ),
    Network(
        "linear interpolation to twice the rate",
        _line(nn.Conv1d(1, 4, 3), nn.Upsample(scale_factor=2, mode="linear"), nn.Conv1d(4, 2, 3)),
        (1, 1, 672),
    ),
    Network(
        "max pool and batch norm",
        _line(nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4), nn.MaxPool1d(4), nn.ReLU()),
        (1, 1, 672),
    ),
    Network("LSTM", Recurrent, (1, 1, 672)),
    Network(
        "instance norm",
        _line(nn.Conv1d(1, 4, 3, padding=1), nn.InstanceNorm1d(4)),
        (1, 1, 672),
    ),
)
