"""Writing at indices: exact where the indices are constants, marked where they are data.

What is written lands where the index says; the old content shows through elsewhere, and where
the op adds instead of replacing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

import numpy as np

from fieldwise.axes import EMPTY, AxisMap, IndexSet, Table, index_map
from fieldwise.capture.torch.registry import OpCall, Reads, known_values, normal_dim, one, rule
from fieldwise.capture.torch.rules.common import (
    MOST_PLACES,
    Where,
    along_but,
    earlier,
    entirely,
    separably,
)
from fieldwise.capture.torch.rules.indexing import indices_of, inside, line_along
from fieldwise.capture.torch.rules.mask import guarded, through
from fieldwise.graph.ir import (
    AT_ZERO,
    Along,
    Coord,
    Read,
    Reshape,
    Separable,
    Shape,
    Unknown,
    broadcast,
    numel,
    separable,
    straight,
)
from fieldwise.graph.kinds import ANY, COPY, FILLED, LINEAR, Kind

_BY_DATA = "{} to positions that depend on the data"
_MANY = "{} writes at more places than are listed one by one"


def _found(
    values: Sequence[int], size: int, positions: Iterable[int] | None = None
) -> AxisMap | Table:
    """Index i → the positions p that hold it: the inverse of walking through ``values``.

    positions: of the values, where they are not counted from 0
    """
    rows: list[list[int]] = [[] for _ in range(size)]
    places = inside(np.asarray(values), size).tolist()
    for position, place in zip(count() if positions is None else positions, places, strict=False):
        rows[place].append(position)
    return index_map([IndexSet.of(row) for row in rows])


def _writing(call: OpCall) -> Kind:
    """A copy, or a sum where what is written is added."""
    if call.args.get("reduce") is not None:
        return ANY
    if call.args.get("accumulate"):
        return LINEAR
    return FILLED if isinstance(call.args.get("value"), (int, float)) else COPY


_WHERE = ("index", "indices", "mask")


@rule(
    "index_put", "_unsafe_index_put", "_index_put_impl",
    name="index_put", kind=_writing, asks=_WHERE,
)  # fmt: skip
def _index_put(call: OpCall) -> Reads:
    """x[:, i] = v and x[mask] = v: exact where the indices are constants."""
    indices = indices_of(call, len(call.result))
    if indices is None:
        return _written_by_data(call, "values", None)
    used = indices.used
    known = [known_values(indices.entries[dim]) for dim in used]
    places = [values for values in known if values is not None]
    if not used or len(places) < len(used):
        line = len(used) == 1 and len(indices.block) == 1
        return _written_by_data(call, "values", used[0] if line else None)
    written = np.zeros([call.result[dim] for dim in used], dtype=bool)
    sizes = written.shape
    written[tuple(inside(place, size) for place, size in zip(places, sizes, strict=True))] = True
    reads = _added_to(call)
    if (kept := call.operand("self")) is not None and not call["accumulate"]:
        reads = guarded(call, kept, ~written, used)
    number = call.operand("values")
    if number is None:
        return one(*reads)
    if numel(call.operands[number]) == 1:
        return one(*reads, *guarded(call, number, written, used))
    if len(indices.block) == 1 and used == [*range(used[0], used[-1] + 1)]:
        at = [
            np.broadcast_to(inside(place, size), indices.block)
            for place, size in zip(places, written.shape, strict=True)
        ]
        lines = np.ravel_multi_index(at, written.shape)
        return one(*reads, _put(call, number, used, lines))
    landed = _places(call.result)[
        tuple(slice(None) if entry is None else known_values(entry) for entry in indices.entries)
    ]
    taken = np.broadcast_to(_places(call.operands[number]), landed.shape)
    return one(*reads, _landing(call, number, landed, taken))


def _put(call: OpCall, number: int, used: Sequence[int], places: np.ndarray) -> Read:
    """Values along one axis that land at places of neighbouring dimensions, counted through."""
    first, last = used[0], used[-1] + 1
    size = numel(call.result[first:last])
    flat = (*call.result[:first], size, *call.result[last:])
    values = (*call.result[:first], len(places), *call.result[last:])
    found = Along(first, _found(places.tolist(), size))
    steps = (
        broadcast(number, call.operands[number], values).steps[0],
        along_but(0, len(flat), {first: found}).steps[0],
    )
    if len(used) == 1:
        return Read(number, steps, (values,))
    return Read(number, (*steps, Reshape()), (values, flat))


def _places(shape: Shape) -> np.ndarray:
    """The places of an array, counted through."""
    return np.arange(numel(shape)).reshape(shape)


def _landing(
    call: OpCall, number: int, landed: np.ndarray, taken: np.ndarray | None = None
) -> Read:
    """Elements of an operand that land at places of the result, both counted through.

    taken: which elements, in the order of ``landed``; by default all
    """
    shape, size = call.operands[number], numel(call.result)
    if max(size, landed.size) > MOST_PLACES:
        return separable(number, *[Unknown(_MANY.format(call.called))] * len(shape))
    places = landed.reshape(-1).tolist()
    positions = None if taken is None else taken.reshape(-1).tolist()
    found = Separable((Along(0, _found(places, size, positions)),))
    return Read(number, (Reshape(), found, Reshape()), ((numel(shape),), (size,)))


def _at_position(call: OpCall, dim: int, values: np.ndarray) -> Along:
    return Along(dim, _found(values.reshape(-1).tolist(), call.result[dim]))


def _added_to(call: OpCall) -> list[Read]:
    return separably(call, self=straight(len(call.result)))


def _kept(call: OpCall, dim: int, values: np.ndarray, extent: Shape | None = None) -> list[Read]:
    """What is left of ``self`` where ``values`` along ``dim`` are overwritten.

    ``extent`` is how far the writes reach in the other dimensions, if not to the end.
    """
    number = call.operand("self")
    if number is None:
        return []
    size = call.result[dim]
    written = IndexSet.of(inside(values.reshape(-1), size).tolist())
    rests = {dim: IndexSet.range(0, size) - written}
    for other, reach in enumerate(extent or ()):
        if other != dim:
            rests[other] = IndexSet.range(reach, call.result[other])
    rank = len(call.result)
    return [along_but(number, rank, {}, ((d, rest),)) for d, rest in rests.items() if rest]


def _written_by_data(call: OpCall, name: str, dim: int | None) -> Reads:
    """``self`` shows through anywhere; argument ``name`` may land anywhere along ``dim``.

    None: it may land anywhere at all.
    """
    why = Unknown(_BY_DATA.format(call.called))
    reads = _added_to(call)
    for argument, number in call.derived():
        shape = call.operands[number]
        if argument == name and dim is not None and len(shape) == len(call.result):
            once = (d for d, size in enumerate(shape) if size == 1 != call.result[d])
            changed: dict[int, Coord] = {**dict.fromkeys(once, AT_ZERO), dim: why}
            reads.append(along_but(number, len(shape), changed))
        elif argument != "self":
            reads.append(separable(number, *[why] * len(shape)))
    return one(*reads)


@rule("index_copy", "index_fill", kind=_writing, asks=_WHERE)
def _index_copy(call: OpCall) -> Reads:
    return _indexed_write(call, replaces=True)


@rule("index_add", kind=LINEAR, asks=_WHERE)
def _index_add(call: OpCall) -> Reads:
    return _indexed_write(call, replaces=False)


@rule("index_reduce", kind=ANY)
def _index_reduce(call: OpCall) -> Reads:
    return _indexed_write(call, replaces=not call["include_self"])


def _indexed_write(call: OpCall, *, replaces: bool) -> Reads:
    """Slices of ``source`` go to constant positions along a dimension."""
    dim = normal_dim(call["dim"], len(call.result))
    values = known_values(call["index"])
    if values is None:
        return _written_by_data(call, "source", dim)
    reads = _kept(call, dim, values) if replaces else _added_to(call)
    if (number := call.operand("source")) is not None:
        reads.append(along_but(number, len(call.result), {dim: _at_position(call, dim, values)}))
    for read in entirely(call, "value"):
        written = IndexSet.of((values.reshape(-1) % call.result[dim]).tolist())
        reads.append(separable(read.operand, *read.coords(), where=((dim, written),)))
    return one(*reads)


@rule("scatter", kind=_writing, asks=_WHERE)
def _scatter(call: OpCall) -> Reads:
    return _scattered(call, replaces=call.args.get("reduce") is None)


@rule("scatter_add", kind=LINEAR, asks=_WHERE)
def _scatter_add(call: OpCall) -> Reads:
    return _scattered(call, replaces=False)


@rule("scatter_reduce", kind=ANY)
def _scatter_reduce(call: OpCall) -> Reads:
    return _scattered(call, replaces=not call["include_self"])


def _scattered(call: OpCall, *, replaces: bool) -> Reads:
    """Exact where a constant index is the same in all dimensions but the scattered one."""
    dim = normal_dim(call["dim"], len(call.result))
    values = known_values(call["index"])
    if values is None:
        return _written_by_data(call, "src", dim)
    line = line_along(values, dim)
    if line is None:
        return _scattered_unevenly(call, dim, values, replaces=replaces)
    reads = _kept(call, dim, line, values.shape) if replaces else _added_to(call)
    if (number := call.operand("src")) is not None:
        within: Where = tuple(
            (d, IndexSet.range(0, reach)) for d, reach in enumerate(values.shape) if d != dim
        )
        at = {dim: _at_position(call, dim, line)}
        reads.append(along_but(number, len(call.result), at, within))
    return one(*reads)


def _scattered_unevenly(call: OpCall, dim: int, values: np.ndarray, *, replaces: bool) -> Reads:
    """By an index that differs along other dimensions: place by place."""
    within = tuple(map(slice, values.shape))
    reach = tuple(slice(None if d == dim else size) for d, size in enumerate(values.shape))
    index = inside(values, call.result[dim])
    landed = np.take_along_axis(_places(call.result)[reach], index, dim)
    reads = _added_to(call)
    if (kept := call.operand("self")) is not None and replaces:
        reads = through(call, kept, _untouched(call.result, landed))
    if (number := call.operand("src")) is not None:
        reads.append(_landing(call, number, landed, _places(call.operands[number])[within]))
    return one(*reads)


def _untouched(shape: Shape, landed: np.ndarray) -> np.ndarray:
    """Where nothing has landed."""
    untouched = np.ones(numel(shape), dtype=bool)
    untouched[landed.reshape(-1)] = False
    return untouched.reshape(shape)


@rule("_unsafe_masked_index_put_accumulate", name="index_put")
def _masked_put(call: OpCall) -> Reads:
    return _written_by_data(call, "values", None)


@rule("masked_scatter", kind=COPY, asks=_WHERE)
def _masked_scatter(call: OpCall) -> Reads:
    """The n-th true place of the mask, in row-major order, takes the n-th element of the source.

    So a mask that derives from the input is read up to the place in question.
    """
    mask = known_values(call["mask"])
    opened = None if mask is None else np.broadcast_to(mask.astype(bool), call.result)
    reads: list[Read] = []
    if (number := call.operand("self")) is not None:
        reads += through(call, number, None if opened is None else ~opened)
    if (number := call.operand("mask")) is not None:
        reads += earlier(number, call.operands[number], call.result)
    if (number := call.operand("source")) is not None:
        reads.append(_counted(call, number, opened))
    return one(*reads)


def _counted(call: OpCall, number: int, opened: np.ndarray | None) -> Read:
    """The source of masked_scatter: true place number n reads element number n."""
    shape = call.operands[number]
    if opened is None:
        why = Unknown("masked_scatter takes as many values as its mask has places before")
        return separable(number, *[why] * len(shape))
    flat = opened.reshape(-1)
    taken = zip(flat.tolist(), (np.cumsum(flat) - 1).tolist(), strict=True)
    rows = index_map([IndexSet(place, 1) if here else EMPTY for here, place in taken])
    steps = (Reshape(), Separable((Along(0, rows),)), Reshape())
    return Read(number, steps, ((numel(shape),), (flat.size,)))


@rule("put", kind=_writing, asks=_WHERE)
def _put_flat(call: OpCall) -> Reads:
    """Elements of the source go to constant places of the flattened operand."""
    index = known_values(call["index"])
    if index is None:
        return _written_by_data(call, "source", None)
    landed = index % max(numel(call.result), 1)
    reads = _added_to(call)
    if (kept := call.operand("self")) is not None and not call["accumulate"]:
        reads = through(call, kept, _untouched(call.result, landed))
    if (number := call.operand("source")) is not None:
        reads.append(_landing(call, number, landed))
    return one(*reads)


for _axes in (2, 3):

    @rule(
        f"max_pool{_axes}d_with_indices_backward", f"adaptive_max_pool{_axes}d_backward",
        name="max_pool_backward",
    )  # fmt: skip
    def _max_pool_backward(call: OpCall, axes: int = _axes) -> Reads:
        """Each gradient goes to the place in its plane that its index names."""
        number, indices = call.operand("grad_output"), known_values(call["indices"])
        if indices is None:
            return _max_pool_backward_by_data(call, axes)
        if number is None:
            return one()
        planes, size = numel(call.result[:-axes]), numel(call.result[-axes:])
        places = indices.reshape(planes, -1) + size * np.arange(planes)[:, None]
        return one(_landing(call, number, places))


def _max_pool_backward_by_data(call: OpCall, axes: int) -> Reads:
    why = Unknown("max_pool_backward with indices that depend on the data")
    coords: list[Coord] = [*straight(len(call.result) - axes), *[why] * axes]
    return one(*separably(call, grad_output=coords, indices=coords))
