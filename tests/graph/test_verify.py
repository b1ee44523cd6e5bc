"""verify accepts what is well-formed and names what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fieldwise.axes import IndexSet, Table
from fieldwise.errors import GraphError
from fieldwise.graph import WHOLE, Along, Fixed, Graph, Read, Reshape, Separable, Value, verify
from fieldwise.graph.ir import Node, identity, separable
from tests.graph.networks import every_kind_of_read, residual


def with_node(graph: Graph, position: int, **changes: object) -> Graph:
    nodes = list(graph.nodes)
    nodes[position] = replace(nodes[position], **changes)
    return replace(graph, nodes=tuple(nodes))


def with_read(read: Read) -> Graph:
    """The residual network, its first activation reading the convolution so."""
    return with_node(residual(), 1, reads=((read,),))


@pytest.mark.parametrize("graph", [residual(), every_kind_of_read()], ids=["residual", "every"])
def test_a_well_formed_graph_passes(graph):
    verify(graph)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            replace(residual(), inputs=("x", "x")),
            "Input 'x' is listed twice.",
        ),
        (
            replace(residual(), inputs=("x", "y")),
            "Input 'y' is missing from the values.",
        ),
        (
            with_node(residual(), 1, operands=("nobody",)),
            "Node 'act' (relu) reads 'nobody', which no value is called.",
        ),
        (
            with_node(residual(), 1, operands=("sum",)),
            "Node 'act' (relu) reads 'sum' before it is made.",
        ),
        (
            with_node(residual(), 1, operands=("act",)),
            "Node 'act' (relu) reads 'act' before it is made.",
        ),
        (
            with_node(residual(), 2, results=("act",)),
            "Value 'act#2' is neither an input nor the result of a node.",
        ),
        (
            with_node(residual(), 1, results=("x",)),
            "Value 'act' is neither an input nor the result of a node.",
        ),
        (
            with_node(residual(), 3, results=("new",)),
            "Value 'sum' is neither an input nor the result of a node.",
        ),
        (
            replace(residual(), nodes=(*residual().nodes, residual().nodes[0])),
            "Node 'block.conv' (conv) makes 'block.conv', which exists already.",
        ),
        (
            replace(residual(), values={**residual().values, "extra": Value("extra", ())}),
            "Value 'extra' is neither an input nor the result of a node.",
        ),
        (
            replace(residual(), values={**residual().values, "x": Value("z", (1,))}),
            "The value listed as 'x' calls itself 'z'.",
        ),
        (
            replace(residual(), outputs=("gone",)),
            "Output 'gone' is not a value of the graph.",
        ),
        (
            replace(residual(), output_names=("one", "two")),
            "The graph has 1 outputs and 2 names for them.",
        ),
        (
            replace(residual(), scopes={"block": (("sum",), ("sum#2",))}),
            "Scope 'block' result 'sum#2' is not a value of the graph.",
        ),
        (
            with_node(residual(), 0, results=(), reads=()),
            "Value 'block.conv' is neither an input nor the result of a node.",
        ),
        (
            with_node(residual(), 1, reads=()),
            "Node 'act' (relu) makes 1 values and describes the reads of 0.",
        ),
    ],
)
def test_a_graph_that_hangs_together_badly_is_refused_by_name(graph, message):
    with pytest.raises(GraphError) as error:
        verify(graph)
    assert str(error.value) == message


def test_a_node_without_results_is_refused():
    graph = residual()
    idle = replace(graph.nodes[1], results=(), reads=())
    with pytest.raises(GraphError, match=r"A node \(relu\) in module 'block.act' makes no value"):
        verify(replace(graph, nodes=(*graph.nodes, idle)))


def test_a_result_that_the_values_lack_is_refused():
    graph = residual()
    extra = replace(graph.nodes[1], results=("more",))
    with pytest.raises(GraphError, match=r"Node 'more' \(relu\) makes 'more', missing"):
        verify(replace(graph, nodes=(*graph.nodes, extra)))


ALONG = tuple(Along(dim) for dim in range(4))


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (identity(1, 4), "there is no operand 1, only 1."),
        (identity(-1, 4), "there is no operand -1, only 1."),
        (
            Read(0, (Reshape(), Reshape())),
            "the read of 'block.conv' has 2 steps and 0 shapes between them.",
        ),
        (Read(0, ()), "the read of 'block.conv' has 0 steps and 0 shapes between them."),
        (
            identity(0, 3),
            "the read of 'block.conv' has 3 coordinates for the shape (1, 3, 8, 8).",
        ),
        (
            Read(0, (Reshape(), Separable(ALONG)), shapes=((3, 65),)),
            "the read of 'block.conv' reshapes (1, 3, 8, 8) of 192 elements to (3, 65) of 195.",
        ),
        (
            Read(0, (Reshape(), Separable(ALONG)), shapes=((3, 64),)),
            "the read of 'block.conv' has 4 coordinates for the shape (3, 64).",
        ),
        (
            separable(0, *ALONG[:3], Along(4)),
            "the read of 'block.conv' follows dimension 4, which the shape (1, 3, 8, 8) lacks.",
        ),
        (
            separable(0, *ALONG, where=((4, IndexSet.of([0])),)),
            "the read of 'block.conv' restricts dimension 4, which the shape (1, 3, 8, 8) lacks.",
        ),
        (
            separable(0, *ALONG, where=((1, IndexSet.of([1, 3])),)),
            "the read of 'block.conv' restricts IndexSet{1, 3} in dimension 1 of (1, 3, 8, 8), "
            "which is too small.",
        ),
        (
            separable(0, *ALONG[:3], Along(3, Table.of([[0]] * 7))),
            "the read of 'block.conv' has a table of 7 rows for dimension 3 of (1, 3, 8, 8).",
        ),
        (
            separable(0, WHOLE, Fixed(IndexSet.of([3])), WHOLE, WHOLE),
            "the read of 'block.conv' takes IndexSet{3} in dimension 1 of (1, 3, 8, 8), "
            "which is too small.",
        ),
    ],
)
def test_a_read_that_does_not_fit_its_shapes_is_refused_by_name(read, message):
    with pytest.raises(GraphError) as error:
        verify(with_read(read))
    assert str(error.value) == f"Node 'act' (relu), value 'act': {message}"


def test_a_read_that_fits_two_shapes_is_looked_at_again_for_others():
    def graph(size):
        node = Node("slice", ("x",), ("y",), ((read,),))
        values = {"x": Value("x", (size,)), "y": Value("y", (3,))}
        return Graph(("x",), (node,), ("y",), values)

    read = separable(0, Fixed(IndexSet.of([5])))
    verify(graph(8))
    verify(graph(8))
    with pytest.raises(GraphError, match=r"takes IndexSet\{5\} in dimension 0 of \(4,\)"):
        verify(graph(4))
