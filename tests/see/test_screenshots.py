"""The pictures of the page's documentation are those that the script makes."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

ASSETS = ROOT / "docs" / "assets"


def test_every_picture_is_made_and_shown():
    script = (ASSETS / "make_screenshots.py").read_text(encoding="utf-8")
    made = set(re.findall(r'"(see-[\w-]+\.png)": Shot', script))
    shown = set(re.findall(r"\(assets/(see-[\w-]+\.png)\)", (ROOT / "docs/see.md").read_text()))
    there = {path.name for path in ASSETS.glob("see-*.png")}
    assert made == shown
    assert there == made | {name.replace(".png", "-dark.png") for name in made}
    assert made
