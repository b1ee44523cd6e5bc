"""Every command and every Python block on every page runs and says what the page says."""

from __future__ import annotations

import pytest

from tests.docs.pages import ROOT, blocks, failures, pages

RUN = {"console", "pycon", "python"}
SHOWN_ONLY = {"text", "sh", "json", "make"}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_what_the_page_shows_is_what_comes_out(page):
    assert not list(failures(page))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fenced_block_says_what_it_is(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") == 2 * len(blocks(text)) - text.startswith("```")
    assert {block.kind for block in blocks(text)} <= RUN | SHOWN_ONLY
