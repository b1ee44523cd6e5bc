"""A page as a notebook: its text as it is, its sessions and commands as cells with their outputs.

    python -m tests.docs.notebook docs/exercise.md     writes docs/exercise.ipynb

The page is the source.  A cell ends where the page shows an output, since a notebook shows that of
the last expression only.  Commands are run by the interpreter of the kernel, so that no environment
has to be activated and no shell is needed.  Pictures are outputs, hints and solutions are folded.
"""

from __future__ import annotations

import ast
import doctest
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.docs.pages import ASSETS, Block, blocks, commands

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_MATHS = (("\\(", "$"), ("\\)", "$"), ("\\[", "$$"), ("\\]", "$$"))
_PICTURE = re.compile(r"!\[[^\]]*\]\(assets/(?P<name>[\w-]+\.svg)\)")
_FOLD = re.compile(r"<details markdown>\n<summary>(?P<title>\w+)</summary>\n|</details>\n")
_HIDDEN = {"jupyter": {"source_hidden": True, "outputs_hidden": True}}
_SOLUTION = "**Solution.** Its cells are hidden: click on the three dots to open one."
_START = '''\
import os, subprocess, sys, tempfile
from IPython.display import SVG

os.chdir(tempfile.mkdtemp())  # where pictures are written


def command(*given):
    """Run fieldwise with the interpreter of this notebook, and print what it says."""
    run = [sys.executable, "-m", "fieldwise", *given]
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
    print(subprocess.run(run, env={**os.environ, "PYTHONUTF8": "1"}, **said).stdout, end="")'''


@dataclass
class _Page:
    """A page on the way to cells; inside: the title of what is folded here, or None."""

    inside: str | None = None

    def text(self, page: str) -> Iterator[NotebookNode]:
        """The cells of a stretch of text: its pictures are cells with outputs."""
        for sign, plain in _MATHS:
            page = page.replace(sign, plain)
        at = 0
        for fold in _FOLD.finditer(page):
            yield from self._plain(page[at : fold.start()])
            self.inside, at = fold["title"], fold.end()
            if self.inside == "Solution":
                yield new_markdown_cell(_SOLUTION)
        yield from self._plain(page[at:])

    def code(self, source: str, outputs: list[NotebookNode]) -> NotebookNode:
        """A cell of code, hidden where it is part of a solution."""
        hidden = _HIDDEN if self.inside == "Solution" else {}
        return new_code_cell(source, outputs=outputs, metadata=hidden)

    def _plain(self, page: str) -> Iterator[NotebookNode]:
        at = 0
        for picture in _PICTURE.finditer(page):
            yield from self._words(page[at : picture.start()])
            data = {
                "image/svg+xml": (ASSETS / picture["name"]).read_text(encoding="utf-8"),
                "text/plain": "<IPython.core.display.SVG object>",
            }
            shown = new_output("execute_result", data=data, execution_count=None)
            yield self.code(f'SVG("{picture["name"]}")', [shown])
            at = picture.end()
        yield from self._words(page[at:])

    def _words(self, page: str) -> Iterator[NotebookNode]:
        words = page.strip()
        if not words:
            return
        if self.inside is not None:
            words = f"<details>\n<summary>{self.inside}</summary>\n\n{words}\n\n</details>"
        yield new_markdown_cell(words)

    def session(self, block: Block) -> Iterator[NotebookNode]:
        """The statements up to one with an output, that one, and its output."""
        source = ""
        for example in doctest.DocTestParser().get_examples(block.text):
            source += example.source
            if example.want:
                yield self.code(source.rstrip(), [_output(example)])
                source = ""
        if source:
            yield self.code(source.rstrip(), [])

    def shell(self, block: Block) -> Iterator[NotebookNode]:
        """A cell for each command of a console, which are all of fieldwise."""
        for command in commands(block):
            name, *given = shlex.split(command.text.replace("\\\n", " "))
            assert name == "fieldwise", command.text
            arguments = ", ".join(json.dumps(each, ensure_ascii=False) for each in given)
            text = "".join(f"{line}\n" for line in command.shown)
            outputs = [new_output("stream", name="stdout", text=text)] if text else []
            yield self.code(f"command({arguments})", outputs)


def notebook(page: str) -> NotebookNode:
    """The notebook of a page; equal pages give equal notebooks."""
    cells: list[NotebookNode] = [new_code_cell(_START)]
    made, at = _Page(), 0
    for block in blocks(page):
        cells.extend(made.text(page[at : block.start].rsplit("```", 1)[0]))
        cells.extend(made.session(block) if block.kind == "pycon" else made.shell(block))
        at = block.start + len(block.text) + len("```\n")
    cells.extend(made.text(page[at:]))
    cells[:2] = cells[1::-1]  # the heading first
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


def _output(example: doctest.Example) -> NotebookNode:
    """As a result where the example is an expression, else as what was printed."""
    if isinstance(ast.parse(example.source).body[-1], ast.Expr):
        data = {"text/plain": example.want.rstrip("\n")}
        return new_output("execute_result", data=data, execution_count=None)
    return new_output("stream", name="stdout", text=example.want)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        made = notebook(Path(name).read_text(encoding="utf-8"))
        Path(name).with_suffix(".ipynb").write_text(written(made), encoding="utf-8")
