"""``fieldwise field --plot``: which units are drawn, and what is refused."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from fieldwise.cli import app

NET = "layers:conv3d4p4 relu conv3d8p8"


def run(*args, code=0):
    result = CliRunner().invoke(app, ["field", NET, "--input", "1x1x40x30", *args])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code == 0 else result.stderr


@pytest.fixture
def titles(monkeypatch):
    """The titles of the panels that are drawn."""
    pytest.importorskip("matplotlib")
    from fieldwise.views import plot

    drawn, figure = [], plot.field_figure

    def noted(*panels, **options):
        drawn.extend(panel.title for panel in panels)
        return figure(*panels, **options)

    monkeypatch.setattr(plot, "field_figure", noted)
    return drawn


def test_the_last_layer_is_drawn_beside_the_table(tmp_path, titles):
    out = tmp_path / "field.svg"
    assert run("--unit", "6,20", "--plot", str(out)) == run("--unit", "6,20")
    assert titles == ["conv3d8p8, position 6,20"]
    assert 'id="input-border"' in out.read_text()


def test_without_a_unit_the_middle_one_is_drawn(tmp_path, titles):
    run("--plot", str(tmp_path / "field.png"))
    assert titles == ["conv3d8p8, position 20,15"]


def test_layers_that_are_asked_for_are_drawn_beside_each_other(tmp_path, titles):
    run("--layer", "conv*", "--unit", "1,2", "--plot", str(tmp_path / "field.pdf"))
    assert titles == ["conv3d4p4, position 1,2", "conv3d8p8, position 1,2"]


def test_a_layer_that_sees_the_whole_input_is_drawn_only_if_asked_for(tmp_path, titles):
    args = ["field", "layers:conv3 globalpool", "--plot", str(tmp_path / "field.svg")]
    for more in ([], ["--layer", "globalpool"]):
        assert CliRunner().invoke(app, [*args, *more]).exit_code == 0
    assert titles == ["conv3, position 4", "globalpool"]


def test_measured_fields_are_drawn_as_measured(tmp_path, titles):
    pytest.importorskip("torch")
    run("--method", "gradient", "--unit", "6,20", "--plot", str(tmp_path / "field.svg"))
    assert titles == ["conv3d8p8, position 6,20"]


@pytest.mark.parametrize(
    ("out", "said"),
    [("field.gif", "ends in '.gif'; a picture is written as"), ("no/field.svg", "no folder no;")],
)
def test_a_picture_that_cannot_be_written_is_refused_first(tmp_path, monkeypatch, out, said):
    monkeypatch.chdir(tmp_path)
    error = run("--plot", out, "--unit", "999,999", code=2)
    assert said in error
