"""Pages of the site that stand beside the source, and pictures for light and for dark pages.

A hook of mkdocs (see ``hooks`` in mkdocs.yml).  The first page is README.md, whose links and
pictures are as they are beside the source.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fieldwise.version import __version__

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "docs" / "assets"
_INCLUDED = re.compile(r'\A--8<-- "(?P<name>[A-Z]+\.md)"\n\Z')
_BESIDE = re.compile(r"\]\((?:docs/)?(?P<page>[\w/.-]+?\.(?:md|svg|png))(?P<rest>[#)])")
_PICTURE = re.compile(
    r'<picture>.*?<img alt="(?P<alt>[^"]*)" src="docs/(?P<path>[^"]*)"[^>]*></picture>'
)
_SHOWN = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<path>(?:\.\./)*assets/(?P<stem>[\w-]+)\.png)\)")


def on_config(config: Any, **_: Any) -> Any:
    """The settings, with the version at the foot of every page."""
    config.copyright = f"{config.site_name} {__version__}"
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page as the site shows it."""
    included = _INCLUDED.match(markdown)
    if included:
        markdown = beside_docs((ROOT / included["name"]).read_text(encoding="utf-8"))
    return in_both_schemes(markdown)


def beside_docs(text: str) -> str:
    """A page from beside the source, with links as they are in docs.

    >>> beside_docs("[a](docs/field.md#x) and [b](CHANGELOG.md)")
    '[a](field.md#x) and [b](changelog.md)'
    """
    text = _PICTURE.sub(lambda found: f"![{found['alt']}]({found['path']})", text)
    return _BESIDE.sub(_link, text)


def _link(found: re.Match[str]) -> str:
    page = found["page"]
    name = page.lower() if page[0].isupper() else page
    return f"]({name}{found['rest']}"


def in_both_schemes(text: str) -> str:
    """The page with the dark picture beside each light one that has one.

    >>> in_both_schemes("![A page](assets/see-sees.png)")
    '![A page](assets/see-sees.png#only-light)![A page](assets/see-sees-dark.png#only-dark)'
    """
    return _SHOWN.sub(_both, text)


def _both(found: re.Match[str]) -> str:
    if not (ASSETS / f"{found['stem']}-dark.png").is_file():
        return found[0]
    light, alt = found["path"], found["alt"]
    dark = f"{light.removesuffix('.png')}-dark.png"
    return f"![{alt}]({light}#only-light)![{alt}]({dark}#only-dark)"
