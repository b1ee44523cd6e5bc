"""Values are found by their name, by the module that returned them, or by the output's key."""

from __future__ import annotations

import dataclasses
import re
from itertools import pairwise

import pytest

from fieldwise.errors import UsageError
from fieldwise.graph import Graph, Node, Value
from fieldwise.graph.ir import identity
from fieldwise.graph.names import aliases, matching, resolve

MADE = ("stem.conv", "stem.relu#1", "stem.relu#2", "block/split", "block/add", "mul")


@pytest.fixture
def graph() -> Graph:
    """A chain of element-wise ops in modules that run twice, return two values, or none."""
    names = ("x", *MADE)
    return Graph(
        inputs=("x",),
        nodes=tuple(
            Node("op", (before,), (name,), ((identity(0, 1),),)) for before, name in pairwise(names)
        ),
        outputs=("block/add", "mul", "mul"),
        values={name: Value(name, (8,)) for name in names},
        scopes={
            "stem": (("stem.relu#2",),),
            "stem.conv": (("stem.conv",),),
            "stem.relu": (("stem.relu#1",), ("stem.relu#2",)),
            "block": (("block/split", "block/add"),),
            "loss": ((),),
        },
        output_names=("features", "0", "out.logits"),
    )


def test_a_value_has_its_own_name_and_those_of_what_returned_it(graph):
    assert aliases(graph) == {
        "stem.relu#2": ("stem",),
        "block/split": ("block[0]",),
        "block/add": ("block[1]", "features"),
        "mul": ("out.logits",),
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, name) for name in ("x", *MADE)),
        ("stem", "stem.relu#2"),
        ("block[0]", "block/split"),
        ("block[1]", "block/add"),
        ("features", "block/add"),
        ("out.logits", "mul"),
    ],
)
def test_every_name_stands_for_one_value(graph, name, value):
    assert resolve(graph, name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("stem.rulu#1", "No value or module is called 'stem.rulu#1'; did you mean 'stem.relu#1'"),
        ("zzz", "No value or module is called 'zzz'; the report lists every name."),
        ("stem.relu", "Module 'stem.relu' ran 2 times; ask for 'stem.relu#1', 'stem.relu#2'."),
        ("block", "Module 'block' returned 2 values; ask for 'block[0]', 'block[1]'."),
        ("loss", "Module 'loss' returned nothing that depends on the input."),
    ],
)
def test_a_name_that_stands_for_no_one_value_is_refused_with_better_ones(graph, name, text):
    with pytest.raises(UsageError, match=re.escape(text)):
        resolve(graph, name)


@pytest.mark.parametrize(
    ("globs", "values"),
    [
        (["*"], ["x", *MADE]),
        (["stem"], ["stem.relu#2"]),
        (["stem.relu"], ["stem.relu#1", "stem.relu#2"]),
        (["mul", "stem.c*"], ["stem.conv", "mul"]),
        (["block*"], ["block/split", "block/add"]),
        (["block[0]"], ["block/split"]),
        (["out.*"], ["mul"]),
    ],
)
def test_globs_choose_values_in_the_order_of_the_graph(graph, globs, values):
    assert matching(graph, globs) == tuple(values)


def test_a_glob_that_matches_nothing_is_refused(graph):
    with pytest.raises(UsageError, match=r"called 'stem\.pool\*'"):
        matching(graph, ["mul", "stem.pool*"])


def test_an_output_key_yields_to_the_name_of_a_value(graph):
    shadowed = dataclasses.replace(graph, output_names=("stem.conv", "stem", "x"))
    assert resolve(shadowed, "stem.conv") == "stem.conv"
    assert resolve(shadowed, "stem") == "stem.relu#2"


def test_a_graph_without_output_keys_has_none(graph):
    assert resolve(dataclasses.replace(graph, output_names=()), "stem") == "stem.relu#2"
    assert "mul" not in aliases(dataclasses.replace(graph, output_names=()))
