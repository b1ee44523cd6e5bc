"""The page of what was measured repeats numbers of the pages that it links to, and links to all."""

from __future__ import annotations

import re

import yaml

from tests.docs.pages import ROOT

DOCS = ROOT / "docs"
ENTRY = re.compile(r"^- \*\*\[[^]]+\]\((?P<page>\w+\.md)\)\*\*(?P<text>.*?)(?=^\S|\Z)", re.M | re.S)


def entries() -> dict[str, str]:
    text = (DOCS / "measured.md").read_text(encoding="utf-8")
    return {found["page"]: found["text"] for found in ENTRY.finditer(text)}


def test_every_bold_number_stands_on_the_page_that_is_linked():
    numbers = 0
    for page, text in entries().items():
        there = (DOCS / page).read_text(encoding="utf-8")
        for number in re.findall(r"\*\*(.+?)\*\*", text):
            numbers += 1
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]*\d)", there), (page, number)
    assert numbers > 10


def test_every_page_of_the_section_has_its_sentence():
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    (section,) = (entry["Measured"] for entry in settings["nav"] if "Measured" in entry)
    first, *others = section
    assert first == "measured.md"
    assert {*entries()} == {path for entry in others for path in entry.values()}
