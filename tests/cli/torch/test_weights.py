"""``--weights`` and ``--random-weights`` on every command: what is loaded, said and refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from fieldwise.cli import app

NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2))
"""
MODEL = ("weighted_nets.py:make", "--input", "1x1x16x16")
TILE = ("tile", MODEL[0], "in.npy", "out.npy")
SAID = "note: weights of 'w.ckpt': 7 entries, under 'state_dict'; without the prefix 'module.'\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "weighted_nets", raising=False)
    Path("weighted_nets.py").write_text(NET)
    np.save("in.npy", np.random.default_rng(0).random((1, 16, 16), "float32"))
    torch.manual_seed(4)
    state = trained().state_dict()
    torch.save({"state_dict": {f"module.{name}": one for name, one in state.items()}}, "w.ckpt")


def trained():
    torch.manual_seed(4)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)).eval()
    model[1].running_var.fill_(2)
    return model


def run(*args, code=0):
    result = CliRunner().invoke(app, [*map(str, args)])
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.mark.parametrize(
    "command",
    [
        ("field", *MODEL),
        ("fold", *MODEL),
        ("shift", *MODEL, "--measure"),
        ("stream", *MODEL),
        ("erf", *MODEL, "--noise", 1),
        ("view", *MODEL),
        TILE,
    ],
    ids=lambda command: command[0],
)
def test_every_command_that_computes_with_values_takes_weights(command):
    assert SAID in run(*command, "--weights", "w.ckpt").stderr
    refused = run(*command, "--weights", "gone.pt", code=2).stderr
    assert refused == "error: There is no file 'gone.pt'; check the path.\n"


WRITING = {
    "fold": (("fold", *MODEL, "-o", "net"), "net"),
    "shift": (("shift", *MODEL, "--repair", "circular", "-o", "net"), "net"),
    "stream": (("stream", *MODEL, "--emit", "net.pt2", "--chunk", 4), "net.pt2"),
    "erf": (("erf", *MODEL, "--noise", 1, "-o", "net.npz"), "net.npz"),
    "erf, drawn": (("erf", *MODEL, "--noise", 1, "--plot", "net.svg"), "net.svg"),
    "tile": (TILE, "out.npy"),
}


@pytest.mark.parametrize(("command", "out"), WRITING.values(), ids=WRITING)
def test_what_weights_decide_is_not_written_with_random_ones(command, out):
    assert run(*command, code=2).stderr == (
        "error: 'weighted_nets.py:make' has random weights in 2 of 4 parameters, '0.weight' "
        f"first, and {out} would hold what they make; --weights FILE loads trained ones, and "
        "--random-weights writes it nevertheless.\n"
    )
    assert not [*Path().glob("net*"), *Path().glob("out*")]
    assert "random weights" not in run(*command, "--random-weights").stderr
    assert [*Path().glob("net*"), *Path().glob("out*")]


@pytest.mark.parametrize("command", [("fold", *MODEL), ("erf", *MODEL, "--noise", 1)])
def test_where_nothing_is_written_random_weights_are_said(command):
    said = (
        "warning: 'weighted_nets.py:make' has random weights in 2 of 4 parameters, '0.weight' "
        "first; --weights FILE loads trained ones\n"
    )
    assert said in run(*command).stderr


@pytest.mark.parametrize("command", ["field", "shift", "stream", "summary", "view"])
def test_what_weights_do_not_decide_is_told_without_a_word_of_them(command):
    assert "random weights" not in run(command, *MODEL).stderr


def test_the_results_are_those_of_the_weights_that_are_given():
    run(*TILE, "--weights", "w.ckpt")
    x = torch.from_numpy(np.load("in.npy"))[None]
    with torch.no_grad():
        wanted = trained()(x)
    np.testing.assert_allclose(np.load("out.npy"), wanted[0], atol=1e-6)
    run("fold", *MODEL, "--weights", "w.ckpt", "-o", "folded")
    found = torch.export.load("folded.pt2").module()(x)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


def test_of_a_zoos_model_the_command_is_named_that_writes_trained_ones():
    said = run("fold", "timm:test_vit", "--input", "1x3x160x160", "-o", "net", code=2).stderr
    assert said.startswith("error: 'timm:test_vit' has random weights, and net would hold what")
    assert said.endswith(
        '\nWhere there is a network, this writes trained ones: python -c "import timm, '
        "safetensors.torch as st; st.save_model(timm.create_model('test_vit', pretrained=True), "
        "'test_vit.safetensors')\"\n"
    )
