"""Indexing with tensors: exact where the indices are constants, marked where they are data.

An index tensor that is a constant turns into a table: one index per position of the result.
Where it varies along several dimensions, one flat dimension drives the table (a reshape before
or after).  Indices that derive from the input are data themselves: the result depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fieldwise.axes import AxisMap, IndexSet, Table, index_map
from fieldwise.capture.torch.registry import OpCall, Reads, constant_values, normal_dim, one, rule
from fieldwise.capture.torch.rules.common import Where, along_but, broadcasts, source
from fieldwise.graph.ir import (
    Along,
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
)

_DATA = "{} with indices that depend on the data"
_META = "{} with constant indices whose values are on the meta device"


def _values(index: Any) -> np.ndarray | None:
    """The indices, where they are a constant with values."""
    return None if isinstance(index, Ref) else constant_values(index)


def _unknown(index: Any, op: str) -> Unknown:
    return Unknown((_DATA if isinstance(index, Ref) else _META).format(op))


def _walk(values: Iterable[int], size: int) -> AxisMap | Table:
    """Position p → index number p (negative ones count from the end)."""
    return index_map([IndexSet(int(value) % size, 1) for value in values])


def _found(values: Sequence[int], size: int) -> AxisMap | Table:
    """Index i → the positions p that hold it: ``_walk`` read backwards."""
    rows: list[list[int]] = [[] for _ in range(size)]
    for position, value in enumerate(values):
        rows[int(value) % size].append(position)
    return index_map([IndexSet.of(row) for row in rows])


# -------------------------------------------------------------------- reading at indices


@rule("index_select")
def _index_select(call: OpCall) -> Reads:
    index, reads = call["index"], []
    dim = normal_dim(call["dim"], len(call.result))
    if (number := call.operand("self")) is not None:
        shape, values = call.operands[number], _values(index)
        coord: Coord = _unknown(index, "index_select")
        if values is not None:
            coord = Along(dim, _walk(values.reshape(-1), shape[dim]))
        reads.append(along_but(number, len(shape), {dim: coord}))
    if (number := call.operand("index")) is not None:
        reads.append(separable(number, *[Along(dim)] * len(call.operands[number])))
    return one(*reads)


@rule("gather")
def _gather(call: OpCall) -> Reads:
    index, reads = call["index"], []
    dim = normal_dim(call["dim"], len(call.result))
    if (number := call.operand("self")) is not None:
        reads.append(_gathered(number, call.operands[number], dim, index))
    if (number := call.operand("index")) is not None:
        reads.append(identity(number, len(call.operands[number])))
    return one(*reads)


@rule("take_along_dim", name="gather")
def _take_along_dim(call: OpCall) -> Reads:
    """Gather, where the other dimensions are broadcast; without a dimension, take."""
    if call["dim"] is None:
        return _taken(call, "indices")
    index, reads = call["indices"], []
    dim = normal_dim(call["dim"], len(call.result))
    if (number := call.operand("self")) is not None:
        shape = call.operands[number]
        wide = (*call.result[:dim], shape[dim], *call.result[dim + 1 :])
        values = _values(index)
        if values is not None:
            index = torch.from_numpy(np.broadcast_to(values, call.result).copy())
        outer = _gathered(number, wide, dim, index)
        inner = broadcast(number, shape, wide).steps
        reads.append(Read(number, inner + outer.steps, (wide, *outer.shapes)))
    return one(*reads, *broadcasts(call, "indices"))


def _gathered(number: int, shape: Shape, dim: int, index: Any) -> Read:
    values = _values(index)
    if values is None:
        return along_but(number, len(shape), {dim: _unknown(index, "gather")})
    line = _line(values, dim)
    if line is not None:
        return along_but(number, len(shape), {dim: Along(dim, _walk(line, shape[dim]))})
    places = np.indices(values.shape)
    places[dim] = values % shape[dim]
    flat = np.ravel_multi_index(tuple(places), shape).reshape(-1)
    return _flat_walk(number, flat, numel(shape))


def _line(values: np.ndarray, dim: int) -> np.ndarray | None:
    """The values along ``dim``, where they are the same in every other dimension."""
    if not values.size:
        return None
    lines = np.moveaxis(values, dim, -1).reshape(-1, values.shape[dim])
    return lines[0] if (lines == lines[0]).all() else None


def _flat_walk(number: int, flat: np.ndarray, size: int) -> Read:
    """Element p of the result reads element flat[p] of the operand, both in row-major order."""
    step = Separable((Along(0, _walk(flat, size)),))
    return Read(number, (Reshape(), step, Reshape()), ((size,), (flat.size,)))


@rule("take")
def _take(call: OpCall) -> Reads:
    return _taken(call, "index")


def _taken(call: OpCall, name: str) -> Reads:
    """Elements of the flattened operand."""
    index, reads = call[name], []
    if (number := call.operand("self")) is not None:
        shape, values = call.operands[number], _values(index)
        if values is None:
            reads.append(separable(number, *[_unknown(index, "take")] * len(shape)))
        else:
            size = numel(shape)
            reads.append(_flat_walk(number, values.reshape(-1) % size, size))
    if (number := call.operand(name)) is not None:
        reads.append(identity(number, len(call.operands[number])))
    return one(*reads)


@rule("embedding")
def _embedding(call: OpCall) -> Reads:
    """Row indices[…] of the weight: the indices are read, each for a whole row."""
    indices, reads = call["indices"], []
    last = len(call.result) - 1
    if (number := call.operand("indices")) is not None:
        reads.append(separable(number, *(Along(dim) for dim in range(last))))
    if (number := call.operand("weight")) is not None:
        values = _values(indices)
        if values is None:
            reads.append(separable(number, _unknown(indices, "embedding"), Along(last)))
        else:
            rows = _walk(values.reshape(-1), call.operands[number][0])
            steps = (Separable((Along(0, rows), Along(1))), Reshape())
            reads.append(Read(number, steps, ((values.size, call.result[-1]),)))
    return one(*reads)


@rule("one_hot")
def _one_hot(call: OpCall) -> Reads:
    number, shape = source(call)
    return one(identity(number, len(shape)))


@rule("masked_select", "nonzero", "nonzero_static")
def _picked_by_data(call: OpCall) -> Reads:
    why = f"{call.op} picks elements by their values"
    return one(*(separable(n, *[Unknown(why)] * len(call.operands[n])) for _, n in call.derived()))


# -------------------------------------------------------------------- indexing by brackets


@dataclass(frozen=True, slots=True)
class _Indices:
    """What stands between the brackets of x[i, :, j], one entry per dimension of x.

    The index tensors are broadcast together to ``block``, which stands in the indexed tensor at
    dimension ``place``: where the first of them stood if they are neighbours, else in front.
    """

    entries: tuple[Any, ...]
    shapes: tuple[Shape | None, ...]

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
        values = _values(entry)
        if values is None:
            return _unknown(entry, "indexing")
        axes = self.varying(dim)
        if axes:
            return Along(self.place + axes[0], _walk(values.reshape(-1), size))
        return Fixed(IndexSet.of(int(value) % size for value in values.reshape(-1)))

    def flat_coord(self, dim: int, size: int) -> Coord:
        """How a dimension is read where the whole block is one flat dimension."""
        entry = self.entries[dim]
        if entry is None:
            return Along(self.passing(dim, 1))
        values = _values(entry)
        if values is None:
            return _unknown(entry, "indexing")
        return Along(self.place, _walk(np.broadcast_to(values, self.block).reshape(-1), size))


def _indices(call: OpCall, rank: int) -> _Indices | None:
    """The entries of an indexing op; masks become the coordinates of their true elements.

    None where a mask derives from the input or has no values.
    """
    entries: list[Any] = []
    for item in call["indices"]:
        if not isinstance(item, torch.Tensor) or item.dtype not in (torch.bool, torch.uint8):
            entries.append(item)
        elif item.device.type == "meta":
            return None
        else:
            entries.extend(item.nonzero(as_tuple=True))
    entries += [None] * (rank - len(entries))
    return _Indices(tuple(entries), tuple(_shape(call, entry) for entry in entries))


def _shape(call: OpCall, entry: Any) -> Shape | None:
    if entry is None:
        return None
    return call.operands[entry.operand] if isinstance(entry, Ref) else tuple(entry.shape)


@rule("index", "_unsafe_index", name="index")
def _index(call: OpCall) -> Reads:
    indices = _indices(call, len(call.shape("self")))
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


# -------------------------------------------------------------------- writing at indices


@rule("index_put", "_unsafe_index_put", "_index_put_impl", name="index_put")
def _index_put(call: OpCall) -> Reads:
    """x[:, i] = v: exact for one constant index tensor of one dimension, else marked."""
    indices = _indices(call, len(call.result))
    if indices is None:
        return _written_by_data(call, "values", range(len(call.result)))
    used = indices.used
    values = _values(indices.entries[used[0]])
    if len(used) > 1 or values is None or values.ndim != 1:
        return _written_by_data(call, "values", used)
    dim = used[0]
    reads = _added_to(call) if call["accumulate"] else _kept(call, dim, values)
    if (number := call.operand("values")) is not None:
        written = tuple(values.size if d == dim else s for d, s in enumerate(call.result))
        read = broadcast(number, call.operands[number], written).steps[0]
        spread = along_but(0, len(written), {dim: _at_position(call, dim, values)}).steps[0]
        reads.append(Read(number, (read, spread), (written,)))
    return one(*reads)


def _at_position(call: OpCall, dim: int, values: np.ndarray) -> Along:
    return Along(dim, _found(values.reshape(-1).tolist(), call.result[dim]))


def _added_to(call: OpCall) -> list[Read]:
    number = call.operand("self")
    return [] if number is None else [identity(number, len(call.result))]


def _kept(call: OpCall, dim: int, values: np.ndarray, extent: Shape | None = None) -> list[Read]:
    """What is left of ``self`` where ``values`` along ``dim`` are overwritten.

    ``extent`` is how far the writes reach in the other dimensions, if not to the end.
    """
    number = call.operand("self")
    if number is None:
        return []
    size = call.result[dim]
    written = IndexSet.of(int(value) % size for value in values.reshape(-1))
    rests = {dim: IndexSet.range(0, size) - written}
    for other, reach in enumerate(extent or ()):
        if other != dim:
            rests[other] = IndexSet.range(reach, call.result[other])
    rank = len(call.result)
    return [along_but(number, rank, {}, ((d, rest),)) for d, rest in rests.items() if rest]


def _written_by_data(call: OpCall, name: str, dims: Iterable[int]) -> Reads:
    """``self`` shows through anywhere; what is written may land anywhere along ``dims``."""
    why = Unknown(f"{call.op} to positions that depend on the data or form no grid")
    reads = _added_to(call)
    for argument, number in call.derived():
        shape = call.operands[number]
        if argument == name and len(shape) == len(call.result):
            reads.append(along_but(number, len(shape), dict.fromkeys(dims, why)))
        elif argument != "self":
            reads.append(separable(number, *[why] * len(shape)))
    return one(*reads)


@rule("index_copy", "index_fill")
def _index_copy(call: OpCall) -> Reads:
    return _indexed_write(call, replaces=True)


@rule("index_add")
def _index_add(call: OpCall) -> Reads:
    return _indexed_write(call, replaces=False)


@rule("index_reduce")
def _index_reduce(call: OpCall) -> Reads:
    return _indexed_write(call, replaces=not call["include_self"])


def _indexed_write(call: OpCall, *, replaces: bool) -> Reads:
    """Slices of ``source`` go to constant positions along a dimension."""
    dim = normal_dim(call["dim"], len(call.result))
    values = _values(call["index"])
    if values is None:
        return _written_by_data(call, "source", (dim,))
    reads = _kept(call, dim, values) if replaces else _added_to(call)
    if (number := call.operand("source")) is not None:
        reads.append(along_but(number, len(call.result), {dim: _at_position(call, dim, values)}))
    if (number := call.operand("value")) is not None:
        written = IndexSet.of((values.reshape(-1) % call.result[dim]).tolist())
        reads.append(separable(number, where=((dim, written),)))
    return one(*reads)


@rule("scatter")
def _scatter(call: OpCall) -> Reads:
    return _scattered(call, replaces=call.args.get("reduce") is None)


@rule("scatter_add")
def _scatter_add(call: OpCall) -> Reads:
    return _scattered(call, replaces=False)


@rule("scatter_reduce")
def _scatter_reduce(call: OpCall) -> Reads:
    return _scattered(call, replaces=not call["include_self"])


def _scattered(call: OpCall, *, replaces: bool) -> Reads:
    """Exact where a constant index is the same in all dimensions but the scattered one."""
    dim = normal_dim(call["dim"], len(call.result))
    values = _values(call["index"])
    line = None if values is None else _line(values, dim)
    if values is None or line is None:
        return _written_by_data(call, "src", (dim,))
    reads = _kept(call, dim, line, values.shape) if replaces else _added_to(call)
    if (number := call.operand("src")) is not None:
        within: Where = tuple(
            (d, IndexSet.range(0, reach)) for d, reach in enumerate(values.shape) if d != dim
        )
        at = {dim: _at_position(call, dim, line)}
        reads.append(along_but(number, len(call.result), at, within))
    return one(*reads)


@rule("masked_scatter")
def _masked_scatter(call: OpCall) -> Reads:
    why = Unknown("masked_scatter takes the values in the order of the mask")
    reads = [
        broadcast(number, call.operands[number], call.result)
        for name in ("self", "mask")
        if (number := call.operand(name)) is not None
    ]
    if (number := call.operand("source")) is not None:
        reads.append(separable(number, *[why] * len(call.operands[number])))
    return one(*reads)
