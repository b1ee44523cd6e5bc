"""Networks with settled statistics, at small sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def settled(net: nn.Module, seed: int = 0) -> nn.Module:
    """A network whose norms have statistics and parameters that hide nothing."""
    dice = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.running_mean, module.bias):
                tensor.data.normal_(0, 0.3, generator=dice)
            for tensor in (module.running_var, module.weight):
                tensor.data.uniform_(0.5, 1.5, generator=dice)
    return net.eval()


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class UNet(nn.Module):
    """Two levels; sizes are multiples of 4."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.one, self.two, self.three = block(3, width), block(width, width), block(width, width)
        self.up_two = nn.ConvTranspose2d(width, width, 2, 2)
        self.up_one = nn.ConvTranspose2d(width, width, 2, 2)
        self.join_two, self.join_one = block(2 * width, width), block(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        two = self.two(nn.functional.max_pool2d(one, 2))
        three = self.three(nn.functional.max_pool2d(two, 2))
        two = self.join_two(torch.cat([two, self.up_two(three)], 1))
        return self.join_one(torch.cat([one, self.up_one(two)], 1))


class Classifier(nn.Module):
    """Its linear layer fixes the size of the image, and not the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.classes = block(3, 4), nn.Linear(4 * 8 * 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.features(x).flatten(1))


class Scaled(nn.Module):
    """Arithmetic in the forward: folded by graph alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3), nn.Parameter(torch.rand(4, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x) * self.scale).flatten(1)
