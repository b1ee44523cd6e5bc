"""One step of the proof: how the result of a node moves, given how its operands do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fieldwise.graph.calls import arguments, is_tensor, op_name
from fieldwise.graph.constants import constant
from fieldwise.graph.ir import Ref
from fieldwise.graph.treatment import (
    CONTRACTIONS,
    OTHERS,
    POINTWISE,
    POSITIONS,
    RANDOM,
    UNJUDGED,
    Treatment,
    treatment,
)
from fieldwise.shift.proof.constants import with_constants
from fieldwise.shift.proof.frame import Frame
from fieldwise.shift.proof.layout import (
    Layout,
    moves,
    stays,
    uniform,
)
from fieldwise.shift.proof.reads import from_reads
from fieldwise.shift.proof.reasons import ABSOLUTE, ordered, undescribed, unjudged
from fieldwise.shift.proof.rules.attention import attended
from fieldwise.shift.proof.rules.contraction import contracted
from fieldwise.shift.proof.rules.halves import folded
from fieldwise.shift.proof.rules.interpolation import WEIGHTED, check_weights
from fieldwise.shift.proof.rules.sampling import sampled
from fieldwise.shift.proof.rules.single_ops import (
    diagonal_matrix,
    gated,
    histogram,
    paired,
    triangle,
    written,
)
from fieldwise.shift.proof.signal import BreaksError
from fieldwise.shift.proof.signal_names import named
from fieldwise.shift.proof.spectra import (
    check_phases,
    is_spectral,
    met_phases,
    transformed,
)


def advanced(frame: Frame) -> Layout:
    """The layout of a node's result, of whose operands some may move.

    Raises BreaksError with the reason where nothing can be said of it.
    """
    return named(frame, _stepped(frame))


def _stepped(frame: Frame) -> Layout:
    op = frame.node.op
    if not frame.node.reads[frame.position]:
        return _constant_result(frame)
    if is_spectral(frame):
        met = met_phases(frame)
        if met is not None:
            return met
        check_phases(frame)
    half = folded(frame)
    if half is not None:
        return half
    own = _OWN.get(op)
    if own is not None:
        return own(frame)
    if op in CONTRACTIONS:
        return contracted(frame)
    if op in UNJUDGED:
        raise BreaksError(unjudged(op))
    return _treated(frame, _treatment(frame))


def _treatment(frame: Frame) -> Treatment:
    found = treatment(frame.node, frame.position)
    if found is None:
        raise BreaksError(undescribed(frame.node.op))
    if found is POSITIONS and "pool" in frame.node.op and _is_searched(frame):
        raise BreaksError(ABSOLUTE)
    return found


def _is_searched(frame: Frame) -> bool:
    """Whether a dimension that moves is one of those in which a pool counts its positions.

    They are counted through the whole plane, also along a dimension with windows of one.
    """
    dimensions = [int(char) for char in op_name(frame.node) if char.isdigit()]
    plane = dimensions[0] if dimensions else len(frame.result)
    return any(any(map(moves, layout[-plane:])) for layout in frame.layouts.values())


def _treated(frame: Frame, treated: Treatment) -> Layout:
    layout = from_reads(frame, treated)
    if frame.node.op in WEIGHTED:
        check_weights(frame, layout)
    if treated.channels and not _is_statistic(frame) and _has_weights(frame):
        channel = _channel(frame)
        if moves(layout[channel]):
            raise BreaksError(ordered(frame.node.op))
        own = stays(frame.result[channel])
        layout = (*layout[:channel], own, *layout[channel + 1 :])
    return with_constants(frame, treated, layout)


def _is_statistic(frame: Frame) -> bool:
    """Whether it is a mean or a deviation that a norm returns besides, before any weights."""
    return frame.position > 0 and "norm" in frame.node.op


def is_random(frame: Frame) -> bool:
    """Whether the op answers differently each time."""
    op, given = frame.node.op, arguments(frame.node)
    if op in RANDOM:
        return True
    drawn = any(read.kind.draws for reads in frame.node.reads for read in reads)
    return drawn or bool(given.get("dropout_p"))


def _constant_result(frame: Frame) -> Layout:
    """What reads no operand is a constant, of which only what fills it is known."""
    given = arguments(frame.node)
    source = given.get("src", given.get("value", 0 if frame.node.op == "zero" else None))
    if source is None or isinstance(source, Ref):
        return tuple(map(stays, frame.result))
    if not is_tensor(source):
        return tuple(map(uniform, frame.result))
    known = constant(source, "a constant")
    known = known.as_dims((1,) * (len(frame.result) - len(known.shape)) + known.shape)
    return tuple(
        uniform(size) if known.uniform_along(dim) else stays(size)
        for dim, size in enumerate(frame.result)
    )


def _element_wise(frame: Frame) -> Layout:
    """Noise that is given besides is drawn in training only."""
    return _treated(frame, replace(POINTWISE, constants="none"))


_OWN = {
    "fft": transformed,
    "attention": attended,
    "grid_sample": sampled,
    "diag_embed": diagonal_matrix,
    "histc": histogram,
    "glu": gated,
    "tril": triangle,
    "triu": triangle,
    **dict.fromkeys(("loss", "dist"), paired),
    **dict.fromkeys((op for op in OTHERS if op.startswith(("index_", "scatter"))), written),
    **dict.fromkeys((op for op in OTHERS if op.startswith("rrelu")), _element_wise),
}
"""Ops that no treatment describes."""


# -------------------------------------------------------------------- channels


def _channel(frame: Frame) -> int:
    """The dimension whose positions have weights of their own."""
    given, rank = arguments(frame.node), len(frame.result)
    name = op_name(frame.node)
    if frame.node.op == "encoder_layer":
        return rank - 1
    if name == "conv_tbc" or "batch_first" in given:
        return rank - 1
    if frame.node.op.startswith("conv") and isinstance(given.get("stride"), (list, tuple)):
        weight = given["weight"]
        spatial = (
            len(frame.graph.shape(frame.node.operands[weight.operand]))
            if isinstance(weight, Ref)
            else len(weight.shape)
        ) - 2
        return rank - spatial - 1
    return min(1, rank - 1)


def _has_weights(frame: Frame) -> bool:
    """Whether the op has weights per channel (a norm may have none, and a PReLU one for all)."""
    given: Mapping[str, Any] = arguments(frame.node)
    if frame.node.op == "prelu" and is_tensor(given.get("weight")):
        return bool(given["weight"].numel() > 1)
    if "norm" not in frame.node.op:
        return True
    return any(given.get(name) is not None for name in ("weight", "bias", "running_mean"))
