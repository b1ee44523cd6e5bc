"""Every command and every Python block on every page runs and says what the page says."""

from __future__ import annotations

import re

import pytest
import torch

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
| a | `$ echo a  b` | `a b` |
| b | `$ echo c` | `d` |

```pycon
>>> total = 1 + 1
>>> total
3
>>> [total, 5]
[..., 5]
>>> 1 / 0
>>> [][1]
Traceback (most recent call last):
IndexError: another text
```

```console
$ echo one
two
```
"""
RIGHT = WRONG.replace("3\n", "2\n").replace("two", "one").replace(
    "1 / 0\n", "1 / 0\nTraceback (most recent call last):\nZeroDivisionError: division by zero\n"
).replace("another text", "list index out of range")  # fmt: skip


def test_what_differs_is_found_and_what_was_abridged_on_purpose_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(WRONG)
    assert len(list(failures(page))) == 3
    assert rewritten(WRONG) == RIGHT
    page.write_text(RIGHT.replace("`d`", "`c`"))
    assert not list(failures(page))


def test_a_page_that_switches_gradients_off_leaves_them_on_for_others(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nimport torch\n\ntorch.set_grad_enabled(False)\n```\n")
    assert not list(failures(page))
    assert torch.is_grad_enabled()


def test_the_versions_that_the_comparison_names_are_those_that_it_was_run_with():
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    text = " ".join((ROOT / "docs" / "comparison.md").read_text(encoding="utf-8").split())
    peers = {"torchlens", "torchstream-lib"}  # which have an environment of their own
    named = dict(re.findall(r"([\w-]+) (\d+\.\d+\.\d+)", text))
    named = {name: found for name, found in named.items() if name not in peers}
    assert set(named) == {"torch", "torchvision", "timm", "dask"}
    assert named == {name: pinned[name] for name in named}


def test_every_picture_is_drawn_by_a_page_that_shows_it_or_by_a_script_beside_it():
    assets = sorted((ROOT / "docs" / "assets").iterdir())
    scripts = "".join(path.read_text(encoding="utf-8") for path in assets if path.suffix == ".py")
    for picture in assets:
        if picture.suffix in (".py", ".css", ".js"):
            continue
        texts = [page.read_text(encoding="utf-8") for page in pages()]
        light = picture.name.replace("-dark.", ".")  # which the site shows in its place
        shown = [text for text in texts if re.search(rf"assets/{re.escape(light)}[)\"]", text)]
        assert shown, picture.name
        if light != picture.name and light in {path.name for path in assets}:
            continue
        if picture.name in scripts or picture.stem in scripts:
            continue
        code = "".join(block.text for text in shown for block in blocks(text) if block.kind in RUN)
        assert re.search(rf"[ \"]{picture.name}", code), picture.name
