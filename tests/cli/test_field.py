"""``fieldwise field`` through the real command line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fieldwise import __version__
from fieldwise.cli import app

ROOT = Path(__file__).parents[2]
CHAIN = "layers:conv3 conv3/2 maxpool2"


def run(*args, code=0):
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code == 0 else result.stderr


def layers(*args):
    document = json.loads(run("field", *args, "--format", "json"))
    return {layer["name"]: layer for layer in document["layers"]}


def process(*args, **options):
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, "-m", "fieldwise", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        **options,
    )


@pytest.mark.parametrize(
    ("text", "last", "extent"),
    [
        ("conv3 conv1", "conv1", 3),
        ("conv3 conv3", "conv3#2", 5),
        ("conv3/2 conv3", "conv3", 7),
        ("conv3d4", "conv3d4", 9),
        ("conv3/2p1 tconv3/2p1o1", "tconv3/2p1o1", 5),
    ],
)
def test_pen_and_paper_chains_have_their_known_extents(text, last, extent):
    assert layers(f"layers:{text}")[last]["extent"] == [extent]


def test_json_names_the_model_and_its_input():
    document = json.loads(run("field", CHAIN, "--input", "1x1x32x40", "--format", "json"))
    assert document["model"] == CHAIN
    assert document["input"] == {"shape": [1, 1, 32, 40]}
    last = document["layers"][-1]
    assert (last["name"], last["extent"], last["stride"]) == ("maxpool2", [7, 7], [4, 4])


def test_the_table_shows_one_line_per_layer():
    title, _, *body = run("field", CHAIN).splitlines()
    assert title.startswith(f"{CHAIN}, input 1x1x")
    assert [line.split()[0] for line in body if line] == ["conv3", "conv3/2", "maxpool2"]


def test_csv_has_one_line_per_layer():
    rows = list(csv.DictReader(run("field", CHAIN, "--format", "csv").splitlines()))
    assert [row["extent_2"] for row in rows] == ["3", "5", "7"]


def test_layers_are_selected_by_globs_in_execution_order():
    assert list(layers(CHAIN, "--layer", "max*", "--layer", "conv3")) == ["conv3", "maxpool2"]


def test_a_unit_shows_its_clipped_region():
    found = layers("layers:conv3p1 conv3p1", "--input", "1x1x8x8", "--unit", "0,4")
    assert found["conv3p1#2"]["region"] == {
        "lo": [0, 2],
        "hi": [2, 6],
        "count": 15,
        "products": [[[0, 2, 3], [2, 6, 5]]],
    }


def test_a_unit_that_only_some_maps_have_is_left_out_of_the_others():
    found = layers("layers:conv3 maxpool2/4", "--input", "1x1x16", "--unit", "9")
    assert found["conv3"]["region"]["lo"] == [9]
    assert found["maxpool2/4"]["region"] is None


def test_fields_can_be_asked_with_respect_to_a_layer():
    assert layers("layers:conv5 conv3", "--wrt", "conv5")["conv3"]["extent"] == [3]


@pytest.mark.parametrize("axes", ["3", "-1", "W", "w"])
def test_one_axis_can_be_asked_for(axes):
    assert layers("layers:conv3x5", "--axes", axes)["conv3x5"]["extent"] == [5]


@pytest.mark.parametrize("axes", [["H,W"], ["2,-1"], ["W", "--axes", "H"], ["h,3"]])
def test_several_axes_are_letters_or_numbers(axes):
    assert layers("layers:conv3x5", "--axes", *axes)["conv3x5"]["extent"] == [3, 5]


def test_axes_are_those_of_the_value_whose_samples_are_counted():
    found = layers("layers:conv3x5 conv3x5", "--wrt", "conv3x5", "--axes", "W")
    assert found["conv3x5#2"]["extent"] == [5]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["field", CHAIN, "--format", "xml"], "'xml' is not one of 'table', 'json', 'csv'"),
        (["fold", CHAIN, "--format", "csv"], "'csv' is not one of 'table', 'json'"),
        (["shift", CHAIN, "--repair", "all"], "'all' is not one of 'circular', 'antialias', "),
        (["tile", CHAIN, "--engine", "both"], "'both' is not one of 'stream', 'halo'"),
    ],
)
def test_a_choice_that_there_is_not_is_told_the_others_without_jargon(args, said):
    error = run(*args, code=2)
    assert said in error
    assert "Value error" not in error


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["fold", CHAIN, "--check", "x"], "'x' is no whole number from 0 to 1000."),
        (["fold", CHAIN, "--check", "-3"], "'-3' is no whole number from 0 to 1000."),
        (["diagram", CHAIN, "-o", "x.svg", "--unit", "1.5"], "'1.5' is no whole number."),
        (["tile", CHAIN, "a", "b", "--band", "0"], "'0' is no whole number of 1 or more."),
        (["tile", CHAIN, "a", "b", "--piece", "1e9"], "'1e9' is no whole number of 1 or more."),
        (["tile", CHAIN, "a", "b", "--tile", ""], "'' is no whole number of 1 or more."),
    ],
)
def test_a_number_that_is_none_is_told_the_bounds_in_our_words(args, said):
    error = run(*args, code=2)
    assert f"Invalid value for '{args[-2]}': {said}" in error
    assert "Input should" not in error


def test_the_version_is_shown():
    assert run("--version") == f"fieldwise {__version__}\n"


# -------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["resnet50"], "Unknown model 'resnet50'; write torchvision:resnet50"),
        (["layers:conv3 rleu"], "Unknown layer 'rleu'; did you mean 'relu'?"),
        (["layers:conv9", "--input", "1x1x4"], "Layer 'conv9' does not fit: 9 samples wide"),
        ([CHAIN, "--input", "huge"], "Cannot read the input shape 'huge'"),
        ([CHAIN, "--layer", "maxpol2"], "maxpool2"),
        ([CHAIN, "--layer", "nothing*"], "nothing*"),
        ([CHAIN, "--wrt", "con3"], "conv3"),
        ([CHAIN, "--unit", "two"], "--unit 'two' is not a list of integers; write for example"),
        ([CHAIN, "--unit", "1000"], "1000"),
        ([CHAIN, "--unit=-1"], "-1"),
        ([CHAIN, "--unit", "1,2"], "1"),
        ([CHAIN, "--layer", "conv3", "--unit", "999"], "999"),
        ([CHAIN, "--axes", "7"], "--axes '7' is no axis of an input of 3 axes (1x1x"),
        ([CHAIN, "--axes", "H"], "write one of W, T, 0, 1, 2"),
        ([CHAIN, "--method", "nan", "--wrt", "conv3"], "--method nan measures fields in the input"),
        (["model.onnx"], "There is no file 'model.onnx'; check the path."),
        (["model.pth"], "There is no file 'model.pth'; check the path."),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence_with_exit_code_2(args, said):
    error = run("field", *args, code=2)
    assert error.startswith("error: ")
    assert said in error
    assert "Traceback" not in error


def test_an_unknown_option_is_a_usage_error():
    assert "--fromat" in run("field", CHAIN, "--fromat", "json", code=2)


def test_a_traceback_is_shown_with_debug_only():
    error = run("field", "resnet50", "--debug", code=2)
    assert error.startswith("Traceback")
    assert error.endswith("FILE.pt2.\n")


# -------------------------------------------------------------------- as a process


def test_help_is_quick_and_loads_no_framework():
    code = (
        "import sys, fieldwise.cli.app\n"
        "assert not {'torch', 'numpy', 'onnx'} & set(sys.modules), 'a framework was imported'"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_layer_lists_need_no_torch():
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "sys.argv = ['fieldwise', 'field', 'layers:conv3 relu conv3/2']\n"
        "from fieldwise.cli import main\n"
        "main()"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert "conv3/2" in result.stdout


def test_an_error_goes_to_stderr_and_leaves_stdout_empty():
    child = process("field", "nonsense")
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (2, "")
    assert err.startswith("error: Unknown model 'nonsense'")


def test_a_closed_pipe_is_quiet():
    child = process("field", "layers:" + "conv3 " * 2000, "--format", "csv")
    child.stdout.close()
    child.stdout = None
    _, err = child.communicate(timeout=60)
    assert err == ""


def test_an_interrupt_ends_with_130_and_no_traceback(tmp_path):
    (tmp_path / "slow_net.py").write_text(
        "import time\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    child = process(
        "field", "slow_net:build", "--input", "1x3x8x8", cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as in a terminal
    )  # fmt: skip
    assert child.stderr.readline() == "ready\n"
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, "Interrupted.\n")
