"""How much work it is to execute a recorded call: about so many multiplications and additions."""

from __future__ import annotations

from math import prod

from fieldwise.axes import AxisMap
from fieldwise.graph.calls import arguments
from fieldwise.graph.constants import tensors
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Coord, Fixed, Node, Read, Separable, Whole, numel
from fieldwise.graph.treatment import CONTRACTIONS, treatment


def effort(graph: Graph, node: Node) -> int:
    """All elements that it reads, holds and makes; where it sums products, as often as it does."""
    made = sum(numel(graph.shape(name)) for name in node.results)
    read = sum(numel(graph.shape(name)) for name in node.operands)
    held = sum(numel(tuple(tensor.shape)) for _, tensor in tensors(arguments(node)))
    return read + held + made * (_terms(graph, node) if _sums_products(node) else 1)


def _sums_products(node: Node) -> bool:
    """Whether each element is a sum of its own; unknown is not cheap."""
    found = treatment(node)
    if found is None or node.op in CONTRACTIONS:
        return True
    return found.channel is not None and found.whole == "ordered"


def _terms(graph: Graph, node: Node) -> int:
    """How many elements of an operand one element of a result reads."""
    pairs = zip(node.results, node.reads, strict=True)
    return max(
        (_read_at_once(graph, node, read, name) for name, reads in pairs for read in reads),
        default=1,
    )


def _read_at_once(graph: Graph, node: Node, read: Read, result: str) -> int:
    operand = graph.shape(node.operands[read.operand])
    return prod(
        _indices(coord, size)
        for step, before, _ in read.forward(operand, graph.shape(result))
        if isinstance(step, Separable)
        for coord, size in zip(step.coords, before, strict=True)
    )


def _indices(coord: Coord, size: int) -> int:
    if isinstance(coord, Whole):
        return size
    if isinstance(coord, Fixed):
        return coord.indices.count
    if isinstance(coord, Along) and isinstance(coord.map, AxisMap):
        return max(offsets.count for offsets in coord.map.offsets)
    return size
