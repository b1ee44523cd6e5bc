"""One step of the proof: how the result of a node moves, given how its operands do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fieldwise.graph.calls import op_name
from fieldwise.graph.kinds import INTERPOLATION
from fieldwise.graph.treatment import (
    CONTRACTIONS,
    POINTWISE,
    POSITIONS,
    RANDOM,
    UNJUDGED,
    Treatment,
    treatment,
)
from fieldwise.shift.proof.constants import filling, with_constants
from fieldwise.shift.proof.frame import Advanced, Frame
from fieldwise.shift.proof.layout import moves, stays, uniform
from fieldwise.shift.proof.reads import from_reads
from fieldwise.shift.proof.reasons import ABSOLUTE, ordered, undescribed, unjudged
from fieldwise.shift.proof.rules.attention import attended
from fieldwise.shift.proof.rules.contraction import contracted
from fieldwise.shift.proof.rules.halves import COMMUTES, folded
from fieldwise.shift.proof.rules.interpolation import check_weights
from fieldwise.shift.proof.rules.sampling import sampled
from fieldwise.shift.proof.rules.single_ops import (
    diagonal_matrix,
    gated,
    histogram,
    paired,
    triangle,
    written,
)
from fieldwise.shift.proof.rules.spectra import met_phases, transformed
from fieldwise.shift.proof.signal import BreaksError

Theorem = Callable[[Frame], Advanced | None]
"""What is proven of an op; None where it does not apply."""


def advanced(frame: Frame) -> Advanced:
    """What a node makes of its operands, of which some may move.

    Raises BreaksError with the reason where nothing can be said of it.
    """
    if not frame.node.reads[frame.position]:
        return _filled(frame)
    theorem = THEOREMS.get(frame.node.op, treated)
    return met_phases(frame) or theorem(frame) or treated(frame)


def treated(frame: Frame) -> Advanced:
    """What an op makes that treats positions as its kinds say.

    Raises BreaksError where they do not say it, or it does not follow.
    """
    found = treatment(frame.node, frame.position)
    if found is None:
        raise BreaksError(undescribed(frame.node))
    if found is POSITIONS and "pool" in frame.node.op and _is_searched(frame):
        raise BreaksError(ABSOLUTE)
    return _as_treated(frame, found)


def _is_searched(frame: Frame) -> bool:
    """Whether a dimension that moves is one of those in which a pool counts its positions.

    They are counted through the whole plane, also along a dimension with windows of one.
    """
    dimensions = [int(char) for char in op_name(frame.node) if char.isdigit()]
    plane = dimensions[0] if dimensions else len(frame.result)
    return any(any(map(moves, layout[-plane:])) for layout in frame.layouts.values())


def _as_treated(frame: Frame, found: Treatment) -> Advanced:
    made = from_reads(frame, found)
    layout = made.layout
    if any(read.kind == INTERPOLATION for read in frame.node.reads[frame.position]):
        check_weights(frame, layout)
    if (channel := found.channel) is None:
        return Advanced.of(with_constants(frame, found, layout), made.period)
    if moves(layout[channel]):
        raise BreaksError(ordered(frame.node))
    own = stays(frame.result[channel])
    return Advanced.of((*layout[:channel], own, *layout[channel + 1 :]), made.period)


def is_random(frame: Frame) -> bool:
    """Whether the op answers differently each time."""
    return frame.node.op in RANDOM or any(kind.draws for kind in frame.node.kinds)


def _filled(frame: Frame) -> Advanced:
    """What reads no operand is a constant, of which only what fills it is known."""
    known = filling(frame.node)
    if known is None:
        return Advanced.of(tuple(map(stays, frame.result)))
    known = known.of_rank(len(frame.result))
    return Advanced.of(tuple(
        uniform(size) if known.uniform_along(dim) else stays(size)
        for dim, size in enumerate(frame.result)
    ))  # fmt: skip


def _element_wise(frame: Frame) -> Advanced:
    """Noise that is given besides is drawn in training only."""
    return from_reads(frame, POINTWISE)


def _given_up(frame: Frame) -> None:
    raise BreaksError(unjudged(frame.node.op))


_WRITES = """
    index_put index_copy index_fill index_add index_reduce scatter scatter_add scatter_reduce
"""
_NOISY = "rrelu rrelu_with_noise rrelu_with_noise_functional"

THEOREMS: Mapping[str, Theorem] = {
    **dict.fromkeys(UNJUDGED, _given_up),
    **dict.fromkeys(CONTRACTIONS, contracted),
    **dict.fromkeys(COMMUTES, folded),
    **dict.fromkeys(_WRITES.split(), written),
    **dict.fromkeys(_NOISY.split(), _element_wise),
    "attention": attended,
    "diag_embed": diagonal_matrix,
    "dist": paired,
    "fft": transformed,
    "glu": gated,
    "grid_sample": sampled,
    "histc": histogram,
    "loss": paired,
    "tril": triangle,
    "triu": triangle,
}
"""By op, what is proven of it where how it treats positions does not say it all."""
