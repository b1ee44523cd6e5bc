"""Whether what is broken stays so: what may be undone further down is undecided, not broken.

A value that does not move with its input may be made one that does: running sums are cropped to the
total, a constant that was added is taken away, picked positions are summed.  Once a value has met
weights of its own, nothing fixed undoes it, since weights count as generic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fieldwise.graph.calls import arguments
from fieldwise.graph.constants import constant, is_flat, tensors
from fieldwise.graph.ir import Node
from fieldwise.graph.tensors import TensorLike
from fieldwise.graph.treatment import CONTRACTIONS, POINTWISE, treatment
from fieldwise.shift.proof.reasons import ABSOLUTE, ORDERED, PICKED
from fieldwise.shift.proof.signal import Fault

_LOOKS_UP = frozenset(
    "gather take index index_select embedding one_hot scatter scatter_add scatter_reduce "
    "index_put index_add index_copy max_unpool".split()
)
_PUTS_BACK = frozenset("cat stack write slice_scatter select_scatter".split())


def _inherited(fault: Fault, op: str) -> Fault:
    """A fault as it is told of what an op makes of a broken operand.

    Positions do not move with the axis, but what is looked up at them may do so again; and what was
    picked one by one may be put side by side again.
    """
    looked_up = op in _LOOKS_UP and fault.why in (ABSOLUTE.why, ORDERED["argmax"].why)
    put_back = op in _PUTS_BACK and fault.why == PICKED.why
    return replace(fault, known=False) if looked_up or put_back else fault


def handed_on(faults: Iterable[Fault], node: Node, shifted: int) -> tuple[Fault, ...]:
    """The faults of a node's operands as they are told of its result.

    shifted: how many of its operands a shift of the input changes
    """
    weights = has_weights(node)
    doubt = not weights and _may_undo(node, shifted)
    return merged_faults(
        replace(
            fault,
            known=fault.known and (fault.settled or not doubt),
            settled=fault.settled or weights,
        )
        for fault in (_inherited(fault, node.op) for fault in faults)
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
    multiplies = node.op in CONTRACTIONS or node.op == "layer_norm"
    if not multiplies and not (found is not None and found.channels):
        return False
    return any(constant(tensor, "").values is None for tensor in _constants(node))


_CUTS = frozenset(
    "slice narrow select split unbind index index_select gather take diagonal unfold".split()
)
_FIXED = frozenset({"fft", "cumulative", *CONTRACTIONS})
_SUMS = frozenset("add sub subtract rsub lerp addcmul addcdiv where maximum minimum".split())


def _may_undo(node: Node, shifted: int) -> bool:
    """Whether a node may make of what is broken something that is not.

    It cuts a part out, reads a dimension in any order, joins two values of which one may hold what
    the other lacks, or meets a constant that may take away what another one added.
    """
    found = treatment(node)
    if node.op in _CUTS or node.op in _FIXED:
        return True
    if found is not None and found.whole == "symmetric":
        return True
    if shifted > 1 and (node.op in _SUMS or node.op in _PUTS_BACK):
        return True
    return found is POINTWISE and any(
        not is_flat(constant(tensor, "")) for tensor in _constants(node)
    )


def _constants(node: Node) -> Iterator[TensorLike]:
    return (tensor for _, tensor in tensors(arguments(node)))
