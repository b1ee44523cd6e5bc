"""How many operations a node takes, worked out from its reads and kinds: nothing is run.

A product takes a multiplication and an addition for each element that is read, whatever else
computes one operation, and what only moves elements none.  A recurrent layer uses each of its
weights once per position; attention compares with each visible key and weighs each visible value.
Borders count as interior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from math import prod

from fieldwise.axes import AxisMap, Table
from fieldwise.graph.calls import arguments, tensors_among
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Coord, Fixed, Node, Read, Separable, Shape, Value, numel


def flops(node: Node, values: Mapping[str, Value]) -> int:
    """The operations that one run of a node takes; its results are made together.

    values: of the graph, by name

    >>> from fieldwise.capture.layers import layers_graph
    >>> graph = layers_graph("conv3 relu maxpool2/2", (1, 1, 10))
    >>> [flops(node, graph.values) for node in graph.nodes]
    [48, 8, 8]
    """
    shapes = [values[name].shape for name in node.results]
    if node.op in _RECURRENT or any(read.kind.scans for reads in node.reads for read in reads):
        return _of_scan(node, shapes[0])
    operands = [values[name].shape for name in node.operands]
    pairs = zip(node.reads, shapes, strict=True)
    return round(max(_of_result(node, operands, reads, shape) for reads, shape in pairs))


def multiplications(node: Node, values: Mapping[str, Value]) -> int:
    """The multiplications of a product, of attention or of a recurrent layer; 0 of another op.

    values: of the graph, by name

    >>> from fieldwise.capture.layers import layers_graph
    >>> graph = layers_graph("conv3 relu maxpool2/2", (1, 1, 10))
    >>> [multiplications(node, graph.values) for node in graph.nodes]
    [24, 0, 0]
    """
    if node.op in _RECURRENT:
        shape = values[node.results[0]].shape
        weights = tensors_among([arguments(node).get("params", ())])
        matrices = sum(weight.numel() for weight in weights if len(weight.shape) > 1)
        return numel(shape) // max(shape[-1], 1) * matrices
    if node.op == "attention" or any(kind.combines == "product" for kind in node.kinds):
        return flops(node, values) // 2
    return 0


def flops_by_result(graph: Graph) -> dict[str, int]:
    """The operations of each node of a graph, by its first result."""
    return {node.results[0]: flops(node, graph.values) for node in graph.nodes}


def _of_result(
    node: Node, operands: Sequence[Shape], reads: Sequence[Read], shape: Shape
) -> Fraction:
    costs = _attending if node.op == "attention" else _combining
    per_element = max((costs(r, operands[r.operand], shape) for r in reads), default=Fraction(0))
    return per_element * numel(shape)


def _of_scan(node: Node, shape: Shape) -> int:
    """Each weight once per position, and what a running sum adds."""
    weights = tensors_among([arguments(node).get("params", ())])
    positions = numel(shape) // max(shape[-1], 1)
    return numel(shape) + 2 * positions * sum(weight.numel() for weight in weights)


def _attending(read: Read, operand: Shape, result: Shape) -> Fraction:
    """Two products per feature of a visible key, for all features of a query's result together."""
    return 4 * _elements_read(read, operand, result) / max(result[-1], 1)


def _combining(read: Read, operand: Shape, result: Shape) -> Fraction:
    """What one element of a result takes through one read; what a norm sums up serves a line."""
    kind = read.kind
    if kind.combines in _MOVES:
        return Fraction(0)
    if kind.keeps:
        return Fraction(2)
    return _elements_read(read, operand, result) * (2 if kind.combines == "product" else 1)


_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
"""In both directions they are no scans."""
_MOVES = ("one", "place", "asked", "unknown")


def _elements_read(read: Read, operand: Shape, result: Shape) -> Fraction:
    """How many elements of an operand one element of a result reads, on average."""
    return prod(
        (
            _indices_read(coord, size)
            for step, before, _ in read.forward(operand, result)
            if isinstance(step, Separable)
            for coord, size in zip(step.coords, before, strict=True)
        ),
        start=Fraction(1),
    )


def _indices_read(coord: Coord, size: int) -> Fraction:
    if isinstance(coord, Along):
        return _mean_count(coord.map)
    return Fraction(coord.indices.count if isinstance(coord, Fixed) else size)


@lru_cache(maxsize=1 << 9)
def _mean_count(index: AxisMap | Table) -> Fraction:
    rows = index.offsets if isinstance(index, AxisMap) else index.rows
    return Fraction(sum(row.count for row in rows), max(len(rows), 1))
