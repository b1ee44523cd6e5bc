"""Ops that move elements: reshapes, permutations, slices, joins, indexing with constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fieldwise.axes import AxisMap, Border, IndexSet, index_map
from fieldwise.capture.torch.aliases import strided_read
from fieldwise.capture.torch.registry import OpCall, Reads, constant_values, normal_dim, one, rule
from fieldwise.graph.ir import (
    AT_ZERO,
    WHOLE,
    Along,
    Coord,
    Fixed,
    Read,
    Ref,
    Reshape,
    Shape,
    Unknown,
    broadcast,
    identity,
    separable,
)


def _source(call: OpCall, name: str = "self") -> tuple[int, Shape]:
    number = call.operand(name)
    assert number is not None
    return number, call.operands[number]


@rule(
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "_unsafe_view",
    "view_as", "reshape_as", "_reshape_alias", "ravel", "squeeze_copy", "view_copy", "atleast_1d",
    name="reshape",
)  # fmt: skip
def _reshape(call: OpCall) -> Reads:
    if call.operand("self") is None:  # only the shape of 'other' was used
        return one()
    number, before = _source(call)
    if before == call.result:
        return one(identity(number, len(before)))
    return one(Read(number, (Reshape(),)))


def permuted(number: int, order: Sequence[int]) -> Read:
    """Result dimension d is operand dimension order[d]."""
    places = {source: place for place, source in enumerate(order)}
    return separable(number, *(Along(places[dim]) for dim in range(len(order))))


@rule("permute")
def _permute(call: OpCall) -> Reads:
    number, shape = _source(call)
    return one(permuted(number, [normal_dim(d, len(shape)) for d in call["dims"]]))


@rule("transpose", "swapaxes", name="permute")
def _transpose(call: OpCall) -> Reads:
    number, shape = _source(call)
    order = list(range(len(shape)))
    if order:
        a = normal_dim(call.args.get("dim0", call.args.get("axis0")), len(shape))
        b = normal_dim(call.args.get("dim1", call.args.get("axis1")), len(shape))
        order[a], order[b] = order[b], order[a]
    return one(permuted(number, order))


@rule("t", "numpy_T", "mT", "adjoint", name="permute")
def _t(call: OpCall) -> Reads:
    number, shape = _source(call)
    return one(permuted(number, range(len(shape) - 1, -1, -1)))


@rule("select")
def _select(call: OpCall) -> Reads:
    number, shape = _source(call)
    dim = normal_dim(call["dim"], len(shape))
    at = Fixed(IndexSet(call["index"] % shape[dim], 1))
    return one(_without(number, shape, dim, at))


def _without(number: int, shape: Shape, dim: int, at: Coord) -> Read:
    """Dimension ``dim`` is gone from the result, read at ``at``."""
    return separable(
        number,
        *(at if d == dim else Along(d - (d > dim)) for d in range(len(shape))),
    )


def _one_axis(number: int, shape: Shape, dim: int, coord: Coord, **where: Any) -> Read:
    """Identity in every dimension but one."""
    return separable(
        number, *(coord if d == dim else Along(d) for d in range(len(shape))), **where
    )


@rule("slice")
def _slice(call: OpCall) -> Reads:
    number, shape = _source(call)
    dim = normal_dim(call["dim"], len(shape))
    start, _, step = slice(call["start"], call["end"], call["step"]).indices(shape[dim])
    return one(_one_axis(number, shape, dim, Along(dim, AxisMap.affine(step, start))))


@rule("narrow", name="slice")
def _narrow(call: OpCall) -> Reads:
    number, shape = _source(call)
    dim = normal_dim(call["dim"], len(shape))
    return one(_one_axis(number, shape, dim, Along(dim, AxisMap.affine(1, call["start"]))))


@rule("split", "split_with_sizes", "chunk", "tensor_split", name="split")
def _split(call: OpCall) -> Reads:
    number, shape = _source(call)
    dim = normal_dim(call["dim"], len(shape))
    reads, start = [], 0
    for result in call.results:
        reads.append((_one_axis(number, shape, dim, Along(dim, AxisMap.affine(1, start))),))
        start += result[dim]
    return tuple(reads)


@rule("unbind")
def _unbind(call: OpCall) -> Reads:
    number, shape = _source(call)
    dim = normal_dim(call["dim"], len(shape))
    return tuple(
        (_without(number, shape, dim, Fixed(IndexSet(index, 1))),) for index in range(shape[dim])
    )


@rule("cat", "concat", "concatenate", name="cat")
def _cat(call: OpCall) -> Reads:
    rank = len(call.result)
    dim = normal_dim(call["dim"], rank)
    reads, start = [], 0
    for item in call["tensors"]:
        shape = call.operands[item.operand] if isinstance(item, Ref) else tuple(item.shape)
        if shape == (0,):  # torch lets empty tensors through
            continue
        stop = start + shape[dim]
        if isinstance(item, Ref):
            coord = Along(dim, AxisMap.affine(1, -start))
            here = ((dim, IndexSet.range(start, stop)),)
            reads.append(_one_axis(item.operand, shape, dim, coord, where=here))
        start = stop
    return one(*reads)


@rule("stack")
def _stack(call: OpCall) -> Reads:
    dim = normal_dim(call["dim"], len(call.result))
    reads = []
    for index, item in enumerate(call["tensors"]):
        if isinstance(item, Ref):
            rank = len(call.operands[item.operand])
            coords = (Along(d + (d >= dim)) for d in range(rank))
            reads.append(separable(item.operand, *coords, where=((dim, IndexSet(index, 1)),)))
    return one(*reads)


@rule("expand", "expand_as", "broadcast_to", name="expand")
def _expand(call: OpCall) -> Reads:
    if call.operand("self") is None:
        return one()
    number, shape = _source(call)
    return one(broadcast(number, shape, call.result))


@rule("repeat", "tile")
def _repeat(call: OpCall) -> Reads:
    number, shape = _source(call)
    lead = len(call.result) - len(shape)
    coords: list[Coord] = []
    for dim, size in enumerate(shape):
        if call.result[lead + dim] == size:
            coords.append(Along(lead + dim))
        elif size == 1:
            coords.append(AT_ZERO)
        else:
            coords.append(Along(lead + dim, AxisMap.affine(1), Border.WRAP))
    return one(separable(number, *coords))


@rule("repeat_interleave")
def _repeat_interleave(call: OpCall) -> Reads:
    number, shape = _source(call)
    times = call["repeats"]
    if call["dim"] is None or not isinstance(times, int):
        return one(separable(number, *[Unknown("repeat_interleave with uneven repeats")] * len(shape)))
    dim = normal_dim(call["dim"], len(shape))
    index = AxisMap(1, (IndexSet(0, 1),) * times)
    return one(_one_axis(number, shape, dim, Along(dim, index)))


@rule("roll")
def _roll(call: OpCall) -> Reads:
    number, shape = _source(call)
    shifts = call["shifts"] if isinstance(call["shifts"], (list, tuple)) else [call["shifts"]]
    dims = call["dims"] if isinstance(call["dims"], (list, tuple)) else [call["dims"]]
    if not dims:
        flat = (int(torch.tensor(shape).prod()),)
        rolled = separable(0, Along(0, AxisMap.affine(1, -shifts[0]), Border.WRAP)).steps[0]
        return one(Read(number, (Reshape(), rolled, Reshape()), (flat, flat)))
    total: dict[int, int] = {}
    for shift, dim in zip(shifts, dims, strict=True):
        dim = normal_dim(dim, len(shape))
        total[dim] = total.get(dim, 0) + shift
    return one(
        separable(
            number,
            *(
                Along(d, AxisMap.affine(1, -total[d]), Border.WRAP) if d in total else Along(d)
                for d in range(len(shape))
            ),
        )
    )


@rule("flip", "fliplr", "flipud", name="flip")
def _flip(call: OpCall) -> Reads:
    number, shape = _source(call)
    dims = {normal_dim(d, len(shape)) for d in call.args.get("dims", ())}
    return one(
        separable(
            number,
            *(
                Along(d, AxisMap.affine(-1, size - 1)) if d in dims else Along(d)
                for d, size in enumerate(shape)
            ),
        )
    )


@rule("diagonal")
def _diagonal(call: OpCall) -> Reads:
    """The new last dimension drives both diagonal dimensions."""
    number, shape = _source(call)
    rank = len(shape)
    first, second = normal_dim(call["dim1"], rank), normal_dim(call["dim2"], rank)
    offset = call["offset"]
    starts = {first: max(-offset, 0), second: max(offset, 0)}
    coords: list[Coord] = []
    passed = 0
    for dim in range(rank):
        if dim in starts:
            coords.append(Along(rank - 2, AxisMap.affine(1, starts[dim])))
        else:
            coords.append(Along(passed))
            passed += 1
    return one(separable(number, *coords))


@rule("as_strided")
def _as_strided(call: OpCall) -> Reads:
    number, shape = _source(call)
    read = strided_read(shape, call["size"], call["stride"], call["storage_offset"] or 0)
    return one(Read(number, read.steps, read.shapes))


@rule("slice_scatter")
def _slice_scatter(call: OpCall) -> Reads:
    rank = len(call.result)
    dim = normal_dim(call["dim"], rank)
    size = call.result[dim]
    start, stop, step = slice(call["start"], call["end"], call["step"]).indices(size)
    covered = IndexSet.range(start, stop, step)
    return _scattered(call, dim, covered, _spread(start, step), rank)


@rule("select_scatter")
def _select_scatter(call: OpCall) -> Reads:
    rank = len(call.result)
    dim = normal_dim(call["dim"], rank)
    covered = IndexSet(call["index"] % call.result[dim], 1)
    return _scattered(call, dim, covered, None, rank)


def _spread(start: int, step: int) -> AxisMap:
    """Result index start + step·i reads written index i."""
    rows = (IndexSet.of([(r - start) // step] if (r - start) % step == 0 else ()) for r in range(step))
    return AxisMap(1, tuple(rows))


def _scattered(
    call: OpCall, dim: int, covered: IndexSet, index: AxisMap | None, rank: int
) -> Reads:
    reads = []
    base, written = call.operand("self"), call.operand("src")
    if base is not None:
        rest = IndexSet.range(0, call.result[dim]) - covered
        reads.append(separable(base, *(Along(d) for d in range(rank)), where=((dim, rest),)))
    if written is not None:
        where = ((dim, covered),)
        if index is None:
            coords = [Along(d) for d in range(rank) if d != dim]
        else:
            coords = [Along(d, index) if d == dim else Along(d) for d in range(rank)]
        reads.append(separable(written, *coords, where=where))
    return one(*reads)


# -------------------------------------------------------------------- indexing with tensors


@rule("index_select")
def _index_select(call: OpCall) -> Reads:
    if call.operand("self") is None:
        return _by_data(call, "index_select with indices that depend on the data")
    number, shape = _source(call)
    dim = normal_dim(call["dim"], len(shape))
    return one(
        _one_axis(number, shape, dim, _picked(call["index"], dim, shape[dim], "index_select")),
        *_index_reads(call, "index", (dim,)),
    )


def _picked(index: Any, dim: int, size: int, op: str) -> Coord:
    """Result dimension ``dim`` walks through constant indices of an axis."""
    if isinstance(index, Ref):
        return Unknown(f"{op} with indices that depend on the data")
    values = constant_values(index)
    if values is None:
        return Unknown(f"{op} with constant indices whose values are on the meta device")
    rows = [IndexSet(int(i) % size, 1) for i in values.reshape(-1)]
    return Along(dim, index_map(rows))


def _index_reads(call: OpCall, name: str, dims: Sequence[int]) -> list[Read]:
    """The indices themselves are data that the result depends on."""
    number = call.operand(name)
    if number is None:
        return []
    coords = (Along(d) for d in dims[: len(call.operands[number])])
    return [separable(number, *coords)]


def _by_data(call: OpCall, why: str) -> Reads:
    return one(
        *(
            separable(n, *[Unknown(why)] * len(call.operands[n]))
            for _, n in call.derived()
        )
    )


@rule("index", "_unsafe_index")
def _index(call: OpCall) -> Reads:
    """x[i, :, j]: constant index tensors broadcast together and stand in one place."""
    number = call.operand("self")
    indices = list(call["indices"])
    if number is None or any(isinstance(item, Ref) for item in indices):
        return _by_data(call, "indexing with indices that depend on the data")
    shape = call.operands[number]
    indices += [None] * (len(shape) - len(indices))
    if any(item is not None and item.dtype == torch.bool for item in indices):
        indices = _masks_as_indices(indices)
        if len(indices) != len(shape):
            return _by_data(call, "indexing with a mask whose values are on the meta device")
    used = [dim for dim, item in enumerate(indices) if item is not None]
    block = torch.broadcast_shapes(*(tuple(indices[dim].shape) for dim in used))
    together = used == list(range(used[0], used[-1] + 1))
    place = used[0] if together else 0
    varying = [axis for axis, size in enumerate(block) if size > 1]
    coords: list[Coord] = []
    passed = 0 if together else len(block)
    for dim, size in enumerate(shape):
        item = indices[dim]
        if item is None:
            if together and dim == used[-1] + 1:
                passed = place + len(block)
            coords.append(Along(passed))
            passed += 1
            continue
        coords.append(_indexed(item, size, block, place))
        if together and dim == used[-1]:
            passed = place + len(block)
    if any(coord is None for coord in coords):
        return one(_flat_index(number, shape, indices, used, block, place, varying, call))
    return one(separable(number, *coords))


def _masks_as_indices(indices: list[Any]) -> list[Any]:
    """A boolean index stands for the coordinates of its true elements."""
    out: list[Any] = []
    for item in indices:
        if item is None or item.dtype != torch.bool:
            out.append(item)
        elif item.device.type == "meta":
            return []
        else:
            out.extend(item.nonzero(as_tuple=True))
    return out[: len(out)]


def _indexed(item: Any, size: int, block: Shape, place: int) -> Coord | None:
    """One index tensor that varies along at most one axis of the block; None if along several."""
    values = constant_values(item)
    if values is None:
        return Unknown("indexing with constants whose values are on the meta device")
    varying = [axis for axis, length in enumerate(item.shape) if length > 1]
    flat = [int(i) % size for i in values.reshape(-1)]
    if not varying:
        return Fixed(IndexSet(flat[0], 1)) if flat else AT_ZERO
    if len(varying) > 1:
        return None
    axis = place + len(block) - len(item.shape) + varying[0]
    return Along(axis, index_map([IndexSet(i, 1) for i in flat]))


def _flat_index(
    number: int,
    shape: Shape,
    indices: list[Any],
    used: list[int],
    block: Shape,
    place: int,
    varying: list[int],
    call: OpCall,
) -> Read:
    """Index tensors over a whole block: one flat axis of the block drives every indexed axis."""
    size = 1
    for length in block:
        size *= length
    coords: list[Coord] = []
    passed = 0 if place == 0 and used[0] != 0 else 0
    for dim in range(len(shape)):
        item = indices[dim]
        if item is None:
            if passed == place:
                passed += 1
            coords.append(Along(passed))
            passed += 1
            continue
        values = constant_values(item.expand(block))
        if values is None:
            coords.append(Unknown("indexing with constants whose values are on the meta device"))
            continue
        rows = [IndexSet(int(i) % shape[dim], 1) for i in values.reshape(-1)]
        coords.append(Along(place, index_map(rows)))
    middle = (*call.result[:place], size, *call.result[place + len(block) :])
    return Read(number, (separable(0, *coords).steps[0], Reshape()), (middle,))


@rule("gather")
def _gather(call: OpCall) -> Reads:
    number = call.operand("self")
    dim = normal_dim(call["dim"], len(call.result))
    index = call["index"]
    if number is None or isinstance(index, Ref):
        return _gather_by_data(call, dim)
    shape = call.operands[number]
    values = constant_values(index)
    if values is not None:
        first = values.reshape(-1)[:1]
        line = values.take([0], axis=0)
        for axis in range(values.ndim):
            if axis != dim:
                line = values.take([0], axis=axis) if axis == 0 else line.take([0], axis=axis)
        if first.size and (values == line).all():
            rows = [IndexSet(int(i) % shape[dim], 1) for i in line.reshape(-1)]
            return one(_one_axis(number, shape, dim, Along(dim, index_map(rows))))
    why = "gather with constants that vary along other axes or have no values"
    return one(_one_axis(number, shape, dim, Unknown(why)))


def _gather_by_data(call: OpCall, dim: int) -> Reads:
    reads = []
    number = call.operand("self")
    if number is not None:
        why = "gather with indices that depend on the data"
        reads.append(_one_axis(number, call.operands[number], dim, Unknown(why)))
    index = call.operand("index")
    if index is not None:
        reads.append(identity(index, len(call.operands[index])))
    return one(*reads)


RESHAPE = Reshape()
_ = WHOLE
