"""The ops that a scale or shift passes on its way to a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fieldwise.axes import Border
from fieldwise.fold.refusal import Stays
from fieldwise.graph.calls import arguments, drops_out
from fieldwise.graph.ir import Along, Graph, Node, Ref, Separable, step_shapes

_LAYOUT = frozenset({
    "reshape", "permute", "to", "clone", "alias", "detach", "lift_fresh", "flip", "roll",
    "slice", "select", "split", "unbind", "expand", "repeat", "as_strided", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "dropout",
})  # fmt: skip
_AVERAGE = frozenset({
    "mean", "avg_pool", "adaptive_avg_pool", "upsample_nearest", "upsample_linear",
    "upsample_bilinear", "upsample_bicubic",
})  # fmt: skip
MAXIMUM = frozenset({"max_pool", "adaptive_max_pool", "amax"})


def check_passes(graph: Graph, node: Node, *, shifts: bool, rises: Callable[[], bool]) -> bool:
    """Whether a scale, and with ``shifts`` a shift, can be done before this op instead of after.

    rises: tells whether every scale is positive, so that the largest value stays the largest

    False for an op that takes neither past; raises Stays with the reason for one that takes
    only some affine ops past.
    """
    if node.op == "dropout" and drops_out(node):
        raise Stays(f"'{node.results[0]}' is a dropout that is active")
    if node.op in _LAYOUT or is_copy(node):
        return True
    if _scales(node):
        if shifts:
            raise Stays(f"'{node.results[0]}' multiplies by a number, which a shift does not pass")
        return True
    if node.op in _AVERAGE:
        if shifts and node.op == "avg_pool" and not _is_mean(node):
            raise Stays(
                f"'{node.results[0]}' averages over padding that it counts as zeros, "
                "which a shift does not pass"
            )
        return True
    if node.op in MAXIMUM:
        if not rises():
            raise Stays(
                f"'{node.results[0]}' is made by {node.op}, which a scale that is not positive "
                "does not pass"
            )
        return True
    if node.op == "pad":
        return _pad_passes(graph, node, shifts=shifts)
    if node.op == "sum":
        if shifts:
            raise Stays(f"'{node.results[0]}' is a sum, which counts a shift several times")
        return True
    return False


def is_copy(node: Node) -> bool:
    """Whether an op returns what it is given (x + 0, from sums that start at nothing)."""
    if node.op in ("clone", "alias", "detach") or (node.op == "dropout" and not drops_out(node)):
        return True
    given = arguments(node)
    pair = (given.get("self"), given.get("other"))
    numbers = [item for item in pair if isinstance(item, (int, float))]
    if len(numbers) != 1 or len(node.operands) != 1:
        return False
    if node.op == "add" or (node.op == "sub" and isinstance(pair[0], Ref)):
        return numbers[0] == 0
    return node.op in ("mul", "div") and isinstance(pair[0], Ref) and numbers[0] == 1


def _scales(node: Node) -> bool:
    """Whether an op multiplies by a number."""
    given = arguments(node)
    plain = node.op in ("mul", "div") and given.get("rounding_mode") is None
    return plain and isinstance(given.get("self"), Ref) and isinstance(given["other"], (int, float))


def _is_mean(node: Node) -> bool:
    """Whether the average of a constant is that constant, at the borders too."""
    given = arguments(node)
    if given.get("divisor_override") is not None:
        return False
    padding: Any = given.get("padding", 0)
    padded = any(padding) if isinstance(padding, (list, tuple)) else bool(padding)
    return not padded or not given.get("count_include_pad", True)


def _pad_passes(graph: Graph, node: Node, *, shifts: bool) -> bool:
    """Padding that repeats the operand takes any affine op past; zeros only a scale."""
    if not _adds_constants(graph, node):
        return True
    if arguments(node).get("value"):
        raise Stays(f"'{node.results[0]}' pads with a constant that a scale would change")
    if shifts:
        raise Stays(f"'{node.results[0]}' pads with zeros, which a shift does not pass")
    return True


def _adds_constants(graph: Graph, node: Node) -> bool:
    read = node.reads[0][0]
    shapes = step_shapes(read, graph.shape(node.operands[0]), graph.shape(node.results[0]))
    for step, (before, after) in zip(read.steps, shapes, strict=True):
        if not isinstance(step, Separable):
            continue
        for size, coord in zip(before, step.coords, strict=True):
            if isinstance(coord, Along) and coord.border is Border.DROP:
                ends = (*coord.map(0), *coord.map(after[coord.dim] - 1))
                if any(not 0 <= index < size for index in ends):
                    return True
    return False
