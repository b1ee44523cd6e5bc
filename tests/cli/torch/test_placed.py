"""Every command that runs a model runs it where, and in what, it is told to."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import fieldwise
from fieldwise.capture.torch import devices
from fieldwise.cli import app
from fieldwise.errors import UsageError

NETS = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3)
    return nn.Sequential(*layers).eval()

def line():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 8, 3), nn.ReLU(), nn.Conv1d(8, 2, 3)).eval()
"""
NET, LINE = ("placed_nets:net", "--input", "1x3x16x16"), ("placed_nets:line", "--input", "1x2x64")
EMITTED = ("stream", *LINE, "--emit", "now.pt2", "--chunk", "4", "--random-weights")
RUNS = {
    "field": ("field", *NET, "--method", "nan", "--layer", "3"),
    "erf": ("erf", *NET, "--random-weights", "--noise", "2"),
    "fold": ("fold", *NET, "--no-time"),
    "shift": ("shift", *NET, "--measure"),
    "stream": EMITTED,
}


@pytest.fixture(autouse=True)
def nets(tmp_path, monkeypatch):
    (tmp_path / "placed_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "placed_nets", raising=False)


def run(*args, code=0):
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code == 0 else result.stderr


def net():
    import placed_nets  # type: ignore[import-not-found]

    return placed_nets.net()


@pytest.mark.parametrize("name", RUNS)
def test_every_command_that_runs_a_model_asks_for_its_device(name, monkeypatch):
    asked, find = [], devices.find_device
    monkeypatch.setattr(devices, "find_device", lambda device: asked.append(device) or find(device))
    run(*RUNS[name], "--device", "cpu")
    assert asked == ["cpu"]
    assert "The meta device holds no values" in run(*RUNS[name], "--device", "meta", code=2)


@pytest.mark.parametrize("how", [("--dtype", "float64"), ("--autocast", "bfloat16")])
def test_effective_fields_are_those_of_the_model_in_that_type(how):
    run(*RUNS["erf"], "--out", "map.npz", *how)
    found = np.load("map.npz")["mean"]
    model, x = net(), torch.zeros(1, 3, 16, 16)
    plain = fieldwise.effective_field(model, x, noise=2).map
    if how[0] == "--dtype":
        wanted = fieldwise.effective_field(model.double(), x.double(), noise=2).map
    else:
        with torch.autocast("cpu", torch.bfloat16):
            wanted = fieldwise.effective_field(model, x, noise=2).map
    np.testing.assert_array_equal(found, wanted)
    assert not np.array_equal(wanted, plain)


@pytest.mark.parametrize("how", [("--dtype", "float64"), ("--autocast", "bfloat16"), ()])
def test_an_effective_field_goes_on_in_the_type_that_it_was_begun_in(how):
    started = (*RUNS["erf"], "--out", "map.npz")
    run(*started, *how)
    run(*started, *how)
    other = () if how else ("--autocast", "bfloat16")
    assert "map.npz" in run(*started, *other, code=2)


def test_workers_of_a_cluster_run_under_no_autocast():
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(UsageError, match="do not run under the autocast of this process"),
    ):
        fieldwise.effective_field(net(), (1, 3, 16, 16), noise=2, client=object())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_a_model_is_folded_in_the_type_that_it_is_cast_to(dtype):
    run(*RUNS["fold"], "--dtype", dtype, "--random-weights", "--out", "net.safetensors")
    wanted = fieldwise.fold(net().to(getattr(torch, dtype)), (1, 3, 16, 16)).model.state_dict()
    found = load_file("net.safetensors")
    assert {tensor.dtype for tensor in found.values()} == {getattr(torch, dtype)}
    assert all(torch.equal(found[name], wanted[name]) for name in ("0.weight", "0.bias"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_a_stream_is_emitted_in_the_type_that_the_model_is_cast_to(dtype):
    run(*EMITTED, "--dtype", dtype)
    program = torch.export.load("now.pt2").module()
    said = json.loads(Path("now.json").read_text(encoding="utf-8"))
    assert {said["dtype"], *(state["dtype"] for state in said["states"])} == {dtype}
    assert {value.dtype for value in program.parameters()} | {
        value.dtype for value in program.buffers() if value.is_floating_point()
    } <= {getattr(torch, dtype)}


def test_a_stream_is_emitted_under_autocast():
    said = run(*EMITTED, "--autocast", "bfloat16")
    assert "'output' is bit-identical" in said
    text = torch.export.load("now.pt2").graph_module.print_readable(print_output=False)
    assert "bfloat16" in text


def test_nan_passes_through_a_model_in_any_type():
    plain = run(*RUNS["field"])
    assert run(*RUNS["field"], "--dtype", "float64") == plain


@pytest.mark.parametrize(
    "given", [("--device", "cpu"), ("--dtype", "float64"), ("--autocast", "float16")]
)
def test_a_closed_form_runs_no_model(given):
    assert "say how --method nan runs the model; omit them" in run("field", *NET, *given, code=2)


@pytest.mark.parametrize("name", ["field", "erf", "stream", "tile"])
def test_two_types_of_half_precision_are_refused(name):
    np.save("in.npy", np.zeros((3, 16, 16), np.float32))
    arguments = {**RUNS, "tile": ("tile", NET[0], "in.npy", "out.npy", "--random-weights")}[name]
    said = run(*arguments, "--dtype", "float16", "--autocast", "bfloat16", code=2)
    assert said.endswith(
        "error: --dtype float16 and --autocast bfloat16 mix two types of half precision, which "
        "torch refuses; give one.\n"
    )
