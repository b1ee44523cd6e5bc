"""A page as a notebook: its text as it is, its sessions and commands as cells with their outputs.

    python -m tests.docs.notebook docs/exercise.md     writes docs/exercise.ipynb

The page is the source.  A cell ends where the page shows an output, since a notebook shows that of
the last expression only.
"""

from __future__ import annotations

import ast
import doctest
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.docs.pages import Block, blocks, commands

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_MATHS = (("\\(", "$"), ("\\)", "$"), ("\\[", "$$"), ("\\]", "$$"))


def notebook(page: str) -> NotebookNode:
    """The notebook of a page; equal pages give equal notebooks."""
    cells: list[NotebookNode] = []
    at = 0
    for block in blocks(page):
        cells.extend(_text(page[at : block.start].rsplit("```", 1)[0]))
        cells.extend(_session(block) if block.kind == "pycon" else _shell(block))
        at = block.start + len(block.text) + len("```\n")
    cells.extend(_text(page[at:]))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def written(made: NotebookNode) -> str:
    """The text of the file."""
    return f"{nbformat.writes(made)}\n"


def shown(cell: NotebookNode) -> str:
    """What a code cell shows as text, without colours and with single spaces.

    Where lines break and what is bold differs between a kernel and a console.
    """
    said = (out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs)
    return " ".join(_COLOUR.sub("", "".join(said)).split())


def _text(page: str) -> Iterator[NotebookNode]:
    for sign, plain in _MATHS:
        page = page.replace(sign, plain)
    if page.strip():
        yield new_markdown_cell(page.strip())


def _session(block: Block) -> Iterator[NotebookNode]:
    """The statements up to one with an output, that one, and its output."""
    source = ""
    for example in doctest.DocTestParser().get_examples(block.text):
        source += example.source
        if example.want:
            yield new_code_cell(source.rstrip(), outputs=[_output(example)])
            source = ""
    if source:
        yield new_code_cell(source.rstrip())


def _output(example: doctest.Example) -> NotebookNode:
    """As a result where the example is an expression, else as what was printed."""
    if isinstance(ast.parse(example.source).body[-1], ast.Expr):
        data = {"text/plain": example.want.rstrip("\n")}
        return new_output("execute_result", data=data, execution_count=None)
    return new_output("stream", name="stdout", text=example.want)


def _shell(block: Block) -> Iterator[NotebookNode]:
    for command in commands(block):
        text = "".join(f"{line}\n" for line in command.shown)
        outputs = [new_output("stream", name="stdout", text=text)] if text else []
        yield new_code_cell(f"%%bash\n{command.text}", outputs=outputs)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        made = notebook(Path(name).read_text(encoding="utf-8"))
        Path(name).with_suffix(".ipynb").write_text(written(made), encoding="utf-8")
