"""Networks that someone else trained, and how their packages tile.

The weights lie in installed distributions (deepCR and platelet-unet-watershed, BSD-3-Clause;
facenet-pytorch, MIT), which want many libraries and are therefore not imported: their networks are
written here, with modules named as the weights are.  Only tensors are unpickled.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor, nn

Predict = Callable[[Tensor], Tensor]


def weights(package: str, distribution: str, path: str) -> dict[str, Tensor]:
    """What a distribution brings.  Raises LookupError where it is not installed."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise LookupError(f"{distribution} is not installed")
    place = Path(found.submodule_search_locations[0]) / path
    return torch.load(place, weights_only=True, map_location="cpu")


# ------------------------------------------------------------------------------- deepCR


def double_conv(before: int, after: int) -> nn.Sequential:
    layers = nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True),
    )  # fmt: skip
    return named(conv=layers)


def named(**children: nn.Module) -> nn.Sequential:
    found = nn.Sequential()
    for name, child in children.items():
        found.add_module(name, child)
    return found


class DeepCR(nn.Module):
    """The U-Net of Zhang & Bloom (2020) that masks cosmic rays in images of Hubble's ACS."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.inc = named(conv=double_conv(1, width))
        self.down1 = named(mpconv=nn.Sequential(nn.MaxPool2d(2), double_conv(width, 2 * width)))
        self.up8 = nn.Module()
        self.up8.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.up8.conv = double_conv(2 * width, width)
        self.outc = named(conv=nn.Conv2d(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.inc(x)
        up = self.up8.up(self.down1(fine))
        return self.outc(self.up8.conv(torch.cat([fine, up], 1))).sigmoid()


def deepcr() -> nn.Module:
    state = weights("learned_models", "deepCR", "mask/ACS-WFC.pth")
    model = DeepCR()
    model.load_state_dict({name.removeprefix("module."): v for name, v in state.items()})
    return model.double().eval()


def sky(height: int, width: int) -> Tensor:
    """Noise of a sky background with stars and the tracks of cosmic rays on it, in electrons."""
    generator = torch.Generator().manual_seed(0)
    image = 50 + 7 * torch.randn(height, width, generator=generator, dtype=torch.float64)
    for _ in range(height * width // 400):
        y = int(torch.randint(height, (), generator=generator))
        x = int(torch.randint(width, (), generator=generator))
        image[y, x : x + 5] += 3000 * torch.rand((), generator=generator)
    return image[None, None]


def deepcr_patches(model: Predict, x: Tensor, patch: int) -> Tensor:
    """deepCR.clean_large: patches side by side, each filled up with zeros to a multiple of 4."""
    out = torch.empty_like(x)
    for top, left in product(*(range(0, n, patch) for n in x.shape[2:])):
        piece = x[..., top : top + patch, left : left + patch]
        up, front = -piece.shape[2] % 4, -piece.shape[3] % 4
        found = model(F.pad(piece, (front, 0, up, 0)))[..., up:, front:]
        out[..., top : top + patch, left : left + patch] = found
    return out


# ------------------------------------------------------------------------------- platelets


class Block(nn.Module):
    """conv, norm, relu, conv, norm, and what comes last."""

    def __init__(self, before: int, after: int, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv0 = nn.Conv3d(before, after, 3, padding=1)
        self.conv1 = nn.Conv3d(after, after, 3, padding=1)
        self.batch0, self.batch1 = nn.BatchNorm3d(after), nn.BatchNorm3d(after)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        x = self.batch0(self.conv0(x)).relu()
        return self.last(self.batch1(self.conv1(x)))


class Platelets(nn.Module):
    """The anisotropic U-Net of Nunez-Iglesias & McGovern: volumes of platelets to affinities."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, 128, 256, 256)
        for number in range(5):
            self.add_module(f"c{number}", Block(*widths[number : number + 2], torch.relu))
        for number, width in enumerate((128, 64, 32), 5):
            self.add_module(f"c{number}_0", Block(4 * width, width, torch.relu))
        self.c8_0 = Block(64, 5, torch.sigmoid)
        for number, width in enumerate((256, 128, 64, 32)):
            steps = (2, 2, 2) if number == 0 else (1, 2, 2)
            self.add_module(f"up{number}", nn.ConvTranspose3d(
                width, width, steps, steps, groups=width))  # fmt: skip
        shallow = {"kernel_size": (1, 2, 2), "padding": (0, 1, 1)}
        self.pools = [nn.MaxPool3d(**shallow)] * 3 + [nn.MaxPool3d(2, padding=(0, 1, 1))]

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for number, pool in enumerate(self.pools):
            skips.append(getattr(self, f"c{number}")(x))
            x = pool(skips[-1])
        x = self.c4(x)
        for number, skip in enumerate(reversed(skips)):
            x = getattr(self, f"up{number}")(x)
            x = x[..., 1:-1, 1:-1] if number == 3 else x[..., :-1, :-1]
            x = getattr(self, f"c{number + 5}_0")(torch.cat([x, skip], 1))
        return x


def platelets() -> nn.Module:
    model = Platelets()
    path = "data/unet-210913-zyxmc.pt"
    model.load_state_dict(weights("plateseg", "platelet-unet-watershed", path))
    return model.double().eval()


def platelet_chunks(model: Predict, x: Tensor, chunk: tuple[int, ...]) -> Tensor:
    """plateseg.predict with its margin of 0: chunks side by side, the last pulled back."""
    out = torch.empty(1, 5, *x.shape[2:], dtype=x.dtype)
    starts = (
        sorted({min(start, size - side) for start in range(0, size, side)})
        for size, side in zip(x.shape[2:], chunk, strict=True)
    )
    for corner in product(*starts):
        place = tuple(slice(at, at + side) for at, side in zip(corner, chunk, strict=True))
        out[(..., *place)] = model(x[(..., *place)])
    return out


def platelet_volume(height: int, width: int) -> Tensor:
    """Four planes of smooth noise between 0 and 1."""
    noise = torch.rand(1, 1, 4, height, width, generator=torch.Generator().manual_seed(0)).double()
    x = F.avg_pool3d(noise, 3, 1, 1)
    return (x - x.min()) / (x.max() - x.min())


# ------------------------------------------------------------------------------- faces


class PNet(nn.Module):
    """The first stage of MTCNN (Zhang et al. 2016): where a face may be, and its box."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_2(x), self.conv4_1(x).softmax(1)


def pnet() -> nn.Module:
    model = PNet()
    model.load_state_dict(weights("facenet_pytorch", "facenet-pytorch", "data/pnet.pt"))
    return model.double().eval()
