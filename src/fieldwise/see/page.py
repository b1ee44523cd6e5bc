"""One self-contained HTML file: the template, the style, the script and the data, escaped."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path

from fieldwise.errors import UsageError
from fieldwise.see.encode import Plain
from fieldwise.see.modules import joined
from fieldwise.version import __version__

SOURCES = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Page:
    """A page as HTML; shown by notebooks in a frame.

    title: the names of its networks
    data:  what it shows (see ``see.data``)
    html:  the whole file
    """

    title: str
    data: Mapping[str, Plain] = field(repr=False)

    @property
    def html(self) -> str:
        """The whole file; it loads nothing and runs no script but its own."""
        style, script = _style(), _script()
        policy = "; ".join(
            (
                "default-src 'none'",
                f"script-src {_digest(script)}",
                f"style-src {_digest(style)}",
                "img-src data: blob:",
                "base-uri 'none'",
                "form-action 'none'",
            )
        )
        parts = {
            "policy": policy,
            "version": escape(__version__),
            "title": escape(self.title),
            "style": style,
            "data": as_json(self.data),
            "script": script,
        }
        made = (SOURCES / "page.html").read_text(encoding="utf-8").split("@")
        return "".join(parts[text] if odd else text for odd, text in _alternating(made))

    def save(self, path: str | Path) -> Path:
        """Write the file.  Raises UsageError where its folder is not there."""
        path = Path(path)
        check_path(path)
        path.write_text(self.html, encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        """A frame that holds the page."""
        return (
            f'<iframe title="{escape(self.title)}" sandbox="allow-scripts allow-downloads" '
            f'width="100%" height="720" frameborder="0" srcdoc="{escape(self.html)}"></iframe>'
        )


def check_path(path: Path) -> None:
    """Raise UsageError unless a page can be written there, before anything long is done."""
    if path.suffix.lower() not in (".html", ".htm"):
        said = f"ends in {path.suffix!r}" if path.suffix else "has no suffix"
        raise UsageError(f"{path} {said}; a page is written as .html.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}; make it first.")


def as_json(data: Mapping[str, Plain]) -> str:
    r"""Data as JSON that may stand within a script element: no name in it can end one.

    >>> as_json({"name": "</script><b>&"})
    '{"name":"\\u003c/script\\u003e\\u003cb\\u003e\\u0026"}'
    """
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _alternating(parts: list[str]) -> list[tuple[bool, str]]:
    return [(number % 2 == 1, part) for number, part in enumerate(parts)]


@cache
def _script() -> str:
    """All modules of the page; a page cannot hold what would end its script."""
    script = joined(SOURCES, "main.js")
    assert "</script" not in script.lower()
    return script


@cache
def _style() -> str:
    return (SOURCES / "theme.css").read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
