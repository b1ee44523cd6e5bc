"""The ops that a scale or shift passes on its way to a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fieldwise.axes import Border
from fieldwise.folding.refusal import Stays
from fieldwise.graph.calls import arguments, drops_out, op_name
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Node, Ref, Separable, step_shapes

_ONE = frozenset({
    "reshape", "permute", "to", "clone", "alias", "detach", "lift_fresh", "flip", "roll", "rot90",
    "slice", "select", "index_select", "index", "gather", "take", "split", "unbind", "expand",
    "repeat", "tile", "repeat_interleave", "as_strided", "unfold", "diagonal", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "dropout",
})  # fmt: skip
"""f(x)[i] = x[σ(i)]: each element is one that is read, chosen by its place."""
_MEAN = frozenset({
    "mean", "avg_pool", "adaptive_avg_pool", "upsample_nearest", "upsample_linear",
    "upsample_bilinear", "upsample_bicubic", "upsample_trilinear",
})  # fmt: skip
"""f(x)[i] = Σ w·x with weights that sum to one."""
_SUM = frozenset({"sum", "cumsum", "tril", "triu"})
"""f(x)[i] = Σ w·x with weights of any sum, none of them of the data."""
_ORDER = frozenset({
    "max_pool", "adaptive_max_pool", "amax", "amin", "max", "min", "median", "kthvalue", "sort",
    "msort", "topk", "cummax", "cummin",
})  # fmt: skip
"""f(x)[i] is one of the elements that are read, chosen by their order."""
JOINS = frozenset({"cat", "stack"})
"""Every element is one of one of the operands, chosen by its place."""


def factor_of(graph: Graph, node: Node, *, shifts: bool, rises: Callable[[], bool]) -> float | None:
    """Whether a scale, and with ``shifts`` a shift, can be done before this op instead of after.

    rises: tells whether every scale is positive, so that the largest value stays the largest

    The shift is then divided by what is returned; None for an op that takes neither past.  Raises
    Stays with the reason for one that takes only some affine ops past.
    """
    if node.op == "dropout" and drops_out(node):
        raise Stays(f"'{node.results[0]}' is a dropout that is active")
    if node.op in _ONE or is_copy(node):
        return 1.0
    if (number := _number(node)) is not None:
        if shifts and not number:
            raise Stays(f"'{node.results[0]}' multiplies by 0, which a shift does not pass")
        return number or 1.0
    if node.op in _MEAN:
        if shifts and node.op == "avg_pool" and not _is_mean(node):
            raise Stays(
                f"'{node.results[0]}' averages over padding that it counts as zeros, "
                "which a shift does not pass"
            )
        return 1.0
    if is_ordering(node):
        if not rises():
            raise Stays(
                f"'{node.results[0]}' is made by {node.op}, which a scale that is not positive "
                "does not pass"
            )
        return 1.0
    if node.op == "pad":
        return 1.0 if _pad_passes(graph, node, shifts=shifts) else None
    if _name(node) in _SUM:
        if shifts:
            raise Stays(
                f"'{node.results[0]}' is a {_name(node)}, which counts a shift several times"
            )
        return 1.0
    return None


def is_ordering(node: Node) -> bool:
    """Whether an op picks elements by their order, of one operand."""
    return _name(node) in _ORDER and "other" not in arguments(node)


def _name(node: Node) -> str:
    """Of the op, or of the call where the op stands for several."""
    return op_name(node) if node.op == "cumulative" else node.op


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


def _number(node: Node) -> float | None:
    """The number that an op multiplies by; None for an op that does something else."""
    if node.op == "neg":
        return -1.0
    given = arguments(node)
    if node.op not in ("mul", "div") or given.get("rounding_mode") is not None:
        return None
    other = given.get("other")
    if not isinstance(given.get("self"), Ref) or not isinstance(other, (int, float)):
        return None
    if node.op == "mul":
        return float(other)
    return 1 / other if other else None


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
