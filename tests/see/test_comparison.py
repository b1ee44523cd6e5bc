"""Two networks side by side: what differs, and the exit code for a test of a change."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fieldwise import compare, receptive_fields
from fieldwise.capture.layers import layers_graph
from fieldwise.cli import app


def compared(one, two, shape=(1, 1, 40)):
    return compare(*(receptive_fields(layers_graph(text, shape)) for text in (one, two)))


@pytest.mark.parametrize(
    ("one", "two", "changed"),
    [
        ("conv3p1", "conv5p2", ("extent", "count", "start", "halo")),
        ("conv3p1", "conv3", ("start", "halo", "shape")),
        ("conv3p1", "conv3p1/2", ("stride", "shape")),
        ("conv5", "conv3d2", ("count",)),
        ("conv3", "conv3 relu", ()),
    ],
)
def test_the_fields_of_outputs_are_held_against_each_other(one, two, changed):
    """By extent, holes, stride, start, and halo."""
    found = compared(one, two)
    (pair,) = found.outputs
    assert pair.changed == changed
    assert found.differs is bool(changed)


def test_a_network_does_not_differ_from_itself():
    """Nor does one with another name for a layer."""
    found = compared("conv3 relu maxpool2/2", "conv3 relu maxpool2/2")
    assert not found.differs
    assert all(not pair.differs for pair in found)


def test_layers_of_one_network_alone_are_named():
    """They differ, and by themselves are no difference of what is seen."""
    found = compared("conv3 conv1", "conv3 conv1 conv1")
    assert [pair.name for pair in found if pair.differs] == ["conv1#2"]
    assert not found.outputs_differ


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *arguments])


def test_the_exit_code_says_whether_they_differ():
    """0 for the same, 1 for a difference, 2 for what cannot be compared."""
    same = run("layers:conv3 relu", "layers:conv3 relu")
    assert same.exit_code == 0, same.output
    assert "2 layers see the same; the outputs see the same, with the same halo" in same.stdout
    one = run("layers:conv3", "layers:conv3")
    assert "1 layer sees the same; the outputs see" in one.stdout
    other = run("layers:conv3 relu", "layers:conv5 relu")
    assert other.exit_code == 1
    assert "3 → 5" in other.stdout
    assert "the outputs' fields differ" in other.stdout
    assert run("layers:conv3", "layers:nothing9").exit_code == 2


@pytest.mark.parametrize("swapped", [False, True])
def test_a_model_whose_input_is_not_known_is_given_that_of_the_other(swapped):
    """As a module and the program that was exported from it."""
    pair = ["torch.nn:Conv2d(3, 4, 5)", "torchvision:alexnet"]
    found = run(*(reversed(pair) if swapped else pair), "--format", "json")
    assert found.exit_code == 1, found.stderr
    outputs = json.loads(found.stdout)["outputs"]
    assert [1, 4, 220, 220] in [
        one["shape"] for pair in outputs for one in (pair["one"], pair["two"]) if one
    ]


def test_where_no_input_is_known_the_first_is_asked_for():
    found = run("torch.nn:Conv2d(3, 4, 5)", "torch.nn:Conv2d(3, 4, 3)")
    assert found.exit_code == 2
    assert found.stderr.startswith(
        "error: The input shape of 'torch.nn:Conv2d(3, 4, 5)' is not known"
    )
    given = run("torch.nn:Conv2d(3, 4, 5)", "layers:conv3", "--input", "1x3x8x8,1x8")
    assert (given.exit_code, given.stdout) == (2, "")


def test_the_data_name_both_sides():
    """Every layer with its field, halo and what changed."""
    found = json.loads(
        run("layers:conv3p1", "layers:conv5p2", "--input", "1x1x40x40", "--format", "json").stdout
    )
    assert found["differs"] is True
    (pair,) = found["outputs"]
    assert pair["changed"] == ["extent", "count", "start", "halo"]
    assert pair["one"]["halo"] == [[1, 1], [1, 1]]
    assert pair["two"]["halo"] == [[2, 2], [2, 2]]
