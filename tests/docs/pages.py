"""The code on the pages: found, run, compared with what the page says, or written anew.

    python -m tests.docs.pages README.md docs/field.md     writes the real outputs into pages,
                                                           and the pictures into docs/assets

Three kinds of fenced blocks are run.  A ``console`` block holds commands after ``$`` and their
output; a line ``...`` stands for any number of lines, and where a command prints nothing, nothing
is expected.  A ``pycon`` block is a Python session as doctests are; a ``python`` block runs as it
stands.  The Python blocks of a page share their names, and everything runs in one empty folder.
Last come the rows of tables that end in a command after ``$`` and a line that it prints, whatever
the spaces.  Pictures that are drawn on the way are those of docs/assets, byte by byte.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from tests.docs.command import folder

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "docs" / "assets"
FENCE = re.compile(r"^```(?P<kind>\w+)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"^<!-- needs (?P<packages>[\w, ]+) -->$", re.MULTILINE)
ROW = re.compile(r"^\|.*\| `\$ (?P<command>[^`]+)` \| `(?P<line>[^`]+)` \|$", re.MULTILINE)
RAISED = re.escape("Traceback (most recent call last):")
SECONDS = 300


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: its kind, its text, and where the text stands."""

    kind: str
    text: str
    start: int
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a console block and the lines that the page shows after it."""

    text: str
    shown: tuple[str, ...]


def pages() -> list[Path]:
    """All pages with code: those beside the source, and what stands in docs."""
    beside = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")]
    return [*beside, *sorted((ROOT / "docs").rglob("*.md"))]


def needs(text: str) -> list[str]:
    """The packages without which a page is not run, beside those of the tests.

    >>> needs("<!-- needs monai, torchio -->\\n# Title")
    ['monai', 'torchio']
    """
    found = NEEDS.search(text)
    return found["packages"].split(", ") if found else []


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page.

    >>> blocks("words\\n```console\\n$ true\\n```\\n")[0].text
    '$ true\\n'
    """
    return [
        Block(m["kind"], m["text"], m.start("text"), text.count("\n", 0, m.start("text")) + 1)
        for m in FENCE.finditer(text)
    ]


def commands(block: Block) -> list[Command]:
    """The commands of a console block; a line that ends in a backslash goes on."""
    found: list[tuple[str, list[str]]] = []
    continued = False
    for line in block.text.splitlines():
        if continued:
            found[-1] = (f"{found[-1][0]}\n{line}", [])
        elif line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line.rstrip())
            continue
        continued = line.endswith("\\")
    return [Command(text, tuple(shown)) for text, shown in found]


def output(command: Command) -> list[str]:
    """What a command prints, on both streams, without spaces at the ends of lines."""
    path = os.pathsep.join((folder(), str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", command.text],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return [line.rstrip() for line in done.stdout.splitlines()]


def agrees(shown: tuple[str, ...], printed: list[str]) -> bool:
    """Whether the lines are those shown, where a line '...' stands for any lines.

    >>> agrees(("a", "...", "c"), ["a", "b", "b", "c"]), agrees(("a",), ["a", "b"])
    (True, False)
    """
    pattern = "".join(r"(?:.*\n)*" if line == "..." else f"{re.escape(line)}\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def failures(page: Path) -> Iterator[str]:
    """Run every block of a page; what differs from it, in words.

    The test is skipped where a package that the page needs is not installed.
    """
    text = page.read_text(encoding="utf-8")
    for package in needs(text):
        pytest.importorskip(package)
    with TemporaryDirectory() as here, _inside(here):
        for block, real in _run(text):
            if real != block.text:
                yield f"{page.name}:{block.line}: this came out instead\n{real}"
        for row in ROW.finditer(text):
            printed = [" ".join(line.split()) for line in output(Command(row["command"], ()))]
            if row["line"] not in printed:
                yield f"{page.name}: $ {row['command']}\n" + "\n".join(printed)
        for drawn, kept in _pictures(Path(here), ASSETS):
            if kept.read_bytes() != drawn.read_bytes():
                yield f"{page.name} draws another {drawn.name} than docs/assets has"


def rewritten(text: str, assets: Path = ASSETS) -> str:
    """The page with what really comes out, wherever that differs from what it shows.

    Pictures among the assets are replaced by those that the page draws.
    """
    with TemporaryDirectory() as here, _inside(here):
        found = list(_run(text))
        for drawn, kept in _pictures(Path(here), assets):
            kept.write_bytes(drawn.read_bytes())
    for block, real in reversed(found):
        text = text[: block.start] + real + text[block.start + len(block.text) :]
    return text


def _pictures(folder: Path, assets: Path) -> Iterator[tuple[Path, Path]]:
    """What was drawn in a folder, and the picture among the assets that it should be."""
    for drawn in folder.glob("*.svg"):
        if (assets / drawn.name).exists():
            yield drawn, assets / drawn.name


def _run(text: str) -> Iterator[tuple[Block, str]]:
    """Every block of a page, run in its order, and how it should read."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(text):
        if block.kind == "console":
            yield block, "".join(map(_shown, commands(block)))
        elif block.kind == "pycon":
            yield block, _Session().of(block, names)
        elif block.kind == "python":
            exec(compile(block.text, f"line {block.line}", "exec"), names)


def _shown(command: Command) -> str:
    printed = output(command)
    lines = command.shown if agrees(command.shown, printed) else printed
    return "".join(f"{line}\n" for line in (f"$ {command.text}", *lines))


class _Session(doctest.DocTestRunner):
    """A Python session with the real output of every example that says something else."""

    def __init__(self) -> None:
        super().__init__(verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        self.real: dict[int, str] = {}

    def of(self, block: Block, names: dict[str, Any]) -> str:
        """The session as it goes; what it defines is added to the names."""
        examples = doctest.DocTestParser().get_examples(block.text)
        name = f"line {block.line}"
        test = doctest.DocTest(examples, {}, name, None, 0, block.text)
        test.globs = names
        self.run(test, out=lambda _: None, clear_globs=False)
        lines = block.text.splitlines(keepends=True)
        for example in reversed(examples):
            if example.lineno in self.real:
                start = example.lineno + example.source.count("\n")
                stop = start + example.want.count("\n")
                lines[start:stop] = [self.real[example.lineno]]
        return "".join(lines)

    def report_failure(self, out: Any, test: Any, example: doctest.Example, got: str) -> None:
        """What was printed instead; of an error, what it is and not where it came from."""
        self.real[example.lineno] = re.sub(f"({RAISED}\n)(?:  .*\n)+", r"\1", got)

    def report_unexpected_exception(
        self, out: Any, test: Any, example: doctest.Example, exc_info: Any
    ) -> None:
        """What was raised instead."""
        raised = traceback.format_exception_only(*exc_info[:2])[-1]
        self.real[example.lineno] = f"Traceback (most recent call last):\n{raised}"


class _inside:
    """Python blocks write files too: they run in the folder of the commands.

    Whether torch records gradients is a page's own business, and ends with it.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        self.before, self.gradients = os.getcwd(), torch.is_grad_enabled()
        os.chdir(self.folder)

    def __exit__(self, *_: object) -> None:
        os.chdir(self.before)
        torch.set_grad_enabled(self.gradients)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
