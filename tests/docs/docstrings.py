"""Docstrings of the package as sections of the reference: parameters, attributes, raises, examples.

An extension of griffe (see ``mkdocstrings`` in mkdocs.yml).  Our docstrings name parameters in
lines ``name: text``, errors in sentences that begin with ``Raises``, and end in examples.  Here
such paragraphs become the sections of Google's style, which the reference draws as tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import griffe

_NAMED = re.compile(r"(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)*): +(?P<text>.*)")
_RAISES = re.compile(r"Raises (?P<errors>[A-Z]\w*.*)$", re.DOTALL)
_NEXT = re.compile(r"[,;.]?(?: and)?,? (?=[A-Z]\w*(?:Error|Refused) )")
_CODE = re.compile(r"``([^`]+)``")


class Sections(griffe.Extension):
    """Rewrites every docstring, once, before it is parsed."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Parameters of a function."""
        names = {parameter.name.lstrip("*") for parameter in func.parameters}
        _rewrite(func, names, "Args")

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Fields of a class: its own, and parameters of its constructor."""
        names = {name for name, member in cls.members.items() if member.is_attribute}
        _rewrite(cls, names | {parameter.name for parameter in cls.parameters}, "Attributes")


def _rewrite(found: griffe.Object, names: set[str], title: str) -> None:
    if found.docstring is not None:
        found.docstring.value = sections(found.docstring.value, names, title)


def sections(text: str, names: set[str], title: str) -> str:
    """A docstring with sections in the place of our paragraphs.

    >>> text = "Add.\\n\\na, b: numbers\\n\\nRaises ValueError for others."
    >>> print(sections(text, {"a", "b"}, "Args"))
    Add.
    <BLANKLINE>
    Args:
        a: numbers
        b: numbers
    <BLANKLINE>
    Raises:
        ValueError: for others.
    """
    own, raised, plain, examples = [], [], [], []
    for paragraph in text.strip().split("\n\n"):
        lines = paragraph.splitlines()
        named = list(_named(lines, names))
        error = _RAISES.match(" ".join(line.strip() for line in lines))
        if paragraph.lstrip().startswith(">>>") or (examples and paragraph.startswith("    ")):
            examples.append(paragraph)
        elif named:
            own += named
        elif error is not None:
            raised += [_raised(one) for one in _NEXT.split(error["errors"])]
        else:
            plain.append(paragraph)
    parts = ["\n\n".join(plain)]
    parts += [_section(name, lines) for name, lines in ((title, own), ("Raises", raised)) if lines]
    if examples:
        body = "\n\n".join(examples)
        parts.append(
            "Examples:\n" + "\n".join(f"    {line}".rstrip() for line in body.splitlines())
        )
    return _CODE.sub(r"`\1`", "\n\n".join(part for part in parts if part))


def _raised(text: str) -> str:
    error, _, when = text.partition(" ")
    return f"{error.rstrip(',.')}: {when or 'see above'}"


def _section(name: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{name}:", *(f"    {line}" for line in lines)])


def _named(lines: Sequence[str], names: set[str]) -> Iterator[str]:
    """The entries of a paragraph that names some; nothing where it is another paragraph."""
    first = _NAMED.match(lines[0])
    if first is None or not {n.strip("* ") for n in first["names"].split(",")} <= names:
        return
    entries: list[tuple[str, str]] = []
    for line in lines:
        found = _NAMED.match(line)
        if found is not None and {n.strip("* ") for n in found["names"].split(",")} <= names:
            entries += [(found["names"], found["text"])]
        else:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line.strip()}")
    for called, said in entries:
        yield from (f"{name.strip()}: {said}" for name in called.split(","))
