"""Ops that count how many elements fall where: what is counted is read whole."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fieldwise.axes import IndexSet, index_map
from fieldwise.capture.torch.registry import OpCall, Reads, known_values, one, rule
from fieldwise.capture.torch.rules.common import along_but, entirely
from fieldwise.graph.ir import (
    WHOLE,
    Along,
    Coord,
    Fixed,
    Read,
    Unknown,
    identity,
    numel,
    separable,
    unknown,
)
from fieldwise.graph.kinds import SYMMETRIC


@rule("histc", kind=SYMMETRIC)
def _histc(call: OpCall) -> Reads:
    return one(*entirely(call, "self"))


@rule("histogram")
def _histogram(call: OpCall) -> Reads:
    """The counts, and the edges between them, which are given or span what is counted.

    Nothing is counted of nothing, and where edges span what is counted one bin holds all, and the
    middle one a single element: of two in the middle rounding decides.
    """
    spans, count = call.args.get("range", ()) is None, numel(call.shape("self"))
    settled = spans and 1 in (call["bins"], count) and not call["density"]
    counted = () if settled else ("self", "bins")
    counts = tuple(entirely(call, *counted, "weight")) if count else ()
    if settled and call["bins"] % 2 == 0 and (number := call.operand("self")) is not None:
        rank = len(call.operands[number])
        counts += (unknown(number, rank, "the element lies between two bins"),)
    if (number := call.operand("bins")) is not None:
        return (counts, (identity(number, 1),))
    return (counts, tuple(entirely(call, "self")) if spans else ())


@rule("_histogramdd_from_bin_cts", "_histogramdd_from_bin_tensors", name="histogram")
def _histogram_of_rows(call: OpCall) -> Reads:
    """Counts of points, of which each row is one; edges that are not given span the points.

    One bin over all there is holds all there is.
    """
    edges = [separable(n, WHOLE) for name, n in call.derived() if name == "bins"]
    shape = call.shape("self")
    counted = list(range(shape[-1]))
    if call.args.get("range", ()) is None and not call["density"]:
        counted = [dim for dim, bins in enumerate(call["bins"]) if bins > 1]
    return one(*_columns(call, counted), *entirely(call, "weight"), *edges)


@rule("_histogramdd_bin_edges", name="histogram")
def _histogram_edges(call: OpCall) -> Reads:
    """Per dimension of the points, the edges that span them, unless a range is given."""
    spans = call.args.get("range") is None
    return tuple(tuple(_columns(call, [dim] if spans else [])) for dim in range(len(call.results)))


def _columns(call: OpCall, columns: Sequence[int]) -> list[Read]:
    """Of all points these columns."""
    number = call.operand("self")
    if number is None or not columns:
        return []
    before = [WHOLE] * (len(call.operands[number]) - 1)
    return [separable(number, *before, Fixed(IndexSet.of(columns)))]


@rule("bincount")
def _bincount(call: OpCall) -> Reads:
    """Count k sums the weights of the elements that are k."""
    number = call.operand("weights")
    if number is None:
        return one()
    numbers = known_values(call["self"])
    if numbers is None:
        return one(separable(number, Unknown("bincount of numbers that are not known")))
    rows = [IndexSet.of((numbers == k).nonzero()[0].tolist()) for k in range(call.result[0])]
    return one(separable(number, Along(0, index_map(rows))))


@rule("segment_reduce")
def _segment_reduce(call: OpCall) -> Reads:
    """Segment s reduces the rows from where the one before ends, counted along an axis."""
    axis, lengths = call["axis"], call["lengths"]
    lengths = None if lengths is None else known_values(lengths)
    reads = entirely(call, "lengths", "offsets", "indices")
    if (number := call.operand("data")) is not None:
        rows: Coord = Unknown("segment_reduce of segments that are data, or differ between rows")
        if lengths is not None and lengths.ndim == 1:
            ends = [0, *np.cumsum(lengths).tolist()]
            rows = Along(axis, index_map([IndexSet.range(*pair) for pair in pairwise(ends)]))
        reads.append(along_but(number, len(call.operands[number]), {axis: rows}))
    return one(*reads)
