"""A browser for the tests of the page: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, headless; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page; at the end its console has no error, and nothing was loaded."""
    faults: list[str] = []
    contexts = []

    def open_page(
        page: Any, fragment: str = "", *, width: int = 1280, height: int = 900, **more: Any
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **more)
        contexts.append(context)
        tab = context.new_page()
        tab.on(
            "console",
            lambda said: faults.append(said.text) if said.type in ("error", "warning") else None,
        )
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith(("file:", "data:", "blob:"))
                else faults.append(asked.url)
            ),
        )
        path = page.save(tmp_path / f"page{len(contexts)}.html")
        tab.goto(f"{path.as_uri()}#{fragment}")
        tab.wait_for_selector("main h2")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
