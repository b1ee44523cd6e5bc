"""Attention: softmax(query · keyᵀ + mask) · value, whose mask is judged by its values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fieldwise.graph.calls import arguments, op_name
from fieldwise.graph.constants import Constant, constant
from fieldwise.graph.ir import Ref
from fieldwise.shift.proof.frame import Frame, check_read_whole
from fieldwise.shift.proof.layout import Layout, moves, period_of, size_of, stays
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
from fieldwise.shift.proof.variation import checked


def attended(frame: Frame) -> Layout:
    """The layout of what attention makes of its operands.

    Raises BreaksError where a mask varies with the position, or it does not follow.
    """
    if op_name(frame.node) == "_native_multi_head_attention":
        return _fused(frame)
    given = arguments(frame.node)
    if given.get("dropout_p"):
        raise BreaksError(Fault("dropout is active", "call model.eval()"))
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
    if given["is_causal"]:
        size = [size_of(dim) for dim in scores[-2:]]
        mask = Constant((size[0], size[1]), "causal mask", np.tri(*size, dtype=bool))
        scores = _masked(scores, mask, frame)
    elif given.get("attn_mask") is not None:
        scores = _with_mask(scores, given["attn_mask"], frame)
    check_read_whole(scores[-1])
    weighed = Factor((*batch, "r", "c"), scores)
    return product([weighed, value], [*batch, "r", "o"], frame)


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


def _with_mask(scores: Layout, mask: Any, frame: Frame) -> Layout:
    if isinstance(mask, Ref):
        return added(scores, mask, frame)
    return _masked(scores, constant(mask, "mask or bias"), frame)


def _masked(scores: Layout, known: Constant, frame: Frame) -> Layout:
    known = known.as_dims((1,) * (len(scores) - len(known.shape)) + known.shape)
    fault = varies("attention", known.what)
    if known.what == "causal mask":
        fault = ORDERED["causal"]
    new = tuple(checked(scores, known, period=frame.period, axis_size=frame.axis_size, fault=fault))
    frame.met.append(period_of(new))
    return new


def _fused(frame: Frame) -> Layout:
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
    scores = product([query, key], ["batch", "r", "c"], frame)
    mixed = product([Factor(("batch", "r", "c"), scores), value], ["batch", "r"], frame)
    if frame.position == 0:
        return (*mixed, stays(frame.result[-1]))
    if len(frame.result) == 3:
        return scores
    if len(frame.result) == 4:
        return (scores[0], stays(frame.result[1]), *scores[1:])
    return tuple(map(stays, frame.result))
