"""Attention: softmax(query · keyᵀ + mask) · value, whose mask is judged by its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fieldwise.graph.calls import arguments, op_name
from fieldwise.graph.constants import Constant, constant
from fieldwise.graph.ir import Ref
from fieldwise.shift.proof.frame import Advanced, Frame, check_read_whole
from fieldwise.shift.proof.layout import Layout, moves, size_of, stays
from fieldwise.shift.proof.reasons import ORDERED, varies
from fieldwise.shift.proof.rules.contraction import (
    Factor,
    Label,
    added,
    factor_of,
    product,
    rank_of,
)
from fieldwise.shift.proof.signal import BreaksError, Fault
from fieldwise.shift.proof.variation import against


def attended(frame: Frame) -> Advanced:
    """What attention makes of its operands.

    Raises BreaksError where a mask varies with the position, or it does not follow.
    """
    if op_name(frame.node) == "_native_multi_head_attention":
        return _fused(frame)
    given = arguments(frame.node)
    rank = len(frame.result)
    ranks = {name: rank_of(given[name], frame) for name in ("query", "key", "value")}
    if rank < max(ranks.values()):
        raise BreaksError(Fault("attention's own sums are not looked into", known=False))
    batch: list[Label] = list(range(2 - rank, 0))
    query, key, value = (
        _shared(factor_of(given[name], [*batch[: ranks[name] - 2], *ends], frame), frame)
        for name, ends in (("query", "ri"), ("key", "ci"), ("value", "co"))
    )
    scores = product([query, key], [*batch, "r", "c"], frame)
    layout, mask = scores.layout, given.get("attn_mask")
    if given["is_causal"]:
        half = np.tri(size_of(layout[-2]), size_of(layout[-1]), dtype=bool)
        causal = Constant(half.shape, "causal mask", half)
        layout = against(frame, layout, causal, ORDERED["causal"])
    elif isinstance(mask, Ref):
        layout = added(layout, mask, frame)
    elif mask is not None:
        fault = varies("attention", "mask or bias")
        layout = against(frame, layout, constant(mask, "mask or bias"), fault)
    scores = Advanced.of(layout, scores.period)
    return _weighed(scores, value, [*batch, "r", "c"], [*batch, "r", "o"], frame)


def _weighed(
    scores: Advanced, value: Factor, labels: Sequence[Label], out: Sequence[Label], frame: Frame
) -> Advanced:
    """Values summed up, in the weights that a softmax over the last label makes of scores."""
    check_read_whole(scores.layout[-1])
    made = product([Factor(tuple(labels), scores.layout), value], out, frame)
    return Advanced.of(made.layout, made.period, scores.period)


def _shared(factor: Factor, frame: Frame) -> Factor:
    """A factor whose heads are shared by groups of queries, with every head's own."""
    if len(factor.labels) < 3:
        return factor
    head, heads = len(factor.labels) - 3, frame.result[-3]
    if isinstance(factor.known, Constant):
        if factor.known.shape[head] in (1, heads):
            return factor
        share = heads // factor.known.shape[head]
        values = factor.known.values
        wide = None if values is None else values.repeat(share, head)
        shape = (*factor.known.shape[:head], heads, *factor.known.shape[head + 1 :])
        return replace(factor, known=Constant(shape, factor.known.what, wide))
    dim = factor.known[head]
    if size_of(dim) in (1, heads):
        return factor
    if moves(dim):
        raise BreaksError(Fault("attention whose heads move is not looked into", known=False))
    known = (*factor.known[:head], stays(heads), *factor.known[head + 1 :])
    return replace(factor, known=known)


def _fused(frame: Frame) -> Advanced:
    """Projections and attention in one, of (batch, position, feature)."""
    given = arguments(frame.node)
    if given.get("mask") is not None:
        why = "a fused attention layer with a mask is not looked into"
        raise BreaksError(Fault(why, known=False))
    query, key, value = (
        factor_of(given[name], ["batch", *ends], frame)
        for name, ends in (("query", "ri"), ("key", "ci"), ("value", "ci"))
    )
    for factor in (query, key, value):
        if not isinstance(factor.known, Constant) and moves(factor.known[-1]):
            raise BreaksError(ORDERED["linear"])
    pairs = ["batch", "r", "c"]
    scores = product([query, key], pairs, frame)
    mixed = _weighed(scores, value, pairs, ["batch", "r"], frame)
    layout: Layout = tuple(map(stays, frame.result))
    if frame.position == 0:
        layout = (*mixed.layout, layout[-1])
    elif len(layout) == 3:
        layout = scores.layout
    elif len(layout) == 4:
        layout = (scores.layout[0], layout[1], *scores.layout[1:])
    return Advanced.of(layout, mixed.period)
