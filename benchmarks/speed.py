"""What an analysis costs, against one forward pass of the same model.

    python benchmarks/speed.py

Ratios of medians, measured in one run with forward passes and analyses taking turns, on the CPU
with two threads.  Writes docs/speed.md.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from fieldwise.capture.specs import load_model
from fieldwise.capture.torch import capture, meta_tensor
from fieldwise.field import receptive_fields

DOCS = Path(__file__).parents[1] / "docs"
MODELS = (
    "torchvision:resnet50",
    "torchvision:densenet121",
    "torchvision:inception_v3",
    "timm:convnext_tiny",
    "timm:swin_tiny_patch4_window7_224",
)
CONVOLUTIONAL = MODELS[:4]
ROUNDS = 11
THREADS = 2
LARGE = 4096


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds, medians over the rounds."""

    spec: str
    forward: float
    captured: float
    closed: float
    large: float | None

    @property
    def ratio(self) -> float:
        """Capture and closed form of the whole network over one forward pass."""
        return (self.captured + self.closed) / self.forward


def measure(spec: str) -> Cost:
    """The forward pass and the two halves of the analysis, in turns."""
    model = load_model(spec, "1x3x224x224")
    module = model.source
    assert isinstance(module, nn.Module)
    example = torch.randn(1, 3, 224, 224)
    wide = meta_tensor((1, 3, LARGE, LARGE))
    times: dict[str, list[float]] = {"forward": [], "capture": [], "closed": [], "large": []}

    def forward() -> None:
        with torch.inference_mode():
            module(example)

    forward()
    for _ in range(ROUNDS):
        times["forward"].append(seconds(forward))
        times["capture"].append(seconds(lambda: capture(module, example)))
        graph = capture(module, example)
        times["closed"].append(seconds(lambda graph=graph: receptive_fields(graph).rows))
        if spec in CONVOLUTIONAL:
            times["large"].append(seconds(lambda: receptive_fields(module, wide).rows))
    medians = {name: statistics.median(values) for name, values in times.items() if values}
    return Cost(
        spec, medians["forward"], medians["capture"], medians["closed"], medians.get("large")
    )


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def markdown(costs: Sequence[Cost]) -> str:
    """The table."""
    packages = ("fieldwise", "torch", "torchvision", "timm")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    lines = [
        "# Speed",
        "",
        f"`python benchmarks/speed.py` on {date.today()}, {versions}, CPU, {THREADS} threads; "
        f"medians of {ROUNDS} rounds, taken in turns.",
        "",
        "Capture and closed form of the whole network, in forward passes of the same model at "
        f"224 × 224; and the same analysis at {LARGE} × {LARGE} over that at 224 × 224.",
        "",
        "| model | capture | closed form | both / forward | 4096 / 224 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for cost in costs:
        both = cost.captured + cost.closed
        large = "" if cost.large is None else f"{cost.large / both:.2f}"
        lines.append(
            f"| {cost.spec} | {cost.captured / cost.forward:.2f} | "
            f"{cost.closed / cost.forward:.2f} | {cost.ratio:.2f} | {large} |"
        )
    return "\n".join([*lines, ""])


def main() -> int:
    """Measure, print and write the table."""
    torch.set_num_threads(THREADS)
    text = markdown([measure(spec) for spec in MODELS])
    DOCS.mkdir(exist_ok=True)
    (DOCS / "speed.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
