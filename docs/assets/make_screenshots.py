"""The pictures of docs/see.md: the page of a network in Chromium, wide and on a phone.

Each is taken twice, for light and for dark pages.

    python docs/assets/make_screenshots.py

It needs Playwright's Python package and a Chromium of the system; nothing is downloaded.  The image
that is looked at is drawn here.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from fieldwise import receptive_fields
from fieldwise.capture import load_model
from fieldwise.see import notes_of, view

HERE = Path(__file__).parent


THEMES = {"": "light", "-dark": "dark"}


@dataclass(frozen=True)
class Shot:
    """A picture: of which page, at which state, how large."""

    page: str
    state: str
    width: int = 1200
    height: int = 760


SHOTS = {
    "see-layers.png": Shot("one", "view=layers&layer=layer3.0"),
    "see-sees.png": Shot("one", "view=sees&layer=layer3.0&unit=1,9"),
    "see-who.png": Shot("one", "view=who&layer=layer3.0&pixel=140,75"),
    "see-tiles.png": Shot("one", "view=tiles&layer=layer2.0&tile=64,96,64,64"),
    "see-streams.png": Shot("one", "view=streams&layer=layer4&band=16&step=9"),
    "see-compare.png": Shot("two", "view=compare"),
    "see-phone.png": Shot("one", "view=sees&layer=layer3.0&unit=6,4", width=375, height=760),
}


def scene(size: int = 224) -> Image.Image:
    """A house on a hill."""
    y, x = np.mgrid[0:size, 0:size] / size
    image = np.stack([0.55 + 0.3 * y, 0.7 + 0.15 * y, 0.9 - 0.1 * y], -1)
    hill = y > 0.62 + 0.08 * np.sin(6 * x) + 0.03 * np.sin(17 * x)
    image[hill] = np.stack([0.25 + 0.2 * x, 0.45 + 0.2 * y, 0.25 + 0 * x], -1)[hill]
    parts = (
        ((x - 0.72) ** 2 + (y - 0.25) ** 2 < 0.006, (1, 0.85, 0.5)),
        ((abs(x - 0.35) < 0.09) & (y > 0.55) & (y < 0.74), (0.75, 0.45, 0.35)),
        ((abs(x - 0.35) < (y - 0.43) * 0.95) & (y < 0.56), (0.5, 0.2, 0.18)),
        ((abs(x - 0.35) < 0.02) & (y > 0.64) & (y < 0.74), (0.3, 0.2, 0.2)),
    )
    for where, colour in parts:
        image[where] = colour
    return Image.fromarray((image * 255).astype("uint8"))


def pages(folder: Path) -> dict[str, Path]:
    """The pages that are looked at, by name."""
    scene().save(folder / "scene.png")
    names = {
        "one": ["torchvision:resnet50"],
        "two": ["torchvision:resnet34", "torchvision:resnet50"],
    }
    made = {}
    for name, specs in names.items():
        models = [load_model(spec, weights=False) for spec in specs]
        reports = [receptive_fields(model.source, model.example()) for model in models]
        notes = [notes_of(report) for report in reports]
        page = view(*reports, names=specs, notes=notes, image=folder / "scene.png")
        made[name] = page.save(folder / f"{name}.html")
    return made


def shoot(browser: Browser, page: Path, shot: Shot, theme: str, out: Path) -> None:
    """One picture in a theme, in few colours."""
    size = {"width": shot.width, "height": shot.height}
    tab = browser.new_page(viewport=size, color_scheme=theme)
    tab.goto(f"{page.as_uri()}#{shot.state}")
    tab.wait_for_timeout(300)
    tab.screenshot(path=out)
    tab.close()
    Image.open(out).convert("RGB").quantize(192).save(out, optimize=True)


def main() -> None:
    """All pictures."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        made = pages(Path(folder))
        for name, shot in SHOTS.items():
            for suffix, theme in THEMES.items():
                out = (HERE / name).with_stem(f"{Path(name).stem}{suffix}")
                shoot(browser, made[shot.page], shot, theme, out)
        browser.close()


if __name__ == "__main__":
    main()
