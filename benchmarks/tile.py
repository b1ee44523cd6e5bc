"""Whole-image results from pieces: error, CPU time and memory of the ways to get them.

    python benchmarks/tile.py              1024² and 2048², streaming alone at 8192²
    python benchmarks/tile.py --sizes 512  other sizes, without the large one

Every run has a process of its own, so that its peak memory is its own; ways take turns, CPU time
is that of one thread (several wait for each other and count that), and ratios are of medians over
the rounds.  Errors are the largest over the outputs, in standard deviations of the whole image's.
MONAI and TorchIO take part where they are installed.  A whole run writes docs/tile_benchmark.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import date
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from marks import between, marked
from tile_tools import by_monai, by_torchio
from torch import Tensor, nn

PAGE = Path(__file__).parents[1] / "docs" / "tile_benchmark.md"
SIZES = (1024, 2048)
LARGE = 8192
ROUNDS = 3
THREADS = 1
BAND = 64
THIN = 16
STRIP = 512
SECONDS = 3600


# ------------------------------------------------------------------------------ the networks


class Twice(nn.Sequential):
    """Two 3 × 3 convolutions."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            nn.Conv2d(before, after, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, padding=1),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """Ronneberger et al. (2015): four max-pools, transposed convolutions up again."""

    def __init__(self, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            Twice(before, after) for before, after in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, 2) for width in reversed(widths[:-1])
        )
        self.join = nn.ModuleList(Twice(2 * width, width) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 2, H, W); H and W multiples of 16."""
        passed = []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            passed.append(x)
        for up, join, skip in zip(self.up, self.join, reversed(passed[:-1]), strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        return self.head(x)


def network(name: str) -> nn.Module:
    """A network in eval mode, the same one in every process."""
    torch.manual_seed(0)
    return (_lively(UNet()) if name == "U-Net" else trunk()).eval()


def trunk() -> nn.Module:
    """ResNet-50 without its head."""
    from torchvision.models import resnet50

    return nn.Sequential(*list(resnet50().children())[:-2])


def _lively(model: nn.Module) -> nn.Module:
    """He's initialisation: with torch's own the deep levels fade out, and what is wrong there."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model


NETWORKS = ("U-Net", "ResNet-50")


# ------------------------------------------------------------------------------ the ways


def whole(model: nn.Module, x: Tensor) -> Any:
    """The network on the whole image."""
    return model(x)


def channels_last(model: nn.Module, x: Tensor) -> Any:
    """The same with the image's channels beside each other in memory."""
    return model(x.contiguous(memory_format=torch.channels_last))


def stream(model: nn.Module, x: Tensor) -> Any:
    """Rows, with what the next band still needs kept."""
    from fieldwise.tile import streamed

    return streamed(model, x[..., :64, :64], band=BAND)(x)


def bands(model: nn.Module, x: Tensor) -> None:
    """The same in thin bands, each piece forgotten as soon as it is there."""
    from fieldwise.tile import streamed

    for _ in streamed(model, x[..., :64, :64], band=THIN).bands(x):
        pass


def halo(tile: int) -> Callable[[nn.Module, Tensor], Any]:
    """Aligned crops with an exact halo."""

    def run(model: nn.Module, x: Tensor) -> Any:
        from fieldwise.tile import tiled

        return tiled(model, x[..., :64, :64], tile=tile)(x)

    return run


def monai(overlap: float) -> Callable[[nn.Module, Tensor], Any]:
    """MONAI's sliding window of 256 with Gaussian weights."""
    return partial(by_monai, roi_size=256, sw_batch_size=1, overlap=overlap, mode="gaussian")


def torchio(overlap: int) -> Callable[[nn.Module, Tensor], Any]:
    """TorchIO's grid of 512 with cropped overlaps."""
    return partial(by_torchio, patch_size=(512, 512, 1), patch_overlap=(overlap, overlap, 0))


def strips(cache: str) -> Callable[[nn.Module, Tensor], Any]:
    """Bands within strips of STRIP columns, which keep rows, or columns for each other too."""

    def run(model: nn.Module, x: Tensor) -> Any:
        from fieldwise.tile.jobs.cached_strips import scratch
        from fieldwise.tile.jobs.streams import assembled

        work = strip_work(cache, model, x)
        with scratch(work) if cache == "both" else nullcontext(work) as ready:
            return torch.from_numpy(assembled(ready, x)["output"])

    return run


def strip_work(cache: str, model: nn.Module, x: Tensor) -> Any:
    """The work of such strips."""
    from fieldwise.tile.jobs import cached_strips, strips
    from fieldwise.tile.jobs.banded import BandedInput

    plan = cached_strips.cached_strip_work if cache == "both" else strips.strip_work
    return plan(BandedInput(model, x.shape, x.dtype, band=BAND), across=3, strip=STRIP)


STRIPS = {f"strips of {STRIP}, rows kept": "rows", f"strips of {STRIP}, columns too": "both"}

WAYS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "whole image": whole,
    "whole image, channels last": channels_last,
    "streamed": stream,
    **{way: strips(cache) for way, cache in STRIPS.items()},
    "halo 256": halo(256),
    "halo 512": halo(512),
    "MONAI 256, overlap 0.25": monai(0.25),
    "MONAI 256, overlap 0.5": monai(0.5),
    "TorchIO 512, overlap 188 (the U-Net's receptive field)": torchio(188),
    "TorchIO 512, overlap 192 (on its grid)": torchio(192),
}
PIECES = "streamed, pieces not kept"
OTHERS = {way: way.split()[0].lower() for way in WAYS if way.startswith(("MONAI", "TorchIO"))}
"""Ways of other packages, which are tried on the U-Net alone: both want as much out as in."""


# ------------------------------------------------------------------------------ one run


def image(height: int, width: int) -> Tensor:
    """The same noise for everyone."""
    return torch.from_numpy(
        np.random.default_rng(0).standard_normal((1, 3, height, width), dtype=np.float32)
    )


def run_here(
    name: str, way: str, size: tuple[int, int], reference: Path | None
) -> dict[str, float]:
    """CPU seconds, growth of the peak memory in bytes, and the error against the reference."""
    torch.set_num_threads(THREADS)
    model, x = network(name), image(*size)
    function: Callable[[nn.Module, Tensor], Any] = bands if way == PIECES else WAYS[way]
    before = _peak()
    with torch.inference_mode():
        function(model, x[..., :512, :512])  # what is set up once
        start = time.process_time()
        y = function(model, x)
        cpu = time.process_time() - start
    grown = _peak() - before
    error = 0.0
    if reference is not None and way == "whole image":
        np.save(reference, y.numpy())
    elif reference is not None and reference.exists():
        wanted = np.load(reference)
        error = float(np.abs(np.asarray(y) - wanted).max() / wanted.std())
    return {"cpu": cpu, "memory": float(grown), "error": error}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(
    name: str, way: str, size: tuple[int, int], reference: Path | None
) -> dict[str, float] | None:
    """The same in a process of its own; None where it does not end well."""
    command = [sys.executable, __file__, "--one", name, way, *map(str, size), str(reference or "")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{name} {way} {size}: {error}", file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def ways(name: str) -> list[str]:
    """Those that can take part here."""
    return [
        way for way in WAYS if way not in OTHERS or (name == "U-Net" and find_spec(OTHERS[way]))
    ]


# ------------------------------------------------------------------------------ the table


def rows(name: str, size: int, rounds: int, folder: Path) -> list[str]:
    """A table row per way, relative to the whole image."""
    reference = folder / f"{name}-{size}.npy"
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways(name)}
    for _ in range(rounds):
        for way, results in found.items():
            result = run(name, way, (size, size), reference)
            if result is not None:
                results.append(result)
    reference.unlink(missing_ok=True)
    base = statistics.median(result["cpu"] for result in found["whole image"])
    lines = []
    for way, results in found.items():
        if not results:
            lines.append(f"| {name} | {size}² | {way} | failed | | |")
            continue
        cpu = statistics.median(result["cpu"] for result in results) / base
        memory = statistics.median(result["memory"] for result in results) / 2**20
        error = max(result["error"] for result in results)
        lines.append(f"| {name} | {size}² | {way} | {error:.1e} | {cpu:.2f} | {memory:.0f} |")
        print(lines[-1], flush=True)
    return lines


def promised(name: str, size: int) -> list[str]:
    """What plans say, a table row per way that is planned."""
    from fieldwise.tile import streamed
    from fieldwise.tile.jobs.tiles import crop_work, work_of_crops

    model, x = network(name), torch.empty(1, 3, size, size, device="meta")
    weights = sum(one.nbytes for one in (*model.parameters(), *model.buffers()))
    rows = streamed(model, x[..., :64, :64], band=BAND).plan(x.shape)
    found = [("streamed", rows.work, rows.peak_bytes)]
    for way, cache in STRIPS.items():
        plan = strip_work(cache, model, x).plan
        found.append((way, plan.work, plan.peak_bytes - weights))
    for tile in (256, 512):
        plan = crop_work(model, x.shape, dtype=x.dtype, tile=tile).plan
        work = work_of_crops(model, x.dtype, plan)
        found.append((f"halo {tile}", work, plan.peak_bytes - weights))
    return [
        f"| {name} | {size}² | {way} | {work:.2f} | {nbytes / 2**20:.0f} |"
        for way, work, nbytes in found
    ]


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="*", default=None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--one", nargs=5, default=None)
    given = parser.parse_args(arguments)
    if given.one is not None:
        name, way, height, width, reference = given.one
        size = int(height), int(width)
        found = run_here(name, way, size, Path(reference) if reference else None)
        print(json.dumps(found))
        return 0
    folder = Path(__file__).parents[1] / "build"
    folder.mkdir(exist_ok=True)
    lines = [
        line
        for name in NETWORKS
        for size in given.sizes or SIZES
        for line in rows(name, size, given.rounds, folder)
    ]
    if given.sizes is None:
        for height in (LARGE // 4, LARGE):
            large = run("U-Net", PIECES, (height, LARGE), None)
            if large is not None:
                memory = large["memory"] / 2**20
                lines.append(f"| U-Net | {height} × {LARGE} | {PIECES} | – | – | {memory:.0f} |")
                print(lines[-1], flush=True)
        plans = [line for name in NETWORKS for line in promised(name, SIZES[-1])]
        # benchmarks/memory.py writes what stands there
        memory = marked("memory", between(PAGE.read_text(encoding="utf-8"), "memory"))
        page = f"{markdown(lines, given.rounds)}\n{planned(plans)}\n{memory}\n"
        PAGE.write_text(page, encoding="utf-8")
    return 0


def planned(lines: Sequence[str]) -> str:
    """What plans say, as a section of the page."""
    head = [
        "## What plans say",
        "",
        "Operations: over those of the whole image, counted in the graph. MiB: the most at once, "
        "without weights and results.",
        "",
        "| network | image | way | operations | MiB |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *lines, ""])


def version_line() -> str:
    """The date, and what was measured with."""
    from importlib.metadata import version

    wanted = ("fieldwise", "torch", "torchvision", "monai", "torchio")
    packages = [name for name in wanted if find_spec(name)]
    return ", ".join([str(date.today()), *(f"{name} {version(name)}" for name in packages)])


def markdown(lines: Sequence[str], rounds: int) -> str:
    """The page."""
    head = [
        "# Tiling, measured",
        "",
        f"`python benchmarks/tile.py` on {version_line()}, CPU, {THREADS} thread; "
        f"medians of {rounds} rounds, taken in turns.",
        "",
        "Error: the largest, in standard deviations of the whole image's output. CPU time: over "
        "that of the whole image. Memory: by how many MiB the process grew once it had the model "
        "and the image, the result included where it is kept.",
        "",
        "The U-Net's overlap is 188 by its receptive field, but its grid is 16: only an overlap "
        "of which both halves lie on the grid is right.",
        "",
        "| network | image | way | error | CPU time | MiB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
