"""Attention: a query position reads every key and value that its mask lets through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fieldwise.axes import EMPTY, AxisMap, IndexSet
from fieldwise.capture.torch.registry import Kinds, OpCall, Reads, known_values, one, rule
from fieldwise.capture.torch.rules.common import Where, past, source
from fieldwise.capture.torch.rules.mask import visible
from fieldwise.capture.torch.rules.product import batched
from fieldwise.graph.ir import (
    AT_ZERO,
    WHOLE,
    Along,
    Coord,
    Read,
    Ref,
    Unknown,
    separable,
)
from fieldwise.graph.kinds import ANY, NORMALISED, WEIGHTED


def _weighing(call: OpCall) -> Kinds:
    """A mean of the values; the logarithm of the sum of scores is a function of the keys."""
    return (replace(WEIGHTED, draws=bool(call["dropout_p"])), ANY)


@rule(
    "scaled_dot_product_attention", name="attention", kind=_weighing,
    asks=("query", "key", "attn_mask"),
)  # fmt: skip
def _attention(call: OpCall) -> Reads:
    """(…, queries, features); a derived mask is read as the row of its query.

    A query that sees one key only weighs it with 1, whatever the query and the key hold.
    """
    return one(*_attended(call))


@rule(
    "_scaled_dot_product_flash_attention_for_cpu", name="attention", kind=_weighing,
    asks=("query", "key", "attn_mask"),
)  # fmt: skip
def _attention_and_scores(call: OpCall) -> Reads:
    """The logarithm of each query's sum of scores is a result too."""
    query = Along(len(call.result) - 2)
    scores = [
        _guarded(_heads(number, call, (place, WHOLE)), where)
        for keys, where in _visible(call)
        for name, place in (("query", query), ("key", keys))
        if (number := call.operand(name)) is not None
    ]
    return (tuple(_attended(call)), (*scores, *_of_mask(call)))


def _attended(call: OpCall) -> list[Read]:
    rank = len(call.result)
    query = Along(rank - 2)
    reads: list[Read] = []
    for keys, where in _visible(call):
        compared = (*where, *_several(keys, call))
        for name, coords, guards in (
            ("query", (query, WHOLE), compared),
            ("key", (keys, WHOLE), compared),
            ("value", (keys, Along(rank - 1)), where),
        ):
            if (number := call.operand(name)) is not None:
                reads.append(_guarded(_heads(number, call, coords), guards))
    return [*reads, *_of_mask(call)]


def _of_mask(call: OpCall) -> list[Read]:
    """The row of a query in a derived mask."""
    number = call.operand("attn_mask")
    if number is None:
        return []
    shape = call.operands[number]
    row = AT_ZERO if shape[-2] == 1 else Along(len(call.result) - 2)
    return [batched(number, shape, call.result[:-2], (row, WHOLE))]


def _guarded(read: Read, where: Where) -> Read:
    return separable(read.operand, *read.coords(), where=where)


def _several(keys: Coord, call: OpCall) -> Where:
    """A guard for the queries that see more than one key, where not all do."""
    dim, size = len(call.result) - 2, call.shape("key")[-2]
    positions = IndexSet.range(0, call.result[dim])
    several = positions if size > 1 else EMPTY
    if isinstance(keys, Along):
        several = IndexSet.of(i for i in positions if keys.map(i).clip(size).count > 1)
    return () if several == positions else ((dim, several),)


def _heads(number: int, call: OpCall, tail: tuple[Coord, ...]) -> Read:
    """Heads of keys may be shared between groups of queries (grouped-query attention)."""
    shape, result = call.operands[number], call.result
    head = len(shape) - 3
    if head < 0 or shape[head] in (1, result[head]):
        return batched(number, shape, result[:-2], tail)
    share = result[head] // shape[head]
    heads = Along(head, AxisMap(1, (IndexSet(0, 1),) * share))
    return separable(number, *(Along(dim) for dim in range(head)), heads, *tail)


def _visible(call: OpCall) -> list[tuple[Coord, Where]]:
    """The keys that a query sees, per set of batch entries and heads with the same mask."""
    queries, keys = call.result[-2], call.shape("key")[-2]
    dim = len(call.result) - 2
    if call["is_causal"]:
        return [(Along(dim, past(queries, of=keys)), ())]
    mask = call["attn_mask"]
    if mask is None or isinstance(mask, Ref):
        return [(WHOLE, ())]
    values = known_values(mask)
    if values is None:
        return [(Unknown("an attention mask on the meta device, which has no values"), ())]
    opened = values if values.dtype == bool else ~np.isneginf(values)
    return list(visible(opened, range(dim + 2 - opened.ndim, dim + 1), queries))


# -------------------------------------------------------------------- fused encoder layers


@rule("_native_multi_head_attention", name="attention", kind=ANY)
def _multi_head_attention(call: OpCall) -> Reads:
    """Projections and attention in one: (batch, position, feature), and the mean weights."""
    keys = _all_positions(call["mask"])

    def reads(query: Coord) -> tuple[Read, ...]:
        places = {"query": query, "key": keys, "value": keys}
        return tuple(
            separable(number, Along(0), place, WHOLE)
            for name, place in places.items()
            if (number := call.operand(name)) is not None
        )

    weights = call.results[1:]
    return (reads(Along(1)), *(reads(Along(len(w) - 2)) if len(w) > 1 else () for w in weights))


@rule("_transformer_encoder_layer_fwd", name="encoder_layer", kind=NORMALISED.per_channel(2))
def _encoder_layer(call: OpCall) -> Reads:
    number, _ = source(call, "src")
    return one(separable(number, Along(0), _all_positions(call["mask"]), WHOLE))


def _all_positions(mask: object) -> Coord:
    return WHOLE if mask is None else Unknown("a fused encoder layer whose mask is not looked at")
