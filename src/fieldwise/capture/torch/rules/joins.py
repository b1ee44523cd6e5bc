"""Ops that put copies beside each other: joins, repeats, rolls, flips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from fieldwise.axes import AxisMap, Border, IndexSet, index_map
from fieldwise.capture.torch.registry import OpCall, Reads, known_values, normal_dim, one, rule
from fieldwise.capture.torch.rules.common import (
    along_but,
    broadcasts,
    entirely,
    source,
)
from fieldwise.graph.ir import (
    AT_ZERO,
    WHOLE,
    Along,
    Coord,
    Read,
    Ref,
    Reshape,
    Separable,
    Shape,
    Unknown,
    numel,
    separable,
    straight,
)
from fieldwise.graph.kinds import ANY, COPY


@rule("cat", "concat", "concatenate", name="cat", kind=COPY)
def _cat(call: OpCall) -> Reads:
    rank = len(call.result)
    dim = normal_dim(call["dim"], rank)
    reads, start = [], 0
    for item in call["tensors"]:
        shape = call.shape_of(item)
        if shape == (0,):  # torch lets empty tensors of any rank through
            continue
        if isinstance(item, Ref):
            reads.append(_at_places(item.operand, rank, dim, start, shape[dim]))
        start += shape[dim]
    return one(*reads)


@lru_cache(maxsize=4096)
def _at_places(number: int, rank: int, dim: int, start: int, count: int) -> Read:
    """An operand of a concatenation; what is wider has the same operands at the same places."""
    coords = list(straight(rank))
    coords[dim] = Along(dim, AxisMap.affine(1, -start))
    here = ((dim, IndexSet.range(start, start + count)),)
    return separable(number, *coords, where=here, kind=COPY)


@rule("_chunk_cat", kind=COPY)
def _chunk_cat(call: OpCall) -> Reads:
    """Each tensor cut into chunks along a dimension, zeros behind it; chunk by chunk in one line.

    What follows the dimension is part of the line, and so is the chunk's share of the dimension.
    """
    chunks, reads, start = call["num_chunks"], list[Read](), 0
    for item in call["tensors"]:
        shape = call.shape_of(item)
        dim = normal_dim(call["dim"], len(shape))
        share = -(-shape[dim] // chunks)
        padded = (*shape[:dim], share * chunks, *shape[dim + 1 :])
        length = share * numel(shape[dim + 1 :])
        if isinstance(item, Ref):
            line = Along(dim + 1, AxisMap.affine(1, -start))
            steps = (
                Separable(straight(len(shape))),
                Reshape(),
                Separable((*straight(dim + 1), line)),
            )
            reads.append(Read(item.operand, steps, (padded, (*shape[:dim], chunks, length))))
        start += length
    return one(*reads)


@rule("stack", "_stack", name="stack", kind=COPY)
def _stack(call: OpCall) -> Reads:
    rank = len(call.result)
    dim = normal_dim(call["dim"], rank)
    rest = [Along(d) for d in range(rank) if d != dim]
    return one(
        *(
            separable(item.operand, *rest, where=((dim, IndexSet(index, 1)),))
            for index, item in enumerate(call["tensors"])
            if isinstance(item, Ref)
        )
    )


@rule("expand", "expand_copy", "expand_as", "broadcast_to", name="expand", kind=COPY)
def _expand(call: OpCall) -> Reads:
    return one(*broadcasts(call, "self"))


@rule("repeat", "tile", kind=COPY)
def _repeat(call: OpCall) -> Reads:
    number, shape = source(call)
    lead = len(call.result) - len(shape)
    return one(
        separable(
            number,
            *(_repeated(lead + dim, size, call.result) for dim, size in enumerate(shape)),
        )
    )


def _repeated(dim: int, size: int, result: Shape) -> Coord:
    if result[dim] == size:
        return Along(dim)
    return AT_ZERO if size == 1 else Along(dim, border=Border.WRAP)


@rule("repeat_interleave", kind=COPY, asks=("repeats",))
def _repeat_interleave(call: OpCall) -> Reads:
    """Which element stands at an index is counted from all repeats."""
    if "self" not in call.args:  # the indices themselves
        return one(*entirely(call))
    reads = entirely(call, "repeats")
    if (number := call.operand("self")) is not None:
        shape = call.operands[number]
        if call["dim"] is None:
            flat = (numel(shape),)
            each = Separable((_interleaved(call, 0, flat[0]),))
            reads.append(Read(number, (Reshape(), each), (flat,)))
        else:
            dim = normal_dim(call["dim"], len(shape))
            coord = _interleaved(call, dim, shape[dim])
            reads.append(along_but(number, len(shape), {dim: coord}))
    return one(*reads)


def _interleaved(call: OpCall, dim: int, size: int) -> Coord:
    repeats: int | Ref | torch.Tensor = call["repeats"]
    if isinstance(repeats, int):
        return Along(dim, AxisMap(1, (IndexSet(0, 1),) * repeats))
    times = known_values(repeats)
    if times is None:
        return Unknown(f"{call.named('repeat_interleave')} with repeats whose values are not known")
    counts = times.reshape(-1).tolist() * (size if times.size == 1 else 1)
    rows = [IndexSet(index, 1) for index, count in enumerate(counts) for _ in range(count)]
    return Along(dim, index_map(rows))


@rule("linspace", "logspace", kind=ANY)
def _spaced(call: OpCall) -> Reads:
    """Numbers from a scalar ``start`` to a scalar ``end``, which are the first and the last."""
    every = IndexSet.range(0, call.result[0])
    ends = {"start": every, "end": every - IndexSet(0, 1)}
    if call.result[0] > 1:
        ends["start"] = every - IndexSet(call.result[0] - 1, 1)
    return one(
        *(
            separable(number, *[WHOLE] * len(call.operands[number]), where=((0, here),))
            for name, here in ends.items()
            if (number := call.operand(name)) is not None
        )
    )


@rule("roll", kind=COPY)
def _roll(call: OpCall) -> Reads:
    number, shape = source(call)
    shifts, dims = _listed(call["shifts"]), _listed(call["dims"])
    if not dims:
        flat = (numel(shape),)
        rolled = Separable((Along(0, AxisMap.affine(1, -shifts[0]), Border.WRAP),))
        return one(Read(number, (Reshape(), rolled, Reshape()), (flat, flat)))
    total: dict[int, int] = {}
    for shift, dim in zip(shifts, dims, strict=True):
        dim = normal_dim(dim, len(shape))
        total[dim] = total.get(dim, 0) + shift
    rolls = {dim: Along(dim, AxisMap.affine(1, -by), Border.WRAP) for dim, by in total.items()}
    return one(along_but(number, len(shape), rolls))


def _listed(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


@rule("flip", kind=COPY)
def _flip(call: OpCall) -> Reads:
    number, shape = source(call)
    dims = [normal_dim(dim, len(shape)) for dim in call["dims"]]
    flips = {dim: Along(dim, AxisMap.affine(-1, shape[dim] - 1)) for dim in dims}
    return one(along_but(number, len(shape), flips))


@rule("rot90", kind=COPY)
def _rot90(call: OpCall) -> Reads:
    """A quarter turn swaps two dimensions, and one of them runs backwards."""
    number, shape = source(call)
    first, second = (normal_dim(dim, len(shape)) for dim in call["dims"])
    turns = call["k"] % 4
    swapped, backwards = turns % 2 == 1, {0: (), 1: (second,), 2: (first, second), 3: (first,)}
    coords: dict[int, Coord] = {}
    for dim, other in ((first, second), (second, first)):
        flipped = dim in backwards[turns]
        index = AxisMap.affine(-1, shape[dim] - 1) if flipped else AxisMap.affine(1)
        coords[dim] = Along(other if swapped else dim, index)
    return one(along_but(number, len(shape), coords))
