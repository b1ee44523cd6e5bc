"""Every recipe names the package that it is for, and uses it."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, blocks, needs, pages

RECIPES = [page for page in pages() if page.parent == ROOT / "docs" / "recipes"]


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.stem)
def test_a_recipe_says_which_package_it_is_for_and_runs_it(page):
    text = page.read_text(encoding="utf-8")
    run = "".join(block.text for block in blocks(text) if block.kind == "pycon")
    assert needs(text)
    assert all(re.search(rf"(from|import) .*{package}", run) for package in needs(text))


def test_there_are_recipes_and_the_site_shows_each():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert RECIPES
    assert all(f"recipes/{page.name}" in navigation for page in RECIPES)
