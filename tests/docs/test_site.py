"""The documentation site builds without a warning, and is looked at in a browser."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fieldwise.version import __version__
from tests.docs.pages import ROOT
from tests.see.conftest import browser as browser  # a fixture

PHONE, DESK = 375, 1280


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """Where the site is served, on this machine alone."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def page(site: Path, name: str) -> str:
    return (site / name / "index.html").read_text(encoding="utf-8")


def test_formulas_are_drawn(site):
    exercise = page(site, "exercise")
    assert exercise.count("<math") == exercise.count("</math>") > 20
    assert r"\(" not in exercise
    assert r"\[" not in exercise


def test_the_first_page_is_the_readme_with_a_picture_for_either_scheme(site):
    first = page(site, ".")
    for card in ("field", "fold", "shift", "tile"):
        assert f'src="assets/card-{card}.png#only-light"' in first
        assert f'src="assets/card-{card}-dark.png#only-dark"' in first
    assert "docs/assets" not in first
    assert f"fieldwise {__version__}" in first


def test_the_reference_has_tables_of_parameters_types_and_examples(site):
    reference = page(site, "api")
    assert reference.count("Parameters:") > 20
    assert reference.count("Raises:") > 10
    assert reference.count("Examples:") > 20
    assert "<p>example: " not in reference
    assert "``" not in reference


def test_the_command_line_and_the_changelog_are_on_the_site(site):
    assert page(site, "cli").count('<h2 id="fieldwise-') == 10
    assert "Keep a Changelog" in page(site, "changelog") or "Unreleased" in page(site, "changelog")


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "dark"), (DESK, "light")])
def test_no_page_scrolls_sideways(width, scheme, site, address, browser):
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    names = sorted(path.parent.relative_to(site) for path in site.rglob("index.html"))
    assert len(names) > 30
    for name in names:
        tab.goto(f"{address}{name}/", wait_until="domcontentloaded")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, name
    tab.close()


def test_dark_pages_show_dark_pictures(address, browser):
    for scheme, shown in (("light", "card-field.png"), ("dark", "card-field-dark.png")):
        tab = browser.new_page(color_scheme=scheme)
        tab.goto(address)
        visible = "[...document.images].filter(i => i.offsetWidth).map(i => i.src)"
        pictures = [source for source in tab.evaluate(visible) if "card-field" in source]
        assert [source.split("/")[-1].split("#")[0] for source in pictures] == [shown]
        tab.close()


@pytest.mark.parametrize(
    ("name", "start", "copied"),
    [
        ("exercise", "$ fieldwise diagram", "fieldwise diagram layers:'conv3 conv1' layers:"),
        ("json", ">>> from torch import nn", "from torch import nn\nfrom fieldwise import"),
        ("field", "$ fieldwise field timm:inception_v3", "--plot inception.svg"),
    ],
)
def test_copied_are_the_commands_alone(name, start, copied, address, browser):
    tab = browser.new_page()
    tab.goto(f"{address}{name}/")
    block = tab.locator("pre", has_text=start).first
    block.hover()
    button = block.locator("xpath=..").locator("[data-clipboard-target]").first
    button.click()
    text = button.get_attribute("data-clipboard-text")
    assert copied in text
    assert ">>>" not in text
    assert "$ " not in text
    assert "wrote" not in text
    tab.close()
