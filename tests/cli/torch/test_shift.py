"""``fieldwise shift``: certificates, measurements, repairs and their exit codes."""

from __future__ import annotations

import json
import sys

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from fieldwise.cli import app

NETS = """
import torch
from torch import nn

def padded():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())

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
    text = run("layers:conv3/2p1 conv3p1", "--input", "1x1x64x64", "--axis", "w")
    row = next(line for line in text.splitlines() if line.startswith("output"))
    assert row.split()[1:3] == ["W", "broken"]
    assert "2–30 of 32" in row
    assert "zero padding" in row


def test_with_periodic_boundaries_the_same_layers_hold_and_the_measurement_agrees():
    text = run(
        "layers:conv3/2p1 conv3p1", "--input", "1x1x16x16", "--padding", "circular", "--measure"
    )
    assert text.count("every 2: moves by 1") == 2
    assert "if the size of the axis is a multiple of 2" in text
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("output")][2:] == [
        "holds",
        "holds",
    ]


def test_json_holds_both_theorems_the_layers_and_the_measurement():
    found = json.loads(
        run("shift_nets:padded", *SHAPE, "--layer", "0", "--measure", "--format", "json")
    )
    assert found["input"] == {"shape": [1, 3, 8, 8]}
    (output,) = found["outputs"]
    assert [axis["axis"] for axis in output["axes"]] == [2, 3]
    first = output["axes"][0]
    assert first["circular"]["holds"] is False
    assert first["interior"]["empty"] is False
    assert first["broken_by"][0]["module"] == "0"
    assert first["broken_by"][0]["why"] == "zero padding"
    assert [layer["value"] for layer in found["layers"]] == ["0"]
    assert {measured["verdict"] for measured in found["measured"]} == {"broken"}
    assert found["repair"] is None


def test_a_repaired_copy_is_measured_and_written(tmp_path):
    text = run("shift_nets:padded", *SHAPE, "--repair", "circular", "-o", "periodic")
    assert "0: conv2d: zero padding" in text
    assert "repaired: error" in text
    assert set(load_file(tmp_path / "periodic.safetensors")) == {"0.weight", "0.bias"}
    again = run("periodic.pt2", *SHAPE)
    assert again.count("every 2: moves by 1") == 2


def test_a_repair_that_cannot_succeed_ends_with_exit_code_1_and_writes_nothing(tmp_path):
    text = run("shift_nets:flattened", *SHAPE, "--repair", "circular", "-o", "flattened", code=1)
    assert "NOT repaired" in text
    assert not list(tmp_path.glob("flattened.*"))


def test_an_axis_that_the_input_lacks_is_a_usage_error():
    said = run("shift_nets:padded", *SHAPE, "--axis", "D", code=2)
    assert said == (
        "error: --axis 'D' is not an axis of an input of rank 4; write one of W, H, 0, 1, 2, 3.\n"
    )


def test_an_output_file_needs_a_repair():
    assert "say how with --repair" in run("shift_nets:padded", *SHAPE, "-o", "x", code=2)
