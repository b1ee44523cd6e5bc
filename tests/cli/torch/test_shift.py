"""``fieldwise shift``: certificates, measurements, repairs and their exit codes."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from fieldwise.cli import app

NETS = """
import torch
from torch import nn

def padded():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())

def volume():
    return nn.Sequential(nn.Conv3d(1, 2, 3, stride=2, padding=1), nn.ReLU())

def waveform():
    return nn.Sequential(nn.Conv1d(1, 2, 9, stride=4, padding=4))

def valid():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())

def strided():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    return nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1))

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.mask = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, image, mask):
        return {"sum": self.image(image) + self.mask(mask), "mask": self.mask(mask)}

class Unknown(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)

def unknown():
    return nn.Sequential(Unknown())

def flattened():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 2))
"""
SHAPE = ("--input", "1x3x8x8")


@pytest.fixture(autouse=True)
def _nets(tmp_path, monkeypatch):
    (tmp_path / "shift_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "shift_nets", raising=False)


def run(*args, code=0):
    result = CliRunner().invoke(app, ["shift", *args])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code != 2 else result.stderr


def test_zero_padding_is_named_with_the_columns_that_it_cannot_reach():
    text = run("layers:conv3/2p1 conv3p1", "--input", "1x1x64x64", "--axes", "w")
    row = next(line for line in text.splitlines() if line.startswith("output"))
    assert row.split()[1:3] == ["W", "broken"]
    assert "2..30 of 32" in row
    assert "zero padding" in row


def test_with_periodic_boundaries_the_same_layers_hold_and_the_measurement_agrees():
    text = run(
        "layers:conv3/2p1 conv3p1", "--input", "1x1x16x16", "--padding", "circular", "--measure"
    )
    assert text.count("a shift by 2 moves it by 1") == 2
    assert "if the size of the axis is a multiple of 2" in text
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("output")][2:] == [
        "holds",
        "holds",
    ]


def test_json_holds_both_theorems_the_layers_and_the_measurement():
    found = json.loads(
        run("shift_nets:padded", *SHAPE, "--layer", "0", "--measure", "--format", "json")
    )
    assert found["input"] == {"name": "input", "shape": [1, 3, 8, 8]}
    assert found["contradictions"] == []
    output, layer = found["outputs"]
    assert (output["output"], layer["output"], layer["value"]) == (True, False, "0")
    assert [axis["axis"] for axis in output["axes"]] == [2, 3]
    first = output["axes"][0]
    assert first["circular"]["holds"] is False
    assert first["interior"]["empty"] is False
    assert first["broken_by"][0]["module"] == "0"
    assert first["broken_by"][0]["why"] == "zero padding"
    assert {measured["verdict"] for measured in found["measured"]} == {"broken"}
    assert found["repair"] is None


def test_the_positions_out_of_reach_stand_beside_those_that_a_shift_carries():
    text = run("layers:conv3/2p1 conv3p1", "--input", "1x1x64x64", "--axes", "w")
    row = next(line for line in text.splitlines() if line.startswith("output"))
    assert "positions 2..30 of 32  " in row
    assert "2..29" in row
    assert (
        "to repair 'zero padding': pad circularly: fieldwise.shift.circular, or --repair circular"
        in text
    )
    (axis,) = json.loads(
        run("layers:conv3/2p1 conv3p1", "--input", "1x1x64x64", "--axes", "3", "--format", "json")
    )["outputs"][0]["axes"]
    assert axis["interior"] == {
        "range": [2, 30], "empty": False, "carried": [2, 29], "period": 2, "step": 1,
    }  # fmt: skip
    assert set(axis) == {"axis", "size", "circular", "interior", "broken_by"}
    assert set(axis["circular"]) == {"holds", "period", "step", "conditions", "undecided"}
    assert set(axis["broken_by"][0]) == {"node", "module", "why", "remedy", "known"}


def test_what_nobody_described_is_undecided_not_broken():
    text = run("shift_nets:unknown", *SHAPE, "--axes", "W")
    assert "undecided" in text
    assert "broken  " not in text


@pytest.mark.parametrize(
    ("net", "shape", "axis", "row"),
    [
        ("volume", "1x1x8x8x8", "t", "output  D "),
        ("volume", "1x1x8x8x8", "D", "output  D "),
        ("volume", "1x1x8x8x8", "4", "output  W "),
        ("waveform", "1x1x64", "T", "output  W "),
    ],
)
def test_axes_have_names_by_the_rank_of_the_input(net, shape, axis, row):
    text = run(f"shift_nets:{net}", "--input", shape, "--axes", axis)
    assert next(line for line in text.splitlines() if line.startswith("output")).startswith(row)


def test_of_several_inputs_one_is_shifted_and_named():
    shapes = ("--input", "1x3x8x8,1x1x8x8", "--axes", "W")
    first = run("shift_nets:Two", *shapes)
    assert "shifted: input0" in first
    assert "mask  " not in first
    second = json.loads(run("shift_nets:Two", *shapes, "--wrt", "input1", "--format", "json"))
    assert second["input"] == {"name": "input1", "shape": [1, 1, 8, 8]}
    assert [output["name"] for output in second["outputs"]] == ["sum", "mask"]
    said = run("shift_nets:Two", *shapes, "--wrt", "mask", code=2)
    assert said == (
        "error: --wrt 'mask' is no input; the inputs are input0 (1x3x8x8), input1 (1x1x8x8).\n"
    )


def test_several_inputs_are_repaired_and_measured_together():
    text = run("shift_nets:Two", "--input", "1x3x8x8,1x1x8x8", "--repair", "circular", "--measure")
    assert "repaired: error" in text
    measured = text[text.index("measured") : text.index("image: conv2d")].splitlines()[1:]
    assert [line.split()[-1] for line in measured] == ["holds"] * 4


def test_errors_of_layers_are_measured_beside_those_of_outputs():
    text = run("shift_nets:padded", *SHAPE, "--measure", "--layer", "0", "--axes", "H")
    measured = text[text.index("measured") :].splitlines()[1:]
    assert [line.split()[0] for line in measured] == ["output", "0"]
    assert all(line.split()[-1] == "broken" for line in measured)


def test_an_exported_program_is_not_repaired_but_says_what_to_repair():
    run("shift_nets:padded", *SHAPE, "--repair", "circular", "-o", "again", "--random-weights")
    said = run("again.pt2", "--repair", "circular", code=2)
    assert "calls are recorded already; repair the model that it was made from" in said


def test_a_repair_that_fails_says_what_is_in_the_way():
    text = run("shift_nets:valid", *SHAPE, "--repair", "circular", "--axes", "W", code=1)
    assert "nothing to change was found" in text
    assert (
        "in the way: 0 breaks axis 3: a valid convolution shortens the axis "
        "(pad it, or repair with valid='wrap')" in text
    )
    assert "repaired: error" in run(
        "shift_nets:valid", *SHAPE, "--repair", "circular", "--wrap-valid"
    )


@pytest.mark.parametrize("repair", ["antialias", "polyphase"])
def test_repaired_strides_are_written_and_read_again(repair, tmp_path):
    text = run("shift_nets:strided", *SHAPE, "--repair", repair, "-o", "out", "--random-weights")
    assert "\nrepaired: " in text
    assert set(load_file(tmp_path / "out.safetensors")) == {"0.weight", "0.bias"}
    x = torch.randn(1, 3, 8, 8)
    program = torch.export.load(tmp_path / "out.pt2").module()
    periodic = torch.allclose(program(x), program(x.roll((3, 1), (2, 3))), atol=1e-6)
    assert periodic == (repair == "polyphase")


def test_a_proof_that_a_measurement_contradicts_is_told_with_exit_code_1(monkeypatch):
    monkeypatch.setattr("fieldwise.shift.measurement.moved.TOLERANCE", -1.0)
    result = CliRunner().invoke(
        app, ["shift", "shift_nets:strided", *SHAPE, "--padding", "circular", "--measure"]
    )
    assert result.exit_code == 1
    assert "contradiction: 'output' is proven to hold every 2 along axis 2" in result.stderr
    assert "please report the model" in result.stderr


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--wrap-valid",), "add --padding circular, --repair circular or"),
        (("--repair", "circular", "--padding", "circular"), "omit --padding"),
        (("--layer", "nowhere"), "nowhere"),
        (("--measure", "--layer", "0/*"), "0/"),
        (("--axes", "1"), "no spatial axis"),
    ],
)
def test_odd_options_are_refused_with_the_remedy(options, why):
    assert why in run("shift_nets:padded", *SHAPE, *options, code=2)


def test_a_repaired_copy_is_measured_and_written(tmp_path):
    text = run(
        "shift_nets:padded", *SHAPE, "--repair", "circular", "-o", "periodic", "--random-weights"
    )
    assert "0: conv2d: zero padding" in text
    assert "repaired: error" in text
    wrote = [line.split(", ")[0] for line in text.splitlines() if line.startswith("wrote")]
    assert wrote == ["wrote periodic.safetensors", "wrote periodic.pt2"]
    assert set(load_file(tmp_path / "periodic.safetensors")) == {"0.weight", "0.bias"}
    again = run("periodic.pt2", *SHAPE)
    assert again.count("a shift by 2 moves it by 1") == 2


def test_a_repair_that_cannot_succeed_ends_with_exit_code_1_and_writes_nothing(tmp_path):
    text = run(
        "shift_nets:flattened",
        *SHAPE,
        "--repair",
        "circular",
        "-o",
        "flattened",
        "--random-weights",
        code=1,
    )
    assert "NOT repaired" in text
    assert not list(tmp_path.glob("flattened.*"))


def test_an_axis_that_the_input_lacks_is_a_usage_error():
    said = run("shift_nets:padded", *SHAPE, "--axes", "D", code=2)
    assert said == (
        "error: --axes 'D' is no spatial axis of an input of 4 axes (1x3x8x8); "
        "write one of H, W, 2, 3.\n"
    )


@pytest.mark.parametrize(
    "axes", [("--axes", "H,W"), ("--axes", "-2,3"), ("--axis", "H", "--axis", "w")]
)
def test_axes_are_letters_or_numbers_and_the_older_option_is_understood(axes):
    found = json.loads(run("shift_nets:padded", *SHAPE, *axes, "--format", "json"))
    assert [axis["axis"] for axis in found["outputs"][0]["axes"]] == [2, 3]


def test_an_output_file_needs_a_repair():
    assert "say how with --repair" in run("shift_nets:padded", *SHAPE, "-o", "x", code=2)
