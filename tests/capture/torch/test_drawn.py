"""Which weights are random numbers: those that come out otherwise when the model is made again."""

from __future__ import annotations

import sys

import pytest
import torch

from fieldwise.capture import load_model

NETS = """
import torch
from torch import nn

made = 0
FILE = "trained.pt"

def fresh():
    global made
    made += 1
    return nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2))

def trained():
    model = fresh()
    model.load_state_dict(torch.load(FILE))
    return model

def copied():
    model, state = fresh(), torch.load(FILE)
    for name, parameter in model.named_parameters():
        parameter.data = state[name]
    return model

def with_a_new_head():
    return nn.Sequential(trained(), nn.Conv1d(2, 1, 1))

def seeded():
    torch.manual_seed(5)
    return fresh()

ready = fresh()
"""


@pytest.fixture(autouse=True)
def _nets(tmp_path, monkeypatch):
    (tmp_path / "drawn_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "drawn_nets", raising=False)
    model = torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.BatchNorm1d(2))
    torch.save(model.state_dict(), "trained.pt")


@pytest.mark.parametrize(
    ("net", "drawn"),
    [
        ("fresh", ("0.weight", "0.bias")),
        ("trained", ()),
        ("copied", ()),
        ("with_a_new_head", ("1.weight", "1.bias")),
        ("seeded", ()),
        ("ready", ()),
    ],
)
def test_of_the_users_code_those_that_differ_when_it_is_called_again_are_drawn(net, drawn):
    assert load_model(f"drawn_nets:{net}", "1x1x8").drawn() == drawn


def test_asking_leaves_the_generators_as_they_were():
    model = load_model("drawn_nets:fresh", "1x1x8")
    before = torch.get_rng_state()
    model.drawn()
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_that_are_given_are_not_drawn(tmp_path):
    model = load_model("drawn_nets:fresh", "1x1x8").given(tmp_path / "trained.pt")
    assert model.drawn() == ()


def test_layer_lists_and_models_of_zoos_are_drawn_and_files_are_not(tmp_path):
    model = load_model("layers:conv3 bn", "1x1x8").runnable()
    assert len(model.drawn()) == 4
    assert len(load_model("torchvision:squeezenet1_1", "1x3x64x64").drawn()) == 52
    program = torch.export.export(model.module, model.example())
    torch.export.save(program, tmp_path / "net.pt2")
    assert load_model("net.pt2").drawn() == ()
