"""The ops that a scale or shift passes on its way to a layer: what their kinds say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from fieldwise.axes import Border
from fieldwise.folding.refusal import Stays
from fieldwise.graph.calls import arguments, is_tensor, op_name, per_axis
from fieldwise.graph.constants import constant, tensors
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Node, Read, Ref, Separable, Shape, numel
from fieldwise.graph.kinds import SUM
from fieldwise.graph.names import called

_ADDS_SEVERAL = "which counts a shift several times"
_WHY_NO_SHIFT = {
    "avg_pool": "averages over padding that it counts as zeros, which a shift does not pass",
    "pad": "pads with zeros, which a shift does not pass",
    **dict.fromkeys(("tril", "triu"), f"is a triangle beside zeros, {_ADDS_SEVERAL} or not at all"),
}
"""The reasons of some ops, in place of the reason of all of their kind."""


def factor_of(
    graph: Graph,
    node: Node,
    used: Sequence[str],
    *,
    shifts: bool,
    rises: Callable[[], bool],
) -> float | None:
    """Whether a scale, and with ``shifts`` a shift, can be done before this op instead of after.

    used:  those of its results that anything reads
    rises: tells whether every scale is positive, so that the largest value stays the largest

    The shift is then divided by what is returned; None for an op that takes neither past.  Raises
    Stays with the reason for one that takes only some affine ops past.
    """
    if is_copy(graph, node):
        return 1.0
    made = called(graph, node.results[0])
    number = _count(graph, node) if node.op in ("sum", "avg_pool") else _number(node)
    if number is not None:
        if shifts and not number:
            raise Stays(f"'{made}' multiplies by 0, which a shift does not pass")
        return number or 1.0
    if _bends_at_zero(node):
        if not shifts and not rises():
            raise Stays(_needs_rising(made, node))
        return None if shifts else 1.0
    kinds = {read.kind for name, reads in zip(node.results, node.reads, strict=True)
             if name in used for read in reads}  # fmt: skip
    if any(kind.draws for kind in kinds):
        raise Stays(f"'{made}' is a {node.called} that is active")
    if not kinds or not all(kind.passes_scale for kind in kinds) or _writes_constants(graph, node):
        return None
    if any(kind.combines == "order" for kind in kinds) and not rises():
        raise Stays(_needs_rising(made, node))
    filled = _is_filled(graph, node)
    if filled and any(arguments(node).get(kind.fill or "") for kind in kinds):
        raise Stays(f"'{made}' pads with a constant that a scale would change")
    if shifts and (filled or not all(kind.passes_shift for kind in kinds)):
        name = node.operator or op_name(node)
        said = f"is {'an' if name[0].lower() in 'aeiou' else 'a'} {name}, {_ADDS_SEVERAL}"
        if filled:
            said = "fills with zeros, which a shift does not pass"
        raise Stays(f"'{made}' {_WHY_NO_SHIFT.get(node.op, said)}")
    return 1.0


def joins(node: Node) -> bool:
    """Whether every element of a result is one of one of several operands, chosen by its place."""
    (reads, *more) = node.reads
    several = len({read.operand for read in reads}) > 1
    return several and not more and all(read.kind.combines == "one" for read in reads)


def check_parts(graph: Graph, node: Node, *, shifts: bool) -> None:
    """Raise Stays where what an op joins has elements that are none of its operands'."""
    if _writes_constants(graph, node) or any(read.kind.fill for read in node.reads[0]):
        raise Stays(f"it reads a concat, '{node.results[0]}', that has constant parts")
    check_gaps(graph, node, shifts=shifts)


def check_gaps(graph: Graph, node: Node, *, shifts: bool) -> None:
    """Raise Stays where a shift would have to be kept out of zeros between what an op joins.

    Labels keep it out of what a guard leaves out, not out of what lies beyond a border.
    """
    name, constants = node.results[0], _writes_constants(graph, node)
    beyond = not all(_copies(graph, node, node.reads[0], graph.shape(name)))
    if shifts and (beyond or (not constants and _is_filled(graph, node))):
        raise Stays(f"'{name}' has zeros between its parts, which a shift does not pass")


def is_copy(graph: Graph, node: Node) -> bool:
    """Whether an op returns what it is given (x + 0, from sums that start at nothing)."""
    if node.op in ("add", "sub"):
        return _adds_nothing(node)
    if node.op in ("mul", "div"):
        return _number(node) == 1 and isinstance(arguments(node).get("self"), Ref)
    (reads, *_) = node.reads
    return len(reads) == 1 and _is_copied(graph, node, reads[0])


def _is_copied(graph: Graph, node: Node, read: Read) -> bool:
    """Whether what is read is the result, element by element and in its own type."""
    step = read.single
    if read.kind.combines != "one" or step is None or step.where or not step.is_identity:
        return False
    given, made = graph.values[node.operands[read.operand]], graph.values[node.results[0]]
    return (given.shape, given.dtype) == (made.shape, made.dtype)


def _adds_nothing(node: Node) -> bool:
    given = arguments(node)
    pair = (given.get("self"), given.get("other"))
    numbers = [item for item in pair if isinstance(item, (int, float))]
    if len(numbers) != 1 or len(node.operands) != 1:
        return False
    return numbers[0] == 0 and (node.op == "add" or isinstance(pair[0], Ref))


def _needs_rising(made: str, node: Node) -> str:
    return f"'{made}' is made by {node.called}, which a scale that is not positive does not pass"


def _bends_at_zero(node: Node) -> bool:
    """Whether an op makes g of each element at its place, with g(a·x) = a·g(x) for a > 0."""
    given = arguments(node)
    if not isinstance(given.get("self"), Ref):
        return False
    if node.op == "clamp":
        bounds = [given.get(name) for name in ("min", "max")]
        return bounds.count(None) == 1 and any(_is_zero(bound) for bound in bounds)
    return op_name(node) in _BENT


_BENT = frozenset({"relu", "leaky_relu", "prelu", "abs"})


def _is_zero(item: object) -> bool:
    """Whether a bound is 0, as a number or, as files have it, as a constant."""
    if is_tensor(item):
        values = constant(item, "").values
        return values is not None and not values.any()
    return isinstance(item, (int, float)) and item == 0


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


def _count(graph: Graph, node: Node) -> float | None:
    """How many elements are added up, over what a pool divides that by instead.

    None for means, and where windows may hold padding.
    """
    given = arguments(node)
    if node.op == "sum":
        if any(read.kind != SUM for read in node.reads[0]):
            return None
        return numel(graph.shape(node.operands[0])) / max(numel(graph.shape(node.results[0])), 1)
    divisor, padding = given.get("divisor_override"), given.get("padding", 0)
    padded = any(padding) if isinstance(padding, (list, tuple)) else bool(padding)
    if not divisor or padded or given.get("ceil_mode"):
        return None
    return prod(per_axis(given["kernel_size"], 3 if op_name(node) == "avg_pool3d" else 2)) / divisor


# -------------------------------------------------------------------- what stands beside it


def _writes_constants(graph: Graph, node: Node) -> bool:
    """Whether elements of a constant may stand in the result: one that decides nothing else."""
    if not _has_constants(node):
        return False
    from fieldwise.capture.torch.rereading import reread_node

    again = reread_node(node, graph)
    return again is None or any(
        read.operand >= len(node.operands) and read.kind.combines != "asked"
        for reads in again.reads
        for read in reads
    )


def _has_constants(node: Node) -> bool:
    return any(True for _ in tensors(arguments(node)))


def _is_filled(graph: Graph, node: Node) -> bool:
    """Whether some element of a result may be none that is read: by the reads, or by a mask."""
    masked = any(kind.combines == "asked" for kind in node.kinds)
    masked = masked or _has_constants(node)
    return any(
        any(masked and read.kind.fill is not None for read in reads)
        or _leaves_out(graph, node, reads, graph.shape(name))
        for name, reads in zip(node.results, node.reads, strict=True)
    )


def _leaves_out(graph: Graph, node: Node, reads: Sequence[Read], shape: Shape) -> bool:
    """Whether copies leave places of a result to a fill; no place is that of two reads."""
    copies = _copies(graph, node, reads, shape)
    return bool(copies) and sum(copies) < prod(shape)


def _copies(graph: Graph, node: Node, reads: Sequence[Read], shape: Shape) -> list[int]:
    """How many places of a result each read copies to, of those that copy."""
    copies = [read for read in reads if read.kind.combines == "one"]
    sizes = [graph.shape(node.operands[read.operand]) for read in copies]
    return [_copied_to(read, size, shape) for read, size in zip(copies, sizes, strict=True)]


def _copied_to(read: Read, before: Shape, after: Shape) -> int:
    """How many places of a result are copied through a read; 0 where that is not easily told."""
    count, guards = prod(after), 0
    for step, old, new in read.forward(before, after):
        if not isinstance(step, Separable):
            continue
        guards += bool(step.where)
        if step.where:
            kept = {dim: indices.count for dim, indices in step.where}
            count = prod(kept.get(dim, size) for dim, size in enumerate(new))
        elif _reaches_out(step, old, new):
            return 0
    return count if guards == bool(isinstance(step, Separable) and step.where) else 0


def _reaches_out(step: Separable, before: Shape, after: Shape) -> bool:
    """Whether an index of the result lies beyond the border of what it reads."""
    for size, coord in zip(before, step.coords, strict=True):
        if isinstance(coord, Along) and coord.border is Border.DROP and after[coord.dim]:
            ends = (*coord.map(0), *coord.map(after[coord.dim] - 1))
            if any(not 0 <= index < size for index in ends):
                return True
    return False
