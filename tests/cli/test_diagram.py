"""``fieldwise diagram`` through the real command line."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from fieldwise.cli import app

CHAIN = "layers:conv3/2 conv3"


def run(*args, code=0):
    result = CliRunner().invoke(app, ["diagram", *args])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code == 0 else result.stderr


def test_a_unit_is_drawn_and_what_it_sees_is_said(tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "fig.svg"
    said = run(CHAIN, "--unit", "2", "-o", str(out))
    assert said == f"{CHAIN}: position 2 of conv3 sees 7 samples, 4 to 10; receptive field 7\n"
    assert 'id="edge-0-1-2-0-4"' in out.read_text()


@pytest.mark.parametrize(
    ("text", "unit", "said"),
    [
        ("conv3 globalpool", "0", "sees 11 samples, 0 to 10; receptive field the whole input"),
        ("conv1", "3", "sees 1 sample, 3 to 3; receptive field 1"),
        ("conv3p1 conv3p1", "0", "sees 3 samples, 0 to 2; receptive field 5"),
        ("tconv1/3", "1", "sees nothing of the input"),
    ],
)
def test_what_a_unit_sees_is_said_of_odd_ones_too(tmp_path, text, unit, said):
    pytest.importorskip("matplotlib")
    line = run(f"layers:{text}", "--unit", unit, "-o", str(tmp_path / "fig.svg"))
    assert line.strip().endswith(said)


def test_several_models_are_drawn_side_by_side(tmp_path):
    pytest.importorskip("matplotlib")
    cases = ("layers:conv3 conv1", "layers:conv3 conv3", CHAIN)
    said = run(*cases, "-o", str(tmp_path / "fig.svg")).splitlines()
    assert [line.split()[-1] for line in said] == ["3", "5", "7"]


def test_a_blank_diagram_does_not_give_the_answer_away(tmp_path):
    pytest.importorskip("matplotlib")
    assert run(CHAIN, "--blank", "-o", str(tmp_path / "fig.svg")) == ""


@pytest.mark.parametrize(
    ("suffix", "start"),
    [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("PNG", b"\x89")],
)
def test_the_suffix_says_how_it_is_written_and_two_runs_write_the_same(tmp_path, suffix, start):
    pytest.importorskip("matplotlib")
    paths = [tmp_path / f"{name}.{suffix}" for name in ("one", "two")]
    for path in paths:
        run(CHAIN, "-o", str(path))
    one, two = (path.read_bytes() for path in paths)
    assert one.startswith(start)
    assert one == two


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-o", "fig.gif"], "fig.gif ends in '.gif'; a picture is written as .svg, .png or .pdf."),
        (["-o", "fig"], "fig has no suffix; a picture is written as"),
        (["-o", "nowhere/fig.svg"], "There is no folder nowhere; make it first."),
        (["-o", "fig.svg", "--unit", "99"], "Position 99 is outside 'conv3'"),
        (["-o", "fig.svg", "--layer", "cnv3"], "did you mean 'conv3'"),
        (["-o", "fig.svg", "--axis", "9"], "--axis '9' is no axis of an input of 3 axes"),
        (["-o", "fig.svg", "--input", "1x1x4"], "does not fit"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    error = run(CHAIN, *args, code=2)
    assert error.startswith("error: ")
    assert said in error
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    error = run(CHAIN, "-o", str(tmp_path / "fig.svg"), code=2)
    assert error == (
        "error: 'matplotlib' is not installed; install it with pip install 'fieldwise[plot]'.\n"
    )
