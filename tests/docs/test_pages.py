"""Every command and every Python block on every page runs and says what the page says."""

from __future__ import annotations

import pytest

from tests.docs.pages import ROOT, blocks, failures, pages, rewritten

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


WRONG = """
```pycon
>>> total = 1 + 1
>>> total
3
>>> [total, 5]
[..., 5]
>>> 1 / 0
```

```console
$ echo one
two
```
"""
RIGHT = WRONG.replace("3\n", "2\n").replace("two", "one").replace(
    "1 / 0\n", "1 / 0\nTraceback (most recent call last):\nZeroDivisionError: division by zero\n"
)  # fmt: skip


def test_what_differs_is_found_and_what_was_abridged_on_purpose_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(WRONG)
    assert len(list(failures(page))) == 2
    assert rewritten(WRONG) == RIGHT
    page.write_text(RIGHT)
    assert not list(failures(page))
