"""The reference of the command line, made of the commands themselves when the site is built.

A hook of mkdocs (see ``hooks`` in mkdocs.yml): it takes the place of a mark in docs/cli.md.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer

from fieldwise.cli import app
from fieldwise.cli.headings import record_of

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with every command, where it has the mark."""
    return markdown.replace(MARK, "\n".join(reference())) if MARK in markdown else markdown


def reference() -> Iterator[str]:
    """A section per command: how it is called, what it does, its arguments and its options."""
    group: Any = typer.main.get_command(app)
    context = typer.Context(group, info_name="fieldwise")
    for name, command in group.commands.items():
        with typer.Context(command, info_name=name, parent=context) as within:
            yield f"## `fieldwise {name}`\n"
            usage = " ".join(command.collect_usage_pieces(within))
            yield f"```text\nfieldwise {name} {usage}\n```\n"
            yield f"{_escaped(inspect.cleandoc(command.help))}\n"
            for title, kind in (("Arguments", "argument"), ("Options", "option")):
                found = [each for each in command.params if each.param_type_name == kind]
                if found:
                    yield from _table(title, found, within)


def _table(title: str, parameters: list[Any], context: typer.Context) -> Iterator[str]:
    yield f"| {title} | |\n| --- | --- |"
    for parameter in parameters:
        shown = record_of(parameter, context)
        if shown is None:
            continue
        name, text = shown
        yield f"| {_code(name)} | {_escaped(' '.join(text.split()))} |"
    yield ""


def _code(text: str) -> str:
    return f"`{text.strip()}`"


def _escaped(text: str) -> str:
    """Help as Markdown: what looks like code, a name in capitals or markup stays as it is."""
    plain = re.sub(r"([<>*_|\[\]])", r"\\\1", text)
    return re.sub(r"(?<![\w-])(--[a-z][\w-]*)", r"`\1`", plain)
