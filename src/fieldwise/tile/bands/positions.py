"""How constants that are as long as the axis depend on the length, found at several lengths.

A table of positions is a value of positions only.  What it holds of a row at any length is what it
holds of it at all lengths seen: a prefix, maybe without some rows at the end that know where it is.
Of those rows it may be seen that they come back, or that pairs of rows are alike that are as far
apart; then nothing has to be captured again as a stream grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from fieldwise.capture.torch.overloads import tensors_of
from fieldwise.graph.calls import constants_of
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node
from fieldwise.tile.bands.kernels.constants import Laws, RowLaw
from fieldwise.tile.errors import StreamError, reason

GraphLaws = dict[tuple[int, int], RowLaw]
"""By number of the node, and of the constant in its call."""


def find_laws(graphs: Sequence[Graph]) -> GraphLaws:
    """The laws of constants that are longer in one capture than in another, the longest last.

    Graphs of different ops have none from where they differ; comparing programs tells that.

    Raises StreamError, which names the ops that take a constant whose rows depend on the length.
    """
    found, refused = GraphLaws(), []
    for number, nodes in enumerate(zip(*(graph.nodes for graph in graphs), strict=False)):
        for place, tensors in enumerate(zip(*map(_constants, nodes), strict=False)):
            dims = _growing(tensors)
            if not dims:
                continue
            tails = {_tail(*pair, dims) for pair in pairwise(tensors)}
            if len(tails) > 1 or None in tails:
                refused.append(reason(nodes[0], KNOWS_LENGTH))
                continue
            tail = tails.pop() or 0
            found[number, place] = _law(tensors[-1], dims, tail)
    if refused:
        raise StreamError("The model cannot be streamed without knowing its end", refused, ANNOUNCE)
    return found


def laws_of(graph: Graph, laws: GraphLaws) -> Laws:
    """The laws by identity of the constants of a graph."""
    found: dict[int, RowLaw] = {}
    for (number, place), law in laws.items():
        if number < len(graph.nodes):
            constants = _constants(graph.nodes[number])
            if place < len(constants):
                found[id(constants[place])] = law
    return found


def _constants(node: Node) -> list[Tensor]:
    return [] if node.source is None else tensors_of([constants_of(node.source)])


def _growing(tensors: Sequence[Tensor]) -> tuple[int, ...]:
    """The dimensions in which some tensors of one rank differ."""
    if len({tensor.dim() for tensor in tensors}) > 1:
        return ()
    sizes = zip(*(tensor.shape for tensor in tensors), strict=True)
    return tuple(dim for dim, of in enumerate(sizes) if len(set(of)) > 1)


def _tail(one: Tensor, other: Tensor, dims: Sequence[int]) -> int | None:
    """How many rows at the end of the shorter one differ; None where all do."""
    if one.is_meta or other.is_meta:
        return 0
    for dim in dims:
        size = min(one.shape[dim], other.shape[dim])
        one, other = one.narrow(dim, 0, size), other.narrow(dim, 0, size)
    if one.shape != other.shape or one.dtype != other.dtype:
        return None
    differs = one != other
    if not differs.any():
        return 0
    places = differs.nonzero()
    tail = max(one.shape[dim] - int(places[:, dim].min()) for dim in dims)
    return tail if 2 * tail <= min(one.shape[dim] for dim in dims) else None


# -------------------------------------------------------------------- what comes back


def _law(tensor: Tensor, dims: tuple[int, ...], tail: int) -> RowLaw:
    if tensor.is_meta:
        return RowLaw(dims, tail)
    if len(dims) == 1:
        size = tensor.shape[dims[0]] - tail
        steps, start = _period(tensor.narrow(dims[0], 0, size).movedim(dims[0], 0))
        return RowLaw(dims, tail, steps, start)
    if len(dims) == 2 and not tail:
        return RowLaw(dims, tail, _relation(tensor.movedim(dims, (0, 1))))
    return RowLaw(dims, tail)


def _period(rows: Tensor) -> tuple[tuple[int, ...], int]:
    """After how many rows they come back, and from which row on; seen at least three times."""
    count = rows.shape[0]
    if count < 3:
        return (), 0
    numbers = torch.unique(rows.reshape(count, -1), dim=0, return_inverse=True)[1]
    again = (numbers[:-1] == numbers[-1]).nonzero().flatten().flip(0)
    for step in (count - 1 - again[:_MOST_TRIED]).tolist():
        other = (numbers[step:] != numbers[: count - step]).nonzero().flatten()
        start = int(other[-1]) + 1 if len(other) else 0
        if 2 * start <= count and count - start >= 3 * step:
            return (step,), start
    return (), 0


def _relation(pairs: Tensor) -> tuple[int, ...]:
    """By how many rows and columns pairs may be moved; seen at least three times."""
    rows, columns = pairs.shape[:2]
    for step in range(1, min(rows // 3, _MOST_TRIED) + 1):
        if step * columns % rows:
            continue
        advance = step * columns // rows
        if torch.equal(pairs[-1, advance:], pairs[-1 - step, : columns - advance]) and torch.equal(
            pairs[step:, advance:], pairs[:-step, : columns - advance]
        ):
            return step, advance
    return ()


_MOST_TRIED = 64
KNOWS_LENGTH = "a constant of it depends on the total length"
ANNOUNCE = (
    "Announce the length, session(length=...), or what it will be a multiple of, "
    "session(multiple=...)."
)
