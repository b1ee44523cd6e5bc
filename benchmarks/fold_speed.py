"""What folding gains on the CPU, and what it costs.

    python benchmarks/fold_speed.py

Ratios of medians, measured in one run: forward passes of the unfolded model, of fieldwise's and
of torch.fx's result take turns in changing order, with two threads and nothing else running.
Writes docs/fold_speed.md.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from fieldwise import fold
from fieldwise.capture.specs import load_model

DOCS = Path(__file__).parents[1] / "docs"
MODELS = (
    "torchvision:resnet18",
    "torchvision:resnet50",
    "torchvision:mobilenet_v2",
    "torchvision:inception_v3",
    "timm:efficientnet_b0",
    "timm:regnety_008",
    "timm:repvgg_a0",
    "timm:mobileone_s0",
    "timm:repvit_m0_9",
)
ROUNDS = 31
FOLDS = 5
THREADS = 2


@dataclass(frozen=True, slots=True)
class Gain:
    """How much faster the folded models are.

    removed: affine ops and parallel branches that are gone, of how many
    folded:  time of the unfolded model over that of fieldwise's
    fx:      the same for torch.fx; NaN where it fails or is wrong
    seconds: the median time that folding takes, verification included
    failed:  the error that stopped the measurement
    """

    spec: str
    removed: str = ""
    folded: float = math.nan
    fx: float = math.nan
    seconds: float = math.nan
    failed: str = ""


def measured(specs: Sequence[str]) -> Iterator[Gain]:
    """The models one by one, each told as it comes; an error is a row of its own."""
    for number, spec in enumerate(specs, 1):
        try:
            gain = measure(spec)
        except Exception as error:  # noqa: BLE001  (a benchmark counts whatever goes wrong)
            gain = Gain(spec, failed=f"{type(error).__name__}: {error}")
        print(f"{number}/{len(specs)} {line(gain)}", flush=True)
        yield gain


def measure(spec: str) -> Gain:
    """One model."""
    loaded = load_model(spec, "1x3x224x224")
    model = loaded.source
    assert isinstance(model, nn.Module)
    example = torch.randn(1, 3, 224, 224)
    result = fold(model, example, allow_graph=True)
    runs: dict[str, nn.Module] = {"unfolded": model, "folded": result.model}
    if (fused := fx_result(model, example)) is not None:
        runs["fx"] = fused
    medians = in_turns(runs, example)
    return Gain(
        spec,
        f"{result.report.folded}/{result.report.candidates}",
        medians["unfolded"] / medians["folded"],
        medians["unfolded"] / medians["fx"] if "fx" in medians else math.nan,
        statistics.median(seconds(lambda: fold(model, example)) for _ in range(FOLDS)),
    )


def fx_result(model: nn.Module, example: Tensor) -> nn.Module | None:
    """What torch.fx makes of the model, if that works and computes the same."""
    try:
        fused = fuse(model)
    except Exception:  # noqa: BLE001  (whatever stops the tracer)
        return None
    with torch.inference_mode():
        found, expected = fused(example), model(example)
    return fused if torch.allclose(found, expected, rtol=1e-3, atol=1e-4) else None


def in_turns(models: dict[str, nn.Module], example: Tensor) -> dict[str, float]:
    """Median seconds of a forward pass; every round runs all, each time another one first."""
    names = list(models)
    times: dict[str, list[float]] = {name: [] for name in names}
    with torch.inference_mode():
        for model in models.values():
            model(example)
        for turn in range(ROUNDS):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                times[name].append(seconds(lambda model=models[name]: model(example)))
    return {name: statistics.median(measured) for name, measured in times.items()}


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def markdown(gains: Sequence[Gain]) -> str:
    """The table."""
    packages = ("fieldwise", "torch", "torchvision", "timm")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    lines = [
        "# Speed of folded models",
        "",
        f"`python benchmarks/fold_speed.py` on {date.today()}, {versions}, CPU, {THREADS} threads, "
        f"one image of 224 × 224; medians of {ROUNDS} rounds, taken in turns.",
        "",
        "Time of the unfolded model over that of the folded one (above 1: folding is faster), and "
        "the time that `fold` takes, its verification included.",
        "",
        "| model | ops and branches folded | fieldwise | torch.fx | time to fold |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *map(line, gains), ""])


def line(gain: Gain) -> str:
    """One model as a line of the table."""
    if gain.failed:
        return f"| {gain.spec} | {gain.failed} | | | |"
    fx = "fails" if math.isnan(gain.fx) else f"{gain.fx:.2f}"
    return f"| {gain.spec} | {gain.removed} | {gain.folded:.2f} | {fx} | {gain.seconds:.2f} s |"


def main(specs: Sequence[str]) -> int:
    """Measure the models given, or all and write the table."""
    torch.set_num_threads(THREADS)
    warnings.simplefilter("ignore")
    text = markdown(list(measured(specs or MODELS)))
    if not specs:
        DOCS.mkdir(exist_ok=True)
        (DOCS / "fold_speed.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
