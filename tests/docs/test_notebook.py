"""The exercise as a notebook: the page's own text and blocks, and it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.notebook import notebook, shown, written
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "exercise.md"
FILE = ROOT / "docs" / "exercise.ipynb"


def test_the_notebook_is_the_page():
    made = notebook(PAGE.read_text(encoding="utf-8"))
    nbformat.validate(made)
    assert FILE.read_text(encoding="utf-8") == written(made), (
        "write it again: python -m tests.docs.notebook docs/exercise.md"
    )


def test_nothing_of_the_page_is_lost():
    text = PAGE.read_text(encoding="utf-8")
    cells = nbformat.read(FILE, as_version=4).cells
    prompts = sum(block.text.count("\n>>> ") + 1 for block in blocks(text) if block.kind == "pycon")
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert len(code.splitlines()) >= prompts
    headings = [line for line in text.splitlines() if line.startswith("#")]
    words = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert [line for line in words.splitlines() if line.startswith("#")] == headings


@pytest.mark.slow  # the page that it is made from is run in test_pages
def test_every_cell_runs_and_shows_what_the_file_shows(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    kept = nbformat.read(FILE, as_version=4)
    run = nbformat.read(FILE, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(run, timeout=300, kernel_name="python3", resources=place).execute()
    for wanted, found in zip(kept.cells, run.cells, strict=True):
        if wanted.cell_type == "code":
            assert shown(found) == shown(wanted), wanted.source


def test_a_cell_ends_where_the_page_shows_an_output():
    page = "# A\n\n\\(x\\)\n```pycon\n>>> a = 1\n>>> a\n1\n>>> print(a)\n1\n>>> b = 2\n```\nend\n"
    cells = notebook(page).cells
    assert [cell.source for cell in cells] == ["# A\n\n$x$", "a = 1\na", "print(a)", "b = 2", "end"]
    assert [shown(cell) for cell in cells[1:4]] == ["1", "1", ""]
