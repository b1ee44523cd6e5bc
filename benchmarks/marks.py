"""Text between marks on a page of docs: what a script measures, in the middle of what is written.

``<!-- NAME -->`` and ``<!-- end of NAME -->`` stand around it, each once on the page.
"""

from __future__ import annotations

from pathlib import Path


def between(page: str, name: str) -> str:
    """The text between the marks of a name.  Raises ValueError where they are not there once."""
    return _parts(page, name)[1].strip("\n")


def replaced(page: str, name: str, text: str) -> str:
    """The page with another text between the marks of a name; raises as ``between`` does."""
    before, _, after = _parts(page, name)
    return before + marked(name, text) + after


def marked(name: str, text: str) -> str:
    """A text between the marks of a name."""
    begin, end = _marks(name)
    return "\n\n".join([begin, text.strip("\n"), end])


def write_between(page: Path, name: str, text: str) -> None:
    """Put a text between the marks of a name on a page; raises as ``between`` does."""
    whole = replaced(page.read_text(encoding="utf-8"), name, text)
    page.write_text(whole, encoding="utf-8")


def _parts(page: str, name: str) -> tuple[str, str, str]:
    """What stands before, between and after the marks."""
    begin, end = _marks(name)
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(end) < page.index(begin):
        raise ValueError(f"The page has no {begin} … {end}, or has it more than once.")
    before, _, rest = page.partition(begin)
    inside, _, after = rest.partition(end)
    return before, inside, after


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- end of {name} -->"
