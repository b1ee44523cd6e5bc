"""Scripts replace what stands between their marks on a page, and nothing else."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {"gpu": ("measured", "counted"), "tile_benchmark": ("memory",)}


@pytest.fixture
def marks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.delitem(sys.modules, "marks", raising=False)
    return importlib.import_module("marks")


def test_a_text_is_replaced_between_its_marks_and_the_rest_stays(marks, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- one -->\n\nold\n\n<!-- end of one -->\n\nafter µ\n", "utf-8")
    marks.write_between(page, "one", "| new |\n")
    text = page.read_text("utf-8")
    assert text == "before\n\n<!-- one -->\n\n| new |\n\n<!-- end of one -->\n\nafter µ\n"
    assert marks.between(text, "one") == "| new |"


@pytest.mark.parametrize(
    "page",
    [
        "no marks",
        "<!-- one --> begun",
        "<!-- end of one --> <!-- one -->",
        2 * "<!-- one --><!-- end of one -->",
    ],
)
def test_a_page_without_the_marks_once_and_in_order_is_refused(marks, page):
    with pytest.raises(ValueError, match="no <!-- one -->"):
        marks.replaced(page, "one", "text")


@pytest.mark.parametrize("page", PAGES)
def test_what_stands_on_the_pages_is_what_is_written_again(marks, page):
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    for name in PAGES[page]:
        inside = marks.between(text, name)
        assert "\n| " in inside
        assert marks.replaced(text, name, inside) == text
