"""``fieldwise field`` on torch models."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from fieldwise import receptive_fields
from fieldwise.cli import app

NETS = """
from torch import nn

class Raises(nn.Module):
    def forward(self, x):
        raise ArithmeticError("no such luck")

def plain():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, 2))

class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        y = self.conv(x)
        return y * y.mean((2, 3), keepdim=True)

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 2, 3), nn.Conv2d(1, 2, 5, padding=1)
    def forward(self, image, depth):
        return self.one(image) + self.two(depth)

class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.places, self.last = nn.Conv2d(3, 4, 3), Places(), nn.Conv2d(4, 2, 3)
    def forward(self, x):
        y = nn.functional.relu(self.conv(x))
        return nn.functional.relu(self.last(y)) + self.places(y)[:, None, 1:-1, 1:-1]

class Places(nn.Module):
    def forward(self, x):
        return x.argmax(1)

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.conv = nn.Embedding(9, 4), nn.Conv1d(4, 4, 3)
    def forward(self, x):
        return self.conv(self.embed(x).transpose(1, 2))

def rows():
    return nn.Sequential(nn.Conv1d(8, 8, 3, padding=1), nn.LayerNorm(6))

class Warp(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
    def forward(self, x):
        return nn.functional.grid_sample(x, self.conv(x).permute(0, 2, 3, 1))
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    (tmp_path / "cli_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "cli_nets", raising=False)


def run(*args, code=0):
    result = CliRunner().invoke(app, ["field", *args])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code == 0 else result.stderr


def fresh(name):
    import cli_nets  # type: ignore[import-not-found]

    return getattr(cli_nets, name)()


def layers(*args):
    document = json.loads(run(*args, "--format", "json"))
    return {layer["name"]: layer for layer in document["layers"]}


def test_vgg16_has_its_known_fields():
    found = layers("torchvision:vgg16", "--layer", "features.*")
    extents = {2: 5, 4: 6, 14: 40, 21: 92, 28: 196, 30: 212}
    assert {n: found[f"features.{n}"]["extent"][0] for n in extents} == extents
    assert found["features.30"]["stride"] == [32, 32]


def test_resnet50_has_its_known_field_under_the_name_of_its_stage():
    (last,) = layers("torchvision:resnet50", "--layer", "layer4").values()
    assert (last["extent"], last["stride"]) == ([427, 427], [32, 32])
    assert last["name"] == "layer4"
    assert "layer4.2.relu#3" in last["names"]


def test_what_makes_a_row_full_is_named_and_ignored_on_request(nets):
    *_, last = layers("cli_nets:Gate", "--input", "1x3x16x16", "--ignore-global").values()
    assert last["full"] == [True, True]
    assert "mean" in last["full_by"][0]
    assert last["local"]["extent"] == [3, 3]


def test_a_unit_whose_field_is_a_bound_ends_with_exit_code_1_and_the_reason(nets):
    args = ("cli_nets:Warp", "--input", "1x2x8x8", "--layer", "grid_sample*")
    told = run(*args, "--unit", "3,3", code=1)
    assert "is an upper bound: " in told
    assert run(*args)


@pytest.mark.parametrize("method", ["gradient", "nan"])
def test_probes_measure_what_the_closed_form_says(nets, method):
    args = ("cli_nets:plain", "--input", "1x3x16x16", "--layer", "2", "--unit", "3,3")
    measured = layers(*args, "--method", method)["2"]["region"]
    pulled = layers(*args)["2"]["region"]
    assert {key: measured[key] for key in pulled} == pulled
    assert measured["count"] == 25


def test_the_nan_probe_says_that_it_finds_a_box_only(nets):
    args = ("cli_nets:plain", "--input", "1x3x16x16", "--layer", "2", "--method", "nan")
    assert layers(*args)["2"]["region"]["exact"] is False


NAN = ("cli_nets:Functional", "--input", "1x3x12x12", "--method", "nan")


def test_the_table_by_nan_holds_what_a_run_shows_and_a_note_counts_the_rest(nets):
    result = CliRunner().invoke(app, ["field", *NAN, "--format", "json"])
    found = {layer["name"]: layer["region"] for layer in json.loads(result.stdout)["layers"]}
    names = {row.name for row in receptive_fields(fresh("Functional"), (1, 3, 12, 12))} - {"input"}
    assert set(found) == {"conv", "last", "add"}
    assert [found[name]["count"] for name in ("conv", "last", "add")] == [9, 25, 25]
    unread = len(names) - len(found) - 1
    assert result.stderr == (
        f"note: --method nan leaves out {unread} of {len(names)} values: a run of the model shows "
        f"only what modules return\n"
        f"note: --method nan leaves out 1 of {len(names)} values: no NaN gets into int64\n"
    )


@pytest.mark.parametrize(
    ("glob", "why"),
    [
        ("relu", "'relu': a run of the model shows only what modules return"),
        ("rel*", "'relu': a run of the model shows only what modules return"),
        ("places", "'places': no NaN gets into int64"),
    ],
)
def test_a_layer_that_nan_does_not_measure_is_refused_with_the_method_that_does(nets, glob, why):
    told = run(*NAN, "--layer", "conv", "--layer", glob, code=2)
    assert told == f"error: --method nan does not measure {why}; --method gradient does.\n"
    assert run(*NAN[:3], "--layer", glob, "--method", "gradient")


def test_whole_numbers_into_which_no_nan_gets_are_refused_before_anything_runs(nets):
    told = run("cli_nets:Tokens", "--input", "1x12", "--method", "nan", code=2)
    assert told == (
        "error: The input holds int64, which no NaN gets into; use --method gradient.\n"
    )


@pytest.mark.parametrize("axis", ["1", "2"])
def test_nan_is_put_along_the_axes_that_are_asked_about(nets, axis):
    args = ("cli_nets:rows", "--input", "1x8x6", "--axes", axis, "--layer", "0")
    measured = layers(*args, "--method", "nan")["0"]["region"]
    pulled = layers(*args, "--method", "gradient")["0"]["region"]
    assert {key: measured[key] for key in ("lo", "hi")} == {
        key: pulled[key] for key in ("lo", "hi")
    }


def test_the_gradient_probe_works_with_respect_to_a_layer(nets):
    args = ("cli_nets:plain", "--input", "1x3x16x16", "--wrt", "1", "--method", "gradient")
    assert layers(*args)["2"]["region"]["count"] == 9


def test_without_a_unit_a_probe_takes_the_middle_one():
    found = layers("layers:conv3 relu", "--input", "1x1x12", "--method", "gradient")
    assert (found["conv3"]["unit"], found["conv3"]["region"]["lo"]) == ([5], [5])


def test_an_exported_program_keeps_its_layer_names(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 16, 16),)), path)
    found = layers(str(path))
    assert {name: found[name]["extent"] for name in ("0", "2")} == {"0": [3, 3], "2": [5, 5]}


def test_a_model_that_raises_is_reported_in_a_sentence(nets):
    error = run("cli_nets:Raises", "--input", "1x3x16x16", code=2)
    assert error.startswith("error: ")
    assert "ArithmeticError: no such luck" in error
    assert "Traceback" not in error


def test_an_input_that_does_not_fit_the_model_is_reported_in_a_sentence():
    error = run("torchvision:squeezenet1_1", "--input", "1x4x64x64", code=2)
    assert "1x4x64x64" in error
    assert "Traceback" not in error


def test_a_model_whose_positions_lie_along_another_axis_is_told_which():
    given = ("torch.nn:Linear(6, 2)", "--input", "1x20x6")
    said = "note: the first layer reads all of axis 2; --axes 1 asks along positions\n"
    assert CliRunner().invoke(app, ["field", *given]).stderr == said
    assert CliRunner().invoke(app, ["field", *given, "--axes", "1"]).stderr == ""


IMAGE, DEPTH = ("--input", "image=1x3x16x16"), ("--input", "depth=1x1x16x16")


@pytest.mark.parametrize(
    ("given", "wrt"),
    [
        ((*IMAGE, *DEPTH), "depth"),
        ((*DEPTH, *IMAGE), "depth"),
        (("--input", "depth=1x1x16x16,image=1x3x16x16"), "depth"),
        (("--input", "1x3x16x16", "--input", "1x1x16x16"), "input1"),
        (("--input", "1x3x16x16,1x1x16x16"), "input1"),
    ],
)
def test_inputs_are_given_one_by_one_or_together_by_name_or_in_order(nets, given, wrt):
    found = layers("cli_nets:Two", *given, "--wrt", wrt)
    assert found["two"]["extent"] == found["add"]["extent"] == [5, 5]
    assert "one" not in found


def test_a_note_says_whose_samples_are_counted(nets):
    result = CliRunner().invoke(app, ["field", "cli_nets:Two", *IMAGE, *DEPTH])
    assert result.stdout.startswith("cli_nets:Two, image 1x3x16x16\n")
    assert result.stderr == (
        "note: these are fields in the input 'image'; --wrt depth asks about another\n"
    )
    asked = CliRunner().invoke(app, ["field", "cli_nets:Two", *IMAGE, *DEPTH, "--wrt", "depth"])
    assert asked.stderr == ""


def test_names_of_inputs_are_those_of_forward(nets):
    told = run("cli_nets:Two", *IMAGE, "--input", "dept=1x1x16x16", code=2)
    assert "its forward(image, depth) does not take these inputs" in told
    told = run("cli_nets:Two", *IMAGE, "--input", "1x1x16x16", code=2)
    assert "Some inputs in 'image=1x3x16x16,1x1x16x16' are named and others are not" in told
