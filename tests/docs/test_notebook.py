"""The exercise as a notebook: the page's own text and blocks, and it runs."""

from __future__ import annotations

import os
import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.notebook import notebook, shown, written
from tests.docs.pages import ASSETS, ROOT, blocks

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
    monkeypatch.setenv("PATH", os.defpath)  # no environment is activated
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
    start = cells.pop(1)
    assert start.source.startswith("import os, subprocess, sys")
    assert [cell.source for cell in cells] == ["# A\n\n$x$", "a = 1\na", "print(a)", "b = 2", "end"]
    assert [shown(cell) for cell in cells[1:4]] == ["1", "1", ""]


def test_commands_are_run_by_the_interpreter_of_the_kernel():
    cells = notebook(
        "# A\n```console\n$ fieldwise field 'layers:a b' \\\n  -o x\nwrote x\n```\n"
    ).cells
    assert cells[2].source == 'command("field", "layers:a b", "-o", "x")'
    assert shown(cells[2]) == "wrote x"
    sources = [cell.source for cell in nbformat.read(FILE, as_version=4).cells]
    assert not any(source.startswith(("!", "%%")) for source in sources)


def test_hints_and_solutions_are_folded_and_pictures_are_inside():
    fold = "<details markdown>\n<summary>{}</summary>\n\n{}\n\n</details>\n"
    picture = "![dots](assets/blank.svg)"
    page = "# A\n" + fold.format("Hint", "h") + fold.format("Solution", f"s\n\n{picture}") + "end\n"
    _, _, hint, word, text, drawn, end = notebook(page).cells
    assert hint.source == "<details>\n<summary>Hint</summary>\n\nh\n\n</details>"
    assert word.source.startswith("**Solution.**")
    assert text.source == hint.source.replace("Hint", "Solution").replace("h\n", "s\n")
    assert drawn.source == 'SVG("blank.svg")'
    assert drawn.metadata.jupyter.source_hidden
    assert drawn.outputs[0].data["image/svg+xml"] == (ASSETS / "blank.svg").read_text("utf-8")
    assert end.source == "end"


def test_every_task_has_a_hint_and_a_solution():
    text = PAGE.read_text(encoding="utf-8")
    _, *tasks = text.partition("## Where")[0].split("\n### ")
    assert len(tasks) == 8
    for task in tasks:
        folded = re.findall(r"<summary>(\w+)</summary>", task)
        assert folded == ["Hint", "Solution"], task.splitlines()[0]
