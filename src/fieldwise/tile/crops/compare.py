"""The proof that a crop's outputs are the whole image's: both graphs gone through side by side.

The network is captured twice, at the size of the crop and at the size of the image, and every node
of the one is compared with its twin: the same op with the same constants, reading in the same way
positions that hold the same.  What is left at the outputs are the positions that are equal, with
their distance; nothing is assumed of padding, ceil_mode, SAME, or resizing to a size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fieldwise.errors import Reason
from fieldwise.graph.constants import constant
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Shape
from fieldwise.tile.crops.arguments import (
    check_settings,
    equal_but_for_length,
    is_regular,
    reads_constants,
    treatment_of,
    with_constant_reads,
    with_constants,
)
from fieldwise.tile.crops.cut import Segments
from fieldwise.tile.crops.match import Match, Matches, same
from fieldwise.tile.crops.steps import Both, LostError, through_reads
from fieldwise.tile.errors import reason


@dataclass(frozen=True, slots=True)
class Comparison:
    """Per output, which of the crop's positions are which of the whole's.

    losses:  the nodes at which nothing was left, in execution order
    regular: whether a crop that is moved by whole periods is like the whole in the same way
    """

    outputs: tuple[Matches, ...]
    losses: tuple[Reason, ...]
    regular: bool = True


def compare(crop: Graph, whole: Graph, cuts: Mapping[int, Segments]) -> Comparison:
    """What of the crop's outputs is proven equal to the whole's.

    cuts: per tiled axis of the inputs, the segments of the image that make up the crop

    The dimensions of a value do not influence each other here: what is found along one axis holds
    whatever the cuts of the others are, as long as the sizes of the crop are the same.
    """
    losses: list[Reason] = []
    twin = _first_unlike(crop, whole)
    if twin is not None:
        why = "the network takes another path through its code at another size"
        return Comparison(tuple(map(_nowhere, map(whole.shape, whole.outputs))),
                          (reason(twin, why),))  # fmt: skip
    states = {name: _input(_shapes(crop, whole, name), cuts) for name in crop.inputs}
    for nodes in zip(crop.nodes, whole.nodes, strict=True):
        for position, name in enumerate(nodes[0].results):
            states[name] = _result(nodes, position, states, (crop, whole), losses)
    regular = all(is_regular(node) for graph in (crop, whole) for node in graph.nodes)
    return Comparison(tuple(states[name] for name in crop.outputs), tuple(losses), regular)


def _shapes(crop: Graph, whole: Graph, name: str) -> Both:
    return Both(crop.shape(name), whole.shape(name))


def _nowhere(whole: Shape) -> Matches:
    """Of a value that a crop has no counterpart of."""
    return tuple((Match(0, size),) for size in whole)


def _nothing(shape: Both) -> Matches:
    if len(shape.crop) != len(shape.whole):
        return _nowhere(shape.whole)
    return tuple((Match(*sizes),) for sizes in zip(shape.crop, shape.whole, strict=True))


def _input(shape: Both, cuts: Mapping[int, Segments]) -> Matches:
    return tuple(
        (Match.cut(cuts[axis], size) if axis in cuts else Match.same(size),)
        for axis, size in enumerate(shape.whole)
    )


def _first_unlike(crop: Graph, whole: Graph) -> Node | None:
    """The first node that has no twin; None where the graphs are wired alike."""
    for one, two in zip(crop.nodes, whole.nodes, strict=False):
        if (one.op, one.operands, one.results) != (two.op, two.operands, two.results):
            return two
    longer = max(crop, whole, key=lambda graph: len(graph.nodes)).nodes
    if len(crop.nodes) != len(whole.nodes):
        return longer[min(len(crop.nodes), len(whole.nodes))]
    return None if crop.outputs == whole.outputs else whole.nodes[-1]


def _result(
    nodes: tuple[Node, Node],
    position: int,
    states: Mapping[str, Matches],
    graphs: tuple[Graph, Graph],
    losses: list[Reason],
) -> Matches:
    node = nodes[0]
    shapes = [_shapes(*graphs, name) for name in node.operands]
    result = _shapes(*graphs, node.results[position])
    operands = [states[name] for name in node.operands]
    try:
        if len(result.crop) != len(result.whole):
            raise LostError("it makes a value of another rank at another size")
        if node.op == "constant":
            return _constant(nodes, result)
        treatment = treatment_of(node, position)
        check_settings(nodes)
        repeats = treatment.constants == "broadcast" or treatment.repeats
        state = through_reads(nodes, position, operands, shapes, result, repeats=repeats)
        state = with_constants(nodes, position, graphs[0], treatment, state)
        if reads_constants(nodes[0], treatment):
            nodes, more = with_constant_reads(nodes, position, graphs)
            operands += [same(one) for one in more]
            shapes += [Both(one, one) for one in more]
            state = through_reads(nodes, position, operands, shapes, result, repeats=repeats)
    except LostError as why:
        losses.append(reason(node, str(why)))
        return _nothing(result)
    if _empty(state) and not any(map(_empty, operands)):
        losses.append(reason(node, _UNALIKE))
    return state


def _empty(state: Matches) -> bool:
    return any(digit.empty for dim in state for digit in dim)


def _constant(nodes: tuple[Node, Node], shape: Both) -> Matches:
    """A constant that is written to later: equal, or uniform along the axes that are cut."""
    one, two = (constant(n.source.args[0], "a constant") if n.source else None for n in nodes)
    if one is None or two is None:
        raise LostError("it is a constant without a value")
    sizes = list(zip(shape.crop, shape.whole, strict=True))
    resized = [dim for dim, (left, right) in enumerate(sizes) if left != right]
    if not all(one.uniform_along(dim) and two.uniform_along(dim) for dim in resized):
        raise LostError("it is a constant that varies along the axis")
    if not equal_but_for_length(one, two):
        raise LostError("it is a constant that depends on the size of the image")
    return tuple(
        (Match(left, right, None) if left != right else Match.same(left),) for left, right in sizes
    )


_UNALIKE = "none of its positions in the crop is proven to be one of the whole image"
