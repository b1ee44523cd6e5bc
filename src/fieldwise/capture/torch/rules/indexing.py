"""Indexing with tensors: exact where the indices are constants, marked where they are data.

An index tensor that is a constant turns into a table: one index per position of the result.
Where it varies along several dimensions, one flat dimension drives the table (a reshape before
or after).  Indices that derive from the input are data themselves: the result depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from fieldwise.axes import EMPTY, AxisMap, IndexSet, Table, index_map
from fieldwise.capture.torch.registry import OpCall, Reads, known_values, normal_dim, one, rule
from fieldwise.capture.torch.rules.common import along_but, broadcasts, entirely, separably, source
from fieldwise.errors import CaptureError
from fieldwise.graph.ir import (
    WHOLE,
    Along,
    Args,
    Coord,
    Fixed,
    Read,
    Ref,
    Reshape,
    Separable,
    Shape,
    Unknown,
    broadcast,
    identity,
    numel,
    separable,
    straight,
)
from fieldwise.graph.kinds import ANY, COPY

_DATA = "{} with indices that depend on the data"
_META = "{} with constant indices whose values are on the meta device"


def _unknown(index: object, called: str) -> Unknown:
    return Unknown((_DATA if isinstance(index, Ref) else _META).format(called))


def _walk(values: np.ndarray, size: int) -> AxisMap | Table:
    """Position p → index number p."""
    return index_map([IndexSet(int(value), 1) for value in inside(values, size)])


def inside(values: np.ndarray, size: int) -> np.ndarray:
    """Indices counted from the front (negative ones count from the end).

    Raises CaptureError for one that is outside: the model fails on it, and without data torch
    does not notice.
    """
    values = values.astype(np.int64)
    outside = values[(values < -size) | (values >= size)]
    if outside.size:
        raise CaptureError(
            f"The model picks index {outside[0]} of a dimension of {size}; give a larger input"
        )
    return values % size if size else values


# -------------------------------------------------------------------- reading at indices


@rule("index_select", kind=COPY, asks=("index",))
def _index_select(call: OpCall) -> Reads:
    index, reads = call["index"], []
    dim = normal_dim(call["dim"], len(call.result))
    if (number := call.operand("self")) is not None:
        shape, values = call.operands[number], known_values(index)
        coord: Coord = _unknown(index, call.named("index_select"))
        if values is not None:
            coord = Along(dim, _walk(values.reshape(-1), shape[dim]))
        reads.append(along_but(number, len(shape), {dim: coord}))
    return one(*reads, *entirely(call, "index", coord=Along(dim)))


@rule("gather", kind=COPY, asks=("index",))
def _gather(call: OpCall) -> Reads:
    index, reads = call["index"], []
    if (number := call.operand("self")) is not None:
        reads.append(_gathered(call, number, call.operands[number], index))
    return one(*reads, *separably(call, index=straight(len(call.shape("index")))))


@rule("take_along_dim", name="gather", kind=COPY, asks=("indices",))
def _take_along_dim(call: OpCall) -> Reads:
    """Gather, where the other dimensions are broadcast; without a dimension, take."""
    if call["dim"] is None:
        return _taken(call, "indices")
    index, reads = call["indices"], []
    dim = normal_dim(call["dim"], len(call.result))
    if (number := call.operand("self")) is not None:
        shape = call.operands[number]
        wide = (*call.result[:dim], shape[dim], *call.result[dim + 1 :])
        values = known_values(index)
        if values is not None:
            index = torch.from_numpy(np.broadcast_to(values, call.result).copy())
        outer = _gathered(call, number, wide, index)
        inner = broadcast(number, shape, wide).steps
        reads.append(Read(number, inner + outer.steps, (wide, *outer.shapes)))
    return one(*reads, *broadcasts(call, "indices"))


def _gathered(call: OpCall, number: int, shape: Shape, index: Ref | torch.Tensor) -> Read:
    values, dim = known_values(index), normal_dim(call["dim"], len(shape))
    if values is None:
        return along_but(number, len(shape), {dim: _unknown(index, call.named("gather"))})
    if not values.size:  # torch lets an empty index of any rank through
        return separable(number, *[Fixed(EMPTY)] * len(shape))
    line = line_along(values, dim)
    if line is not None:
        return along_but(number, len(shape), {dim: Along(dim, _walk(line, shape[dim]))})
    places = np.indices(values.shape)
    places[dim] = inside(values, shape[dim])
    flat = np.ravel_multi_index(tuple(places), shape).reshape(-1)
    return _flat_walk(number, flat, numel(shape))


def line_along(values: np.ndarray, dim: int) -> np.ndarray | None:
    """The values along ``dim``, where they are the same in every other dimension."""
    if not values.size:
        return None
    lines = np.moveaxis(values, dim, -1).reshape(-1, values.shape[dim])
    return lines[0] if (lines == lines[0]).all() else None


def _flat_walk(number: int, flat: np.ndarray, size: int) -> Read:
    """Element p of the result reads element flat[p] of the operand, both in row-major order."""
    step = Separable((Along(0, _walk(flat, size)),))
    return Read(number, (Reshape(), step, Reshape()), ((size,), (flat.size,)))


@rule("take", kind=COPY, asks=("index",))
def _take(call: OpCall) -> Reads:
    return _taken(call, "index")


def _taken(call: OpCall, name: str) -> Reads:
    """Elements of the flattened operand."""
    index, reads = call[name], []
    if (number := call.operand("self")) is not None:
        shape, values = call.operands[number], known_values(index)
        if values is None:
            reads.append(separable(number, *[_unknown(index, call.named("take"))] * len(shape)))
        else:
            size = numel(shape)
            reads.append(_flat_walk(number, inside(values.reshape(-1), size), size))
    if (number := call.operand(name)) is not None:
        shape = call.operands[number]
        same = shape == call.result
        reads.append(identity(number, len(shape)) if same else Read(number, (Reshape(),)))
    return one(*reads)


@rule("embedding", kind=COPY, asks=("indices",))
def _embedding(call: OpCall) -> Reads:
    """Row indices[…] of the weight: the indices are read, each for a whole row."""
    indices, last = call["indices"], len(call.result) - 1
    reads = separably(call, indices=straight(last))
    if (number := call.operand("weight")) is not None:
        values = known_values(indices)
        if values is None:
            reads.append(separable(number, _unknown(indices, call.named("embedding")), Along(last)))
        else:
            rows = _walk(values.reshape(-1), call.operands[number][0])
            steps = (Separable((Along(0, rows), Along(1))), Reshape())
            reads.append(Read(number, steps, ((values.size, call.result[-1]),)))
    return one(*reads)


@rule("embedding_renorm")
def _embedding_renorm(call: OpCall) -> Reads:
    """The rows that the indices name are scaled by their own norms."""
    reads = entirely(call, "indices")
    if (number := call.operand("self")) is not None:
        rows, named = call.result[0], known_values(call["indices"])
        used = range(rows) if named is None else named.reshape(-1).tolist()
        scaled = IndexSet.of(sorted(set(used)))
        reads.append(along_but(number, 2, {1: WHOLE}, ((0, scaled),)))
        if rest := IndexSet.range(0, rows) - scaled:
            reads.append(along_but(number, 2, {}, ((0, rest),)))
    return one(*reads)


@rule("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only", name="embedding_bag")
def _embedding_bag(call: OpCall) -> Reads:
    """Bag b combines the rows of the indices from offset b to the next one."""
    bags, last = _bags(call), Along(len(call.results[0]) - 1)
    at: Coord = Unknown("embedding_bag with offsets that depend on the data")
    if bags is not None:
        at = Along(0, index_map([IndexSet.range(*bag) for bag in bags]))
    ends = Along(0, AxisMap(1, (IndexSet.range(0, 2),)))
    reads = separably(call, indices=(at,), per_sample_weights=(at,), offsets=(ends,))
    rows: Coord = _unknown(call["indices"], call.named("embedding_bag"))
    values = known_values(call["indices"])
    if values is not None and bags is not None:
        chosen = (
            set(values[slice(*bag)].tolist()) - {call.args.get("padding_idx")} for bag in bags
        )
        rows = Along(0, index_map([IndexSet.of(some) for some in chosen]))
    reads += separably(call, weight=(rows, last))
    why = Unknown("what embedding_bag keeps for its derivative")
    kept = tuple(entirely(call, "indices", "offsets", coord=why))
    return (tuple(reads), *[kept] * (len(call.results) - 1))


def _bags(call: OpCall) -> list[tuple[int, int]] | None:
    """Where each bag starts and ends among the indices; None where that is data."""
    offsets = known_values(call["offsets"])
    if offsets is None:
        return None
    ends = [*offsets.tolist(), call.shape("indices")[0]]
    return list(pairwise(ends[:-1] if call["include_last_offset"] else ends))


@rule("one_hot", kind=ANY)
def _one_hot(call: OpCall) -> Reads:
    number, shape = source(call)
    return one(identity(number, len(shape)))


@rule("masked_select", kind=COPY, asks=("mask",))
def _masked_select(call: OpCall) -> Reads:
    """The elements at the true places of a constant mask, in row-major order."""
    mask = known_values(call["mask"])
    number = call.operand("self")
    if mask is None or number is None:
        return _picked_by_data(call)
    shape = call.operands[number]
    wide = tuple(np.broadcast_shapes(shape, mask.shape))
    places = np.broadcast_to(mask, wide).reshape(-1).nonzero()[0]
    spread, walk = broadcast(number, shape, wide), _walk(places, numel(wide))
    steps = (*spread.steps, Reshape(), Separable((Along(0, walk),)))
    return one(Read(number, steps, (wide, (numel(wide),))))


@rule("nonzero", "nonzero_static", "_unsafe_masked_index")
def _picked_by_data(call: OpCall) -> Reads:
    return one(*entirely(call, coord=Unknown(f"{call.called} picks elements by their values")))


# -------------------------------------------------------------------- indexing by brackets


@dataclass(frozen=True, slots=True)
class _Indices:
    """What stands between the brackets of x[i, :, j], one entry per dimension of x.

    The index tensors are broadcast together to ``block``, which stands in the indexed tensor at
    dimension ``place``: where the first of them stood if they are neighbours, else in front.
    """

    entries: Args
    shapes: tuple[Shape | None, ...]
    called: str

    @property
    def used(self) -> list[int]:
        return [dim for dim, shape in enumerate(self.shapes) if shape is not None]

    @property
    def block(self) -> Shape:
        return tuple(torch.broadcast_shapes(*(s for s in self.shapes if s is not None)))

    @property
    def place(self) -> int:
        used = self.used
        return used[0] if used[-1] - used[0] == len(used) - 1 else 0

    def passing(self, dim: int, width: int) -> int:
        """Where an unindexed dimension stands, if the block takes ``width`` dimensions."""
        before = dim - sum(used < dim for used in self.used)
        return before if before < self.place else before + width

    def varying(self, dim: int) -> list[int]:
        """The axes of the block along which an index tensor varies."""
        shape = self.shapes[dim] or ()
        lead = len(self.block) - len(shape)
        return [lead + axis for axis, size in enumerate(shape) if size > 1]

    def along_one_axis_each(self) -> bool:
        return all(len(self.varying(dim)) <= 1 for dim in self.used)

    def coord(self, dim: int, size: int) -> Coord:
        """How a dimension is read where every index tensor varies along one axis at most."""
        entry = self.entries[dim]
        if entry is None:
            return Along(self.passing(dim, len(self.block)))
        values = known_values(entry)
        if values is None:
            return _unknown(entry, self.called)
        axes = self.varying(dim)
        if axes:
            return Along(self.place + axes[0], _walk(values.reshape(-1), size))
        return Fixed(IndexSet.of(inside(values.reshape(-1), size).tolist()))

    def flat_coord(self, dim: int, size: int) -> Coord:
        """How a dimension is read where the whole block is one flat dimension."""
        entry = self.entries[dim]
        if entry is None:
            return Along(self.passing(dim, 1))
        values = known_values(entry)
        if values is None:
            return _unknown(entry, self.called)
        return Along(self.place, _walk(np.broadcast_to(values, self.block).reshape(-1), size))


def indices_of(call: OpCall, rank: int) -> _Indices | None:
    """The entries of an indexing op; masks become the coordinates of their true elements.

    None where a mask derives from the input or has no values.
    """
    entries: list[Ref | torch.Tensor | None] = []
    for item in call["indices"]:
        if not isinstance(item, torch.Tensor) or item.dtype not in (torch.bool, torch.uint8):
            entries.append(item)
        elif known_values(item) is None:
            return None
        else:
            entries.extend(item.nonzero(as_tuple=True))
    entries += [None] * (rank - len(entries))
    shapes = tuple(_shape(call, entry) for entry in entries)
    return _Indices(tuple(entries), shapes, call.named("indexing"))


def _shape(call: OpCall, entry: Ref | torch.Tensor | None) -> Shape | None:
    if entry is None:
        return None
    return call.shape_of(entry)


@rule("index", "_unsafe_index", name="index", kind=COPY, asks=("indices",))
def _index(call: OpCall) -> Reads:
    indices = indices_of(call, len(call.shape("self")))
    if indices is None:
        return _picked_by_data(call)
    reads = _index_reads(call, indices)
    if (number := call.operand("self")) is not None:
        reads.append(_indexed(number, call.operands[number], indices, call.result))
    return one(*reads)


def _indexed(number: int, shape: Shape, indices: _Indices, result: Shape) -> Read:
    if indices.along_one_axis_each():
        return separable(number, *(indices.coord(dim, size) for dim, size in enumerate(shape)))
    place, width = indices.place, len(indices.block)
    flat = (*result[:place], numel(indices.block), *result[place + width :])
    coords = tuple(indices.flat_coord(dim, size) for dim, size in enumerate(shape))
    return Read(number, (Separable(coords), Reshape()), (flat,))


def _index_reads(call: OpCall, indices: _Indices) -> list[Read]:
    """Index tensors that derive from the input, broadcast to the block."""
    reads = []
    for entry in indices.entries:
        if isinstance(entry, Ref):
            inner = broadcast(0, call.operands[entry.operand], indices.block).steps[0]
            assert isinstance(inner, Separable)
            coords = (
                Along(indices.place + coord.dim) if isinstance(coord, Along) else coord
                for coord in inner.coords
            )
            reads.append(separable(entry.operand, *coords))
    return reads
