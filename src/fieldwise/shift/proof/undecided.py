"""Whether what is broken stays so: what may be undone further down is undecided, not broken.

A value that does not move with its input may be made one that does: running sums are cropped to the
total, a constant that was added is taken away, picked positions are summed.  Once a value has met
weights of its own, nothing fixed undoes it, since weights count as generic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from fieldwise.axes import AxisMap, Border
from fieldwise.graph.calls import arguments
from fieldwise.graph.constants import constant, is_flat, tensors
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Coord, Fixed, Node, Separable, Shape, Whole
from fieldwise.graph.tensors import TensorLike
from fieldwise.graph.treatment import CONTRACTIONS, POINTWISE, Treatment, treatment
from fieldwise.shift.proof.reasons import ABSOLUTE, ORDERED, PICKED
from fieldwise.shift.proof.signal import Fault


def _inherited(fault: Fault, node: Node) -> Fault:
    """A fault as it is told of what a node makes of a broken operand.

    Positions do not move with the axis, but what is looked up at them may do so again; and what was
    picked one by one may be put side by side again.
    """
    if fault.why in (ABSOLUTE.why, ORDERED["argmax"].why):
        doubt = any(kind.combines in ("asked", "unknown") for kind in node.kinds)
    else:
        doubt = fault.why == PICKED.why and _puts_together(node)
    return replace(fault, known=False) if doubt else fault


def handed_on(faults: Iterable[Fault], node: Node, graph: Graph, shifted: int) -> tuple[Fault, ...]:
    """The faults of a node's operands as they are told of its result.

    shifted: how many of its operands a shift of the input changes
    """
    if not (faults := tuple(faults)):
        return ()
    weights = has_weights(node)
    doubt = not weights and _may_undo(node, graph, shifted)
    return merged_faults(
        replace(
            fault,
            known=fault.known and (fault.settled or not doubt),
            settled=fault.settled or weights,
        )
        for fault in (_inherited(fault, node) for fault in faults)
    )


def merged_faults(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Each fault once: known where it is known of one operand, and settled alike."""
    found: dict[Fault, Fault] = {}
    for fault in faults:
        key = replace(fault, known=True)
        old = found.get(key, fault)
        found[key] = replace(
            fault, known=old.known or fault.known, settled=old.settled or fault.settled
        )
    return tuple(found.values())


def has_weights(node: Node) -> bool:
    """Whether a node multiplies by weights of its own, which count as generic."""
    found = treatment(node)
    if node.op not in CONTRACTIONS and (
        found is None or (found.channel is None and found.whole != "kept")
    ):
        return False
    return any(constant(tensor, "").values is None for tensor in _constants(node))


_SUMS = frozenset("add sub subtract rsub lerp addcmul addcdiv where maximum minimum".split())
"""What makes of two values one in which each may hold what the other lacks: a theorem, since kinds
say of these no more than that they are element by element."""


def _may_undo(node: Node, graph: Graph, shifted: int) -> bool:
    """Whether a node may make of what is broken something that is not.

    It cuts a part out or puts it elsewhere, sums a dimension up, joins two values of which one may
    hold what the other lacks, or meets a constant that may take away what another one added.
    """
    found = treatment(node)
    if node.op in CONTRACTIONS or (found is not None and _sums_up(node, found)):
        return True
    if any(kind.scans for kind in node.kinds) or _rearranges(node, graph):
        return True
    if shifted > 1 and (node.op in _SUMS or _puts_together(node)):
        return True
    return found is POINTWISE and any(
        not is_flat(constant(tensor, "")) for tensor in _constants(node)
    )


def _sums_up(node: Node, found: Treatment) -> bool:
    """Whether it makes one of what several indices hold, without weights that are its own."""
    if found.whole == "symmetric":
        return True
    weighs = found.whole == "kept" or found.channel is not None
    return not weighs and any(isinstance(coord, Whole) for coord in node.coords())


def _puts_together(node: Node) -> bool:
    """Whether it copies to some indices of its result and leaves others to other parts."""
    return any(
        isinstance(step, Separable) and step.where
        for reads in node.reads
        for read in reads
        for step in read.steps
        if read.kind.combines == "one"
    )


def _rearranges(node: Node, graph: Graph) -> bool:
    """Whether it copies some indices of its operand and not others, or in another order."""
    return any(
        isinstance(step, Separable)
        and not step.where
        and not all(map(partial(_holds_all, after), step.coords, before))
        for name, reads in zip(node.results, node.reads, strict=True)
        for read in reads
        if read.kind.combines == "one"
        for step, before, after in read.forward(
            graph.shape(node.operands[read.operand]), graph.shape(name)
        )
    )


def _holds_all(after: Shape, coord: Coord, before: int) -> bool:
    """Whether a result of this shape holds every index of what is read, one after the other."""
    if isinstance(coord, Fixed):
        return coord.indices.count == before
    if not isinstance(coord, Along) or not isinstance(coord.map, AxisMap):
        return False
    if not coord.map.is_single or (coord.map.period, coord.map.advance) != (1, 1):
        return False
    first = 0 if coord.border is Border.WRAP else coord.map(0).first
    return first <= 0 and first + after[coord.dim] >= before


def _constants(node: Node) -> Iterator[TensorLike]:
    return (tensor for _, tensor in tensors(arguments(node)))
