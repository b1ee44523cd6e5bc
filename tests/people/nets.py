"""The file of networks that a user has: the walks copy it into the user's folder."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def block(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()
    )


class UNet(nn.Module):
    """One level down and up again; sizes are even."""

    def __init__(self, width: int = 4, classes: int = 2, channels: int = 3) -> None:
        super().__init__()
        self.fine, self.coarse = block(channels, width), block(width, 2 * width)
        self.pool = nn.MaxPool2d(2)
        self.up, self.join = nn.ConvTranspose2d(2 * width, width, 2, 2), block(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        coarse = self.up(self.coarse(self.pool(fine)))
        return self.head(self.join(torch.cat([fine, coarse], 1)))


class Sharper(UNet):
    """The next version: it looks once more before it pools."""

    def __init__(self, width: int = 4, classes: int = 2, channels: int = 3) -> None:
        super().__init__(width, classes, channels)
        self.pool = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.MaxPool2d(2))


class Smaller(nn.Module):
    """Half as many rows and columns, and no borders that count."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Denoiser(nn.Module):
    """Sound in, sound out: dilated convolutions that look ahead."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, width, 9, padding=4), nn.BatchNorm1d(width), nn.ELU(),
            nn.Conv1d(width, width, 5, padding=8, dilation=4), nn.ELU(),
            nn.Conv1d(width, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
