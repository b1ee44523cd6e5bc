"""Effective receptive fields: Luo's exponents, the exact path count, and networks of several kinds.

    python benchmarks/effective.py

Stacks of n layers of 3 × 3 with fresh weights, averaged over draws of weights and inputs, give the
exponents of the effective side and of its ratio to the theoretical one; the stack of uniform
weights is held against the path count of its graph.  Then networks with fresh weights, by every
protocol.  CPU, two threads, some five minutes.  Writes docs/effective_measured.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fieldwise import effective_field, receptive_fields
from fieldwise.capture.specs import load_model
from fieldwise.effective import EffectiveField
from fieldwise.effective.field import ShareRow
from fieldwise.effective.mean import MapMean
from fieldwise.effective.measures import deviations, width
from fieldwise.field.paths import path_counts

DOCS = Path(__file__).parents[1] / "docs"
DEPTHS = (5, 10, 20, 40)
DRAWS = 20
CHANNELS = 8
THREADS = 2
NETWORKS = (
    ("torchvision:resnet50", "layer3"),
    ("torchvision:vgg16", "features.30"),
    ("torchvision:densenet121", "features.denseblock4"),
    ("timm:convnext_tiny", "stages.2"),
    ("timm:repvgg_a0", "stages.2"),
    ("timm:vit_small_patch16_224", "blocks.5"),
    ("timm:swin_tiny_patch4_window7_224", "layers.2"),
    ("a selective scan", "blocks.3"),
)
IMAGES = 8
PACKAGES = ("fieldwise", "torch", "torchvision", "timm")


# -------------------------------------------------------------------- Luo's exponents


def stack(depth: int, activation: Callable[[], nn.Module], *, uniform: bool) -> nn.Module:
    """Layers of 3 × 3 with an activation behind each; weights of variance one over their fan in.

    Of uniform weights a single channel is enough: all are alike.
    """
    channels = 1 if uniform else CHANNELS
    layers: list[nn.Module] = []
    for number in range(depth):
        conv = nn.Conv2d(1 if not number else channels, channels, 3, padding=1, bias=False)
        if uniform:
            nn.init.constant_(conv.weight, 1 / 9)
        else:
            nn.init.normal_(conv.weight, std=sqrt(1 / (9 * conv.in_channels)))
        layers += [conv, activation()]
    return nn.Sequential(*layers)


@dataclass(frozen=True, slots=True)
class Stacks:
    """Per depth the effective side and the deviation; what they are expected to be."""

    label: str
    sides: Sequence[float]
    deviations: Sequence[float]
    exact: float | None = None

    @property
    def theoretical(self) -> list[int]:
        """The sides of the theoretical fields."""
        return [2 * depth + 1 for depth in DEPTHS]

    def exponent(self, sizes: Sequence[float]) -> float:
        """The slope of log(size) against log(depth)."""
        return float(np.polyfit(np.log(DEPTHS), np.log(sizes), 1)[0])


def measured_stacks(label: str, activation: Callable[[], nn.Module], *, uniform: bool) -> Stacks:
    """The mean maps of stacks of all depths, over draws of weights and inputs."""
    sides, spreads, worst = [], [], 0.0
    for depth in DEPTHS:
        size = 2 * depth + 9
        shape = (1, 1, size, size)
        maps = MapMean.none(shape[2:])
        for draw in range(1 if uniform else DRAWS):
            torch.manual_seed(1000 * depth + draw)
            net = stack(depth, activation, uniform=uniform).eval()
            net = net.double() if uniform else net
            found = effective_field(net, shape, noise=1, seed=draw)
            if not found.is_silent:
                maps += MapMean.one(found.map / found.map.sum())
        sides.append(width(maps.mean, found.centre))
        spreads.append(deviations(maps.mean)[0])
        if uniform:
            report = receptive_fields(net, shape)
            counts = path_counts(report, report.graph.outputs[0], found.unit)
            worst = max(worst, float(np.abs(maps.mean - counts.shares).max() / counts.shares.max()))
    return Stacks(label, sides, spreads, worst if uniform else None)


# -------------------------------------------------------------------- networks


class Scan(nn.Module):
    """A block of a Mamba-like network: rows of tokens, a gated recurrence both ways, a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (batch, length, width)."""
        value, gate, forget = self.into(self.norm(x)).chunk(3, -1)
        kept = nn.functional.logsigmoid(forget + 2)
        total = kept.cumsum(1)
        ahead = ((value * (-total).exp()).cumsum(1)) * total.exp()
        back = ((value * total.exp()).flip(1).cumsum(1).flip(1)) * (-total).exp()
        return x + self.out((ahead + back) * nn.functional.silu(gate))


class ScanNet(nn.Module):
    """Patches of 16 × 16 as a line of tokens, through blocks of scans."""

    def __init__(self, width: int = 96, depth: int = 6) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.blocks = nn.ModuleList(Scan(width) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """An image (batch, 3, height, width) to tokens."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


def networks() -> list[tuple[str, EffectiveField]]:
    """Every network by every protocol."""
    found = []
    for spec, layer in NETWORKS:
        torch.manual_seed(0)
        own = ":" not in spec
        model = ScanNet() if own else load_model(spec, "1x3x224x224").module
        for protocol in ("luo", "replknet", "openerf"):
            one = effective_field(
                model.eval(), (1, 3, 224, 224), layer=layer, noise=IMAGES, protocol=protocol
            )
            found.append((spec, one))
            print(f"{spec} {protocol}: side {one.side:.0f}", flush=True)
    return found


# -------------------------------------------------------------------- the page


def page(stacks: Sequence[Stacks], found: Sequence[tuple[str, EffectiveField]]) -> str:
    """Both tables, with versions and date."""
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("fieldwise", "torch", "torchvision", "timm")
    )
    lines = [
        "# Effective fields, measured",
        "",
        f"`python benchmarks/effective.py` on {date.today()}, {versions}, CPU.",
        "",
        f"Stacks of n layers of 3 × 3 with fresh weights (n = {', '.join(map(str, DEPTHS))}), "
        f"averaged over {DRAWS} draws of weights and inputs: the exponents of the effective side "
        "(the root of the samples over 4.55 % of the centre) and of its ratio to the theoretical "
        "side 2n + 1. Luo et al. (2016) derive ½ and −½, and print 0.56 and −0.43. The deviation "
        "is that of the map at the largest n, against √(2n/3) of uniform weights; of random ones "
        "the variance of the gradient is as the path count, so that its magnitude, a root, is √2 "
        "times as wide.",
        "",
        *_stack_table(stacks),
        "",
        f"Networks with fresh weights on {IMAGES} inputs of noise of 224 × 224. r(t) is the area "
        "of the smallest square that holds the share t of all contributions, over the image's; "
        "beside it r(t) as RepLKNet's script has it, on log10(x + 1) around sample (112, 112).",
        "",
        *_network_table(found),
    ]
    return "\n".join(lines) + "\n"


def _stack_table(stacks: Sequence[Stacks]) -> Iterator[str]:
    yield "| activation and weights | side | ratio | sides | σ | √(2n/3) | off the path count |"
    yield "| --- " * 7 + "|"
    for one in stacks:
        ratios = [side / whole for side, whole in zip(one.sides, one.theoretical, strict=True)]
        cells = (
            one.label,
            f"n^{one.exponent(one.sides):.3f}",
            f"n^{one.exponent(ratios):.3f}",
            ", ".join(f"{side:.1f}" for side in one.sides),
            f"{one.deviations[-1]:.2f}",
            f"{sqrt(2 * DEPTHS[-1] / 3):.2f}",
            "" if one.exact is None else f"{one.exact:.0e}",
        )
        yield f"| {' | '.join(cells)} |"


def _network_table(found: Sequence[tuple[str, EffectiveField]]) -> Iterator[str]:
    yield (
        "| network | layer | position | its centre | protocol | σ | side | of | r(0.5) | published "
        "| r(0.99) | published |"
    )
    yield "| --- " * 12 + "|"
    for spec, one in found:
        rows = {row.share: row for row in one.rows}
        cells = (
            spec,
            str(one.layer),
            ",".join(map(str, one.unit)),
            ", ".join(f"{place:g}" for place in one.centre),
            one.protocol + " (rounding)" * one.is_rounding,
            f"{one.deviations[0]:.1f}",
            f"{one.side:.0f}",
            f"{one.theoretical_side:.0f}",
            *(text for share in (0.5, 0.99) for text in _ratios(rows[share])),
        )
        yield f"| {' | '.join(cells)} |"


def _ratios(row: ShareRow) -> list[str]:
    squares = (row.linear, row.published)
    return ["–" if square.ratio is None else f"{square.ratio:.1%}" for square in squares]


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(THREADS)
    stacks = [
        measured_stacks("none, uniform", nn.Identity, uniform=True),
        measured_stacks("none, normal", nn.Identity, uniform=False),
        measured_stacks("ReLU, normal", nn.ReLU, uniform=False),
        measured_stacks("tanh, normal", nn.Tanh, uniform=False),
    ]
    (DOCS / "effective_measured.md").write_text(page(stacks, networks()), encoding="utf-8")


if __name__ == "__main__":
    main()
