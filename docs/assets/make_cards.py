"""The four pictures of the first page, a question each, for light and dark pages.

    python docs/assets/make_cards.py

Every number in them is computed here, of networks with random weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from make_screenshots import scene
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import nn

from fieldwise import fold, receptive_fields, tiled
from fieldwise.shift import circular

HERE = Path(__file__).parent
SIZE = (4.8, 3.0)


@dataclass(frozen=True)
class Scheme:
    """The colours of a page."""

    ground: str
    ink: str
    faint: str
    strong: str
    accent: str


SCHEMES = {
    "": Scheme("#ffffff", "#1a1a1a", "#cfd4da", "#00796b", "#c2410c"),
    "-dark": Scheme("#1e2129", "#e6e8ee", "#4a5060", "#4db6ac", "#ff8a50"),
}


# --------------------------------------------------------------------- what is drawn


def draw_field(axes: Axes, scheme: Scheme) -> None:
    """What an output pixel of ResNet-50's layer3.0 sees of an image, padding included."""
    image, position = np.asarray(scene()), (1, 9)
    found = receptive_fields(torchvision.models.resnet50().eval(), (1, 3, *image.shape[:2]))
    layer = found["layer3.0"]
    sides = zip(layer.row.axes, position, strict=True)
    (top, height), (left, width) = (
        (float(side.start or 0) + at * int(side.stride or 0), int(side.extent or 0))
        for side, at in sides
    )
    inside = layer.at(*position)
    shade = np.full((*image.shape[:2], 4), 0.62)
    shade[..., :3] = _rgb(scheme.ground)
    shade[inside.mask(), 3] = 0
    axes.imshow(image)
    axes.imshow(shade)
    corner = (left - 0.5, top - 0.5)
    padding = {"facecolor": "none", "edgecolor": scheme.strong, "hatch": "////", "linewidth": 0}
    axes.add_patch(Rectangle(corner, width, -0.5 - corner[1], **padding))
    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=scheme.strong, lw=2))
    axes.set(xlim=(-40, 375), ylim=(image.shape[0] + 4, top - 6))
    axes.axis("off")
    said = f"sees {height} × {width} pixels,\nwith stride {layer.row.axes[0].stride}."
    notes = f"An output pixel of\nlayer3.0 of ResNet-50\n{said}\nHatched: padding."
    axes.text(236, 80, notes, color=scheme.ink, fontsize=9, va="center", linespacing=1.6)


def draw_fold(axes: Axes, scheme: Scheme) -> None:
    """Ops that a forward pass runs, before and after: those that fold are drawn as gone."""
    names = ("resnet50", "densenet121", "shufflenet_v2_x1_0", "regnet_y_400mf", "vgg16_bn")
    counts = [_folded(name) for name in names]
    for at, (folded, candidates) in enumerate(counts):
        axes.barh(at, candidates, color=scheme.faint, height=0.62)
        axes.barh(at, folded, color=scheme.strong, height=0.62)
        axes.text(candidates + 2, at, f"{folded} of {candidates}", va="center", color=scheme.ink)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1.25 * max(candidates for _, candidates in counts))
    axes.invert_yaxis()
    axes.set_xlabel("BatchNorms that fold into a neighbour")


def draw_shift(axes: Axes, scheme: Scheme) -> None:
    """How far the output is from its own shift, for shifts along W, before and after a repair."""
    torch.manual_seed(0)
    network = torchvision.models.vgg16().features[:10].eval()
    image = torch.randn(1, 3, 16, 64, dtype=torch.float64)
    for model, colour, name in (
        (network, scheme.accent, "zero padding"),
        (circular(network, tuple(image.shape)).model, scheme.strong, "circular padding"),
    ):
        errors = _shift_errors(model.double(), image, stride=4)
        axes.plot(range(len(errors)), errors, "o-", color=colour, label=name, markersize=4)
    axes.set(xlabel="shift of the input, in pixels", ylabel="error of the output")
    axes.set_ylim(-0.03, 1.3 * axes.get_ylim()[1])
    axes.legend(frameon=False, labelcolor=scheme.ink, loc="upper center", ncols=2)


def draw_tile(axes: Axes, scheme: Scheme) -> None:
    """What tiles of a U-Net change where they overlap by a guessed eighth, beside exact tiles."""
    torch.manual_seed(1)
    network, size, tile = UNet().double().eval(), 256, 64
    image = torch.from_numpy(np.array(scene(size)).transpose(2, 0, 1)[None] / 255.0)
    with torch.no_grad():
        whole = network(image)
        guessed = _customary_tiles(network, image, tile, overlap=tile // 8)
        exact = tiled(network, image, tile=tile)(image)
    parts = ((guessed, f"{tile}-pixel tiles, overlap {tile // 8}"), (exact, "tiled by fieldwise"))
    axes.axis("off")
    for number, (result, title) in enumerate(parts):
        error = ((result - whole).abs().amax(1)[0] / whole.std()).numpy()
        panel = axes.inset_axes((0.02 + 0.5 * number, 0.1, 0.46, 0.78))
        panel.imshow(np.log10(error + 1e-9), cmap="inferno", vmin=-6, vmax=-1)
        panel.set(xticks=[], yticks=[])
        panel.set_title(title, color=scheme.ink, fontsize=9)
        label = f"largest error {error.max():.1g} σ"
        panel.set_xlabel(label, color=scheme.ink, fontsize=9)


# --------------------------------------------------------------------- what it is computed by


class UNet(nn.Module):
    """A small U-Net: two levels down and up, with skips."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.one, self.two = _block(3, width), _block(width, 2 * width)
        self.three = _block(2 * width, 4 * width)
        self.up_two = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.up_one = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.back_two, self.back_one = _block(4 * width, 2 * width), _block(2 * width, width)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """One map, as large as the image."""
        one = self.one(image)
        two = self.two(nn.functional.max_pool2d(one, 2))
        three = self.three(nn.functional.max_pool2d(two, 2))
        two = self.back_two(torch.cat([two, self.up_two(three)], 1))
        return self.out(self.back_one(torch.cat([one, self.up_one(two)], 1)))


def _block(given: int, made: int) -> nn.Sequential:
    first, second = nn.Conv2d(given, made, 3, padding=1), nn.Conv2d(made, made, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


@cache
def _folded(name: str) -> tuple[int, int]:
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)()
    with torch.no_grad():
        for _ in range(3):  # statistics that are not those of a fresh BatchNorm
            model(torch.randn(4, 3, 64, 64))
    report = fold(model.eval(), torch.randn(1, 3, 64, 64)).report
    assert report.verify is not None
    assert report.verify.passed
    return report.folded, report.candidates


def _shift_errors(model: nn.Module, image: torch.Tensor, *, stride: int) -> list[float]:
    """Per shift, the error against the output rolled by the nearest number of positions."""
    with torch.no_grad():
        still = model(image)
        spread = still.std()
        shifts = range(4 * stride + 1)
        moved = (model(image.roll(shift, -1)) for shift in shifts)
        rolled = (still.roll(round(shift / stride), -1) for shift in shifts)
        return [
            float((a - b).square().mean().sqrt() / spread)
            for a, b in zip(moved, rolled, strict=True)
        ]


def _customary_tiles(
    model: nn.Module, image: torch.Tensor, tile: int, *, overlap: int
) -> torch.Tensor:
    """Every tile with some of its surroundings, of which the result is cut off."""
    height, width = image.shape[2:]
    result = image.new_zeros(1, 1, height, width)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            rows = slice(max(top - overlap, 0), min(top + tile + overlap, height))
            columns = slice(max(left - overlap, 0), min(left + tile + overlap, width))
            part = model(image[:, :, rows, columns])
            part = part[:, :, top - rows.start :, left - columns.start :][..., :tile, :tile]
            result[:, :, top : top + tile, left : left + tile] = part
    return result


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))


# --------------------------------------------------------------------- the pictures

CARDS: dict[str, Callable[[Axes, Scheme], None]] = {
    "card-field": draw_field,
    "card-fold": draw_fold,
    "card-shift": draw_shift,
    "card-tile": draw_tile,
}


def card(draw: Callable[[Axes, Scheme], None], scheme: Scheme) -> Figure:
    """One picture on the ground of its page."""
    colours: dict[str, Any] = {
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), scheme.ink
        ),
        "axes.edgecolor": scheme.faint,
        "axes.facecolor": scheme.ground,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 9,
        "hatch.color": scheme.strong,
    }
    with rc_context(colours):
        figure = Figure(figsize=SIZE, facecolor=scheme.ground, layout="constrained")
        draw(figure.add_subplot(), scheme)
    return figure


def main() -> None:
    """Draw them."""
    for name, draw in CARDS.items():
        for suffix, scheme in SCHEMES.items():
            figure = card(draw, scheme)
            path = HERE / f"{name}{suffix}.png"
            figure.savefig(path, dpi=200, facecolor=scheme.ground)
            Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main()
