"""How large pages are and how fast they answer, in Chromium: writes ``docs/see_speed.md``.

    python benchmarks/page.py

First paint is that of the slowest view; a hover is all that a move to another output position sets
off: the pull, the closed form, drawing and layout.
"""

from __future__ import annotations

import os
import platform
import shutil
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from fieldwise import receptive_fields
from fieldwise.capture import load_model
from fieldwise.see import notes_of, view

OUT = Path(__file__).parents[1] / "docs" / "see_speed.md"
MODELS = (
    "torchvision:resnet50", "torchvision:resnet152", "torchvision:densenet121",
    "torchvision:inception_v3", "torchvision:fcn_resnet50", "torchvision:swin_t",
    "torchvision:vit_b_16", "timm:hrnet_w18_small", "benchmarks.page:unet",
)  # fmt: skip
INPUTS = {"benchmarks.page:unet": "1x3x256x256"}
VIEWS = ("layers", "sees", "who", "tiles", "streams")
HOVER = """() => {
  const network = fieldwise.networks[0];
  const name = document.getElementById("layer").value;
  const sizes = network.unitSizes(network.rows.find((row) => row.name === name).value);
  const times = [];
  for (let number = 0; number < 100; number++) {
    const unit = sizes.map((size) => (number * 7919) % size);
    const start = performance.now();
    fieldwise.change({ unit });
    document.body.getBoundingClientRect();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return [times[50], times[95]];
}"""


def unet() -> Any:
    """A U-Net of five levels."""
    import torch
    from torch import nn

    def block(before: int, after: int) -> nn.Module:
        layers: list[nn.Module] = []
        for channels in (before, after):
            layers += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = (32, 64, 128, 256, 512)
            pairs = list(pairwise(widths))[::-1]
            self.down = nn.ModuleList(map(block, (3, *widths[:-1]), widths))
            self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
            self.join = nn.ModuleList(block(2 * a, a) for a, _ in pairs)
            self.head = nn.Conv2d(widths[0], 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kept = []
            for level, layer in enumerate(self.down):
                x = layer(nn.functional.max_pool2d(x, 2) if level else x)
                kept.append(x)
            for up, join, beside in zip(self.up, self.join, kept[-2::-1], strict=True):
                x = join(torch.cat([up(x), beside], 1))
            return self.head(x)

    return UNet().eval()


def measured(browser: Browser, spec: str, folder: Path) -> list[str]:
    """The row of one model."""
    model = load_model(spec, INPUTS.get(spec), weights=False)
    report = receptive_fields(model.source, model.example())
    path = view(report, names=[spec], notes=[notes_of(report)]).save(folder / "page.html")
    paints, shown = [], []
    for name in VIEWS:
        tab = opened(browser, path, f"view={name}")
        paints.append(tab.evaluate("performance.getEntriesByType('paint')[0].startTime"))
        shown.append(tab.evaluate("performance.now()"))
        tab.close()
    deepest = [row.name for row in report.rows if not all(row.full)][-1]
    hovers = []
    for layer in ("", deepest):
        tab = opened(browser, path, f"view=sees&layer={layer}")
        hovers.append(tab.evaluate(HOVER))
        tab.close()
    cells = [f"{time:.0f}" for time in (max(paints), max(shown))]
    cells += [f"{middle:.1f} / {most:.1f}" for middle, most in hovers]
    size = f"{path.stat().st_size / 1000:.0f}"
    return [spec.removeprefix("benchmarks.page:"), str(len(report.rows)), size, *cells]


def opened(browser: Browser, path: Path, state: str) -> Page:
    """The page at a state, once its view is there."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(f"{path.as_uri()}#{state}")
    tab.wait_for_selector("main h2")
    return tab


def main() -> None:
    """Measure all and write the page."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        rows = [measured(browser, spec, Path(folder)) for spec in MODELS]
        version = browser.version
        browser.close()
    head = ["network", "layers", "kB", "first paint, ms", "slowest view there, ms",
            "hover, the usual layer, ms", "hover, the deepest layer, ms"]  # fmt: skip
    lines = [
        "# How fast pages are",
        "",
        f"Chromium {version} without a window on {platform.machine()}, from a file, by",
        "`benchmarks/page.py`. Of a hover the median and the 95th percentile of 100 are given: all",
        "that a move to another output position sets off, drawing and layout included. The load of",
        f"the machine of {os.cpu_count()} processors was {os.getloadavg()[0]:.0f} meanwhile.",
        "",
        f"| {' | '.join(head)} |",
        f"| {' | '.join(['---', *['---:'] * (len(head) - 1)])} |",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
    OUT.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
