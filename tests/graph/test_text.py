"""The text form of whole graphs, as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.graph import Along, Graph, Node, Value, to_text
from fieldwise.graph.ir import separable
from tests.graph.networks import every_kind_of_read, residual

GOLDEN = Path(__file__).with_name("golden")


@pytest.mark.parametrize("network", [residual, every_kind_of_read])
def test_a_network_prints_one_line_per_node(network):
    expected = (GOLDEN / f"{network.__name__}.txt").read_text(encoding="utf-8")
    assert to_text(network()) + "\n" == expected


def reading(axis_map: AxisMap) -> str:
    """How one node's read of one axis prints."""
    node = Node("op", ("x",), ("y",), ((separable(0, Along(0, axis_map)),),))
    values = {"x": Value("x", (9,)), "y": Value("y", (9,))}
    return to_text(Graph(("x",), (node,), ("y",), values)).splitlines()[1].split("  ")[-1]


def test_maps_print_as_arithmetic_on_the_result_index():
    assert reading(AxisMap.affine(2, -1)) == "%x[2i0-1]"
    assert reading(AxisMap.affine(-1, 8)) == "%x[-i0+8]"
    assert reading(AxisMap.constant(IndexSet.of([1, 4]))) == "%x[{1, 4}]"
    assert reading(AxisMap.window(3, stride=2, dilation=2)) == "%x[2i0+{0, 2, 4}]"
    assert reading(AxisMap.transposed(3, stride=2)) == "%x[i0//2+[{-1..0}|{0}]]"
    assert reading(AxisMap(3, (IndexSet.of([0]), IndexSet.of([4])))) == "%x[3(i0//2)+[{0}|{4}]]"


def test_long_sets_and_long_periods_are_abridged():
    assert reading(AxisMap.window(12, dilation=2)) == "%x[i0+{0, 2, 4, 6, 8, 10, …, 22}]"
    phases = tuple(IndexSet.of([phase * phase]) for phase in range(12))
    assert reading(AxisMap(1, phases)) == "%x[i0//12+[{0}|{1}|{4}|{9}|{16}|{25}|…|{121}]]"


def test_a_graph_without_nodes_prints_its_inputs_and_outputs():
    graph = Graph(("x",), (), ("x",), {"x": Value("x", (), "int64")})
    assert to_text(graph) == "inputs  %x : scalar int64\noutputs %x"
