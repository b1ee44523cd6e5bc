"""Ops that put a constant in some places: exact where a constant says in which.

The open places of a mask are a union of products, so each read is guarded (``where``).  A mask
that derives from the input is data and closes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fieldwise.axes import IndexSet, index_map
from fieldwise.capture.torch.registry import OpCall, Reads, known_values, one, rule
from fieldwise.capture.torch.rules.common import Where, broadcasts, source
from fieldwise.graph.ir import WHOLE, Along, Coord, Read, broadcast, separable
from fieldwise.graph.kinds import COPY, Kind


@rule("tril", kind=COPY)
def _tril(call: OpCall) -> Reads:
    return _triangle(call, np.tril)


@rule("triu", kind=COPY)
def _triu(call: OpCall) -> Reads:
    return _triangle(call, np.triu)


def _triangle(call: OpCall, half: Callable[..., NDArray[np.bool_]]) -> Reads:
    number, shape = source(call)
    opened = half(np.ones(shape[-2:], dtype=bool), call["diagonal"])
    return one(*through(call, number, opened))


def _filling(call: OpCall) -> Kind:
    """A number, not a tensor, may stand where nothing is read."""
    names = ("value", "self", "other")
    fill = [n for n in names if n in call.args and isinstance(call.args[n], (int, float))]
    return replace(COPY, fill=fill[0]) if fill else COPY


@rule("masked_fill", kind=_filling, asks=("mask",))
def _masked_fill(call: OpCall) -> Reads:
    return one(*_chosen(call, "mask", self=False, value=True))


@rule("where", kind=_filling, asks=("condition",))
def _where(call: OpCall) -> Reads:
    return one(*_chosen(call, "condition", self=True, other=False))


def _chosen(call: OpCall, mask: str, **taken: bool) -> list[Read]:
    """A mask, and each operand where it is taken: where a constant mask is true, or is false."""
    given, reads = call[mask], broadcasts(call, mask)
    values = known_values(given)
    for name, truth in taken.items():
        if (number := call.operand(name)) is not None:
            opened = None if values is None else values.astype(bool) == truth
            reads += through(call, number, opened)
    return reads


def through(call: OpCall, number: int, opened: np.ndarray | None) -> list[Read]:
    """The operand, broadcast to the result, where ``opened`` (None: everywhere)."""
    if opened is None:
        return [broadcast(number, call.operands[number], call.result)]
    rank = len(call.result)
    return guarded(call, number, opened, range(rank - opened.ndim, rank))


def guarded(call: OpCall, number: int, opened: np.ndarray, dims: Sequence[int]) -> list[Read]:
    """The operand, broadcast to the result, at the true places of a mask over some dimensions."""
    coords = tuple(broadcast(number, call.operands[number], call.result).coords())
    guards = (tuple((dims[k], rest) for k, rest in where) for where in products(opened))
    return [separable(number, *coords, where=where) for where in guards]


def products(opened: np.ndarray, first: int = 0) -> Iterator[Where]:
    """The true places of a mask as disjoint guards; its dimensions are counted from ``first``.

    >>> list(products(np.eye(2, dtype=bool)))
    [((0, IndexSet{0}), (1, IndexSet{0})), ((0, IndexSet{1}), (1, IndexSet{1}))]
    """
    if not opened.ndim:
        if opened:
            yield ()
        return
    for rows, pattern in equal_slices(opened):
        everywhere = len(rows) == len(opened)
        guard: Where = () if everywhere else ((first, IndexSet.of(rows)),)
        for rest in products(pattern, first + 1):
            yield (*guard, *rest)


def equal_slices(values: np.ndarray) -> list[tuple[list[int], np.ndarray]]:
    """The distinct slices along the first dimension, each with the indices that hold it."""
    found: dict[bytes, list[int]] = {}
    for index, part in enumerate(values):
        found.setdefault(np.ascontiguousarray(part).tobytes(), []).append(index)
    return [(indices, values[indices[0]]) for indices in found.values()]


def visible(opened: np.ndarray, dims: Sequence[int], size: int) -> Iterator[tuple[Coord, Where]]:
    """The places along a mask's last axis that each result index sees.

    The other axes are the result's dimensions ``dims``; the last of these, of length ``size``,
    drives a table, and the tables are guarded along the others where they differ.

    >>> [(coord, where)] = visible(np.tri(3, dtype=bool), (0,), 3)
    >>> coord.map.rows[1], where
    (IndexSet{0..1}, ())
    """
    if opened.ndim == 2:
        yield _table(opened, dims[0], size), ()
        return
    for indices, part in equal_slices(opened):
        guard: Where = () if len(indices) == len(opened) else ((dims[0], IndexSet.of(indices)),)
        for coord, where in visible(part, dims[1:], size):
            yield coord, (*guard, *where)


def _table(opened: np.ndarray, dim: int, size: int) -> Coord:
    if opened.all():
        return WHOLE
    rows = [IndexSet.of(row.nonzero()[0].tolist()) for row in opened]
    return Along(dim, index_map(rows * (size if len(rows) == 1 else 1)))
