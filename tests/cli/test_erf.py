"""``fieldwise erf``: what is printed, drawn and written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fieldwise.cli import app
from fieldwise.views.plot_effective import effective_figure

LAYERS = ("layers:conv3p1 conv3p1/2", "--input", "1x1x32x32")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def erf(*arguments):
    return CliRunner().invoke(app, ["erf", *arguments])


def test_the_table_says_what_was_measured_and_that_weights_are_random():
    """A title, the mean, both sides, a row per share; the warning goes to stderr."""
    result = erf(*LAYERS, "--noise", "3")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "output position 8,8" in lines[0]
    assert lines[1] == "mean over 3 inputs (noise with seed 0), protocol luo"
    assert lines[3].startswith("effective side ")
    assert [line.split()[0] for line in lines[-4:]] == ["20%", "30%", "50%", "99%"]
    assert "has random weights; --weights FILE loads trained ones" in result.stderr


def test_the_data_hold_the_same_numbers():
    """And the theoretical side, that of a field of 5 × 5."""
    result = erf(*LAYERS, "--noise", "2", "--format", "json", "--unit", "3,4")
    found = json.loads(result.stdout)
    assert found["unit"] == [3, 4]
    assert found["theoretical_side"] == 5
    assert found["centre"] == [6, 8]
    assert found["outside"] == 0


def test_weights_are_loaded(tmp_path):
    """Then nothing is said of random ones, and a result depends on them."""
    from safetensors.torch import save_file

    from fieldwise.capture import load_model

    model = load_model(LAYERS[0], "1x1x32x32").runnable().module
    state = {name: tensor * 0 + 0.25 for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    result = erf(*LAYERS, "--noise", "1", "--weights", "w.safetensors", "-o", "erf.npz")
    assert result.exit_code == 0, result.output
    assert "random" not in result.stderr
    mean = np.load("erf.npz")["mean"]
    assert mean[16, 16] / mean[14, 16] == pytest.approx(3)


def test_a_result_is_gone_on_with_or_made_anew():
    """Another seed is another run; --overwrite begins again."""
    assert erf(*LAYERS, "--noise", "2", "-o", "erf.npz", "--random-weights").exit_code == 0
    assert int(np.load("erf.npz")["count"]) == 2
    assert erf(*LAYERS, "--noise", "5", "-o", "erf.npz", "--random-weights").exit_code == 0
    assert int(np.load("erf.npz")["count"]) == 5
    refused = erf(*LAYERS, "--noise", "2", "--seed", "1", "-o", "erf.npz", "--random-weights")
    assert refused.exit_code == 2
    assert "erf.npz is of another run" in refused.stderr
    again = erf(
        *LAYERS, "--noise", "2", "--seed", "1", "-o", "erf.npz", "--random-weights", "--overwrite"
    )
    assert again.exit_code == 0, again.output
    assert int(np.load("erf.npz")["count"]) == 2


def test_several_models_stand_in_one_picture():
    """One heat map each, outlined by the theoretical field."""
    other = "layers:conv5p2 conv5p2"
    result = erf(
        LAYERS[0], other, *LAYERS[1:], "--noise", "1", "--plot", "erf.svg", "--random-weights"
    )
    assert result.exit_code == 0, result.output
    picture = Path("erf.svg").read_text(encoding="utf-8")
    assert picture.count('id="theoretical-field"') == 2
    assert picture.count('id="half"') == 2


def test_a_map_over_one_axis_is_a_line():
    """With its standard error, between the ends of the theoretical field."""
    from fieldwise import effective_field
    from fieldwise.capture import load_model

    model = load_model("layers:conv3p1 conv3p1", "1x1x32").runnable().module
    figure = effective_figure(effective_field(model, (1, 1, 32), noise=3))
    drawn = figure.axes[0]
    assert [line.get_gid() for line in drawn.lines] == [
        "contributions", "theoretical-field", "theoretical-field",
    ]  # fmt: skip
    ends = [line.get_xdata()[0] for line in drawn.lines[1:]]
    assert ends == [12.5, 17.5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*LAYERS, "--images", "gone"), "There is no folder 'gone'"),
        ((*LAYERS, "--images", ".", "--noise", "1"), "--images and --noise"),
        ((*LAYERS, "--noise", "1", "-o", "erf.txt"), "is written as .npz"),
        ((*LAYERS, "--noise", "1", "-o", "gone/erf.npz"), "There is no folder gone; make it first"),
        ((LAYERS[0], *LAYERS, "--noise", "1", "-o", "erf.npz"), "name one MODEL"),
        ((*LAYERS, "--noise", "1", "--plot", "erf.txt"), "a picture is written as"),
        ((*LAYERS, "--noise", "1", "--layer", "nothing"), "No value or module is called 'nothing'"),
        ((*LAYERS, "--noise", "1", "--unit", "99,0"), "outside"),
        ((*LAYERS, "--noise", "1", "--mean", "0.5"), "--mean and --std belong together"),
        ((*LAYERS, "--noise", "1", "--mean", "x", "--std", "1"), "is no list of numbers"),
        ((*LAYERS, "--noise", "1", "--mean", "0,0", "--std", "1"), "one number per channel"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence(arguments, said):
    """On stderr, with exit code 2."""
    result = erf(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
