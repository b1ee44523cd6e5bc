"""Ops that move elements: reshapes, permutations, slices, writes into slices."""

from __future__ import annotations

from dataclasses import replace

from fieldwise.axes import AxisMap, Border, IndexSet
from fieldwise.capture.torch.aliases import overlay, strided_read
from fieldwise.capture.torch.registry import OpCall, Reads, normal_dim, one, rule
from fieldwise.capture.torch.rules.common import (
    along_but,
    lined,
    permuted,
    source,
)
from fieldwise.graph.ir import (
    WHOLE,
    Along,
    Fixed,
    Read,
    Ref,
    Reshape,
    Shape,
    identity,
    separable,
)
from fieldwise.graph.kinds import COPY, ELEMENTWISE, REGROUPED, Kind

# -------------------------------------------------------------------- reshapes, permutations


def _copied_or_reinterpreted(call: OpCall) -> Kind:
    """A view as another dtype has the same bits, which stand for other numbers."""
    if "dtype" not in call.args:
        return COPY
    return ELEMENTWISE if call.result in call.operands else REGROUPED


@rule(
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "_unsafe_view",
    "view_as", "reshape_as", "_reshape_alias", "ravel", "view_copy", "squeeze_copy",
    "unsqueeze_copy", "_reshape_copy",
    name="reshape", kind=_copied_or_reinterpreted,
)  # fmt: skip
def _reshape(call: OpCall) -> Reads:
    number = call.operand("self")
    if number is None:  # the op only asked another tensor for its shape
        return one()
    shape = call.operands[number]
    if shape == call.result:
        return one(identity(number, len(shape)))
    return one(
        _bits(number, shape, call.result) if "dtype" in call.args else Read(number, (Reshape(),))
    )


def _bits(number: int, shape: Shape, result: Shape) -> Read:
    """The same bits as numbers of another size: along the last dimension, several for one."""
    last, before, after = len(shape) - 1, shape[-1], result[-1]
    if after > before:
        parts = AxisMap(1, (IndexSet(0, 1),) * (after // before))
    else:
        parts = AxisMap(before // max(after, 1), (IndexSet.range(0, before // max(after, 1)),))
    return along_but(number, len(shape), {last: Along(last, parts)})


@rule("permute", "permute_copy", name="permute", kind=COPY)
def _permute(call: OpCall) -> Reads:
    number, shape = source(call)
    return one(permuted(number, [normal_dim(dim, len(shape)) for dim in call["dims"]]))


@rule("transpose", "transpose_copy", name="permute", kind=COPY)
def _transpose(call: OpCall) -> Reads:
    return _swapped(call, call["dim0"], call["dim1"])


def _conjugating(call: OpCall) -> Kind:
    """Of complex numbers the conjugates."""
    return REGROUPED if call.complex else COPY


@rule("t", "t_copy", "mT", name="permute", kind=COPY)
@rule("mH", "matrix_H", "adjoint", name="permute", kind=_conjugating)
def _last_two_swapped(call: OpCall) -> Reads:
    return _swapped(call, -2, -1)


def _swapped(call: OpCall, one_dim: int, other_dim: int) -> Reads:
    number, shape = source(call)
    order = list(range(len(shape)))
    if len(order) > 1:
        order[one_dim], order[other_dim] = order[other_dim], order[one_dim]
    return one(permuted(number, order))


@rule("diagonal", "diagonal_copy", name="diagonal", kind=COPY)
def _diagonal(call: OpCall) -> Reads:
    number, shape = source(call)
    return one(_on_diagonal(call, number, len(shape)))


def _on_diagonal(call: OpCall, number: int, rank: int) -> Read:
    """The new last dimension drives both dimensions that the diagonal runs through."""
    rows, columns = normal_dim(call["dim1"], rank), normal_dim(call["dim2"], rank)
    starts = {rows: max(-call["offset"], 0), columns: max(call["offset"], 0)}
    passing = iter(range(rank - 2))
    return separable(
        number,
        *(
            Along(rank - 2, AxisMap.affine(1, starts[dim]))
            if dim in starts
            else Along(next(passing))
            for dim in range(rank)
        ),
    )


@rule("as_strided_copy", name="as_strided", kind=COPY)
def _as_strided(call: OpCall) -> Reads:
    number, shape = source(call)
    return one(replace(_strided(call, shape), operand=number))


def _strided(call: OpCall, shape: Shape) -> Read:
    return strided_read(shape, call["size"], call["stride"], call["storage_offset"] or 0)


@rule("diag_embed", kind=COPY)
def _diag_embed(call: OpCall) -> Reads:
    """The diagonal of two new dimensions; nothing is read beside it."""
    number, shape = source(call)
    rank = len(call.result)
    rows, columns = normal_dim(call["dim1"], rank), normal_dim(call["dim2"], rank)
    offset, passing = call["offset"], iter(d for d in range(rank) if d not in (rows, columns))
    lead = [Along(next(passing)) for _ in shape[:-1]]
    down, right = max(-offset, 0), max(offset, 0)
    return one(
        *(
            separable(
                number,
                *lead,
                Fixed(IndexSet(i, 1)),
                where=((rows, IndexSet(i + down, 1)), (columns, IndexSet(i + right, 1))),
            )
            for i in range(shape[-1])
        )
    )


@rule("block_diag", kind=COPY)
def _block_diag(call: OpCall) -> Reads:
    reads, row, column = [], 0, 0
    for item in call["tensors"]:
        shape = call.shape_of(item)
        height, width = (1, 1, *shape)[-2:]
        if isinstance(item, Ref):
            rows, columns = IndexSet.range(0, height), IndexSet.range(0, width)
            where = ((0, rows.shift(row)), (1, columns.shift(column)))
            coords = (Along(0, AxisMap.affine(1, -row)), Along(1, AxisMap.affine(1, -column)))
            reads.append(separable(item.operand, *coords[2 - len(shape) :], where=where))
        row, column = row + height, column + width
    return one(*reads)


@rule("view_as_real", "view_as_real_copy", name="view_as_real", kind=REGROUPED)
def _view_as_real(call: OpCall) -> Reads:
    """A new last dimension holds the two parts."""
    number, shape = source(call)
    return one(identity(number, len(shape)))


@rule("view_as_complex", "view_as_complex_copy", name="view_as_complex", kind=REGROUPED)
def _view_as_complex(call: OpCall) -> Reads:
    number, shape = source(call)
    return one(along_but(number, len(shape), {len(shape) - 1: WHOLE}))


# -------------------------------------------------------------------- slices


@rule("select", "select_copy", name="select", kind=COPY)
def _select(call: OpCall) -> Reads:
    number, shape, dim = lined(call)
    return one(_at(number, len(shape), dim, call["index"] % shape[dim]))


@rule("unbind", "unbind_copy", name="unbind", kind=COPY)
def _unbind(call: OpCall) -> Reads:
    number, shape, dim = lined(call)
    return tuple((_at(number, len(shape), dim, index),) for index in range(shape[dim]))


def _at(number: int, rank: int, dim: int, index: int) -> Read:
    """Dimension ``dim`` is read at one index and is gone from the result."""
    fixed = Fixed(IndexSet(index, 1))
    return separable(number, *(fixed if d == dim else Along(d - (d > dim)) for d in range(rank)))


@rule("slice", "slice_copy", name="slice", kind=COPY)
def _slice(call: OpCall) -> Reads:
    number, shape, dim = lined(call)
    start, _, step = slice(call["start"], call["end"], call["step"]).indices(shape[dim])
    return one(_moved(number, len(shape), dim, AxisMap.affine(step, start)))


@rule("narrow_copy", name="slice", kind=COPY)
def _narrow(call: OpCall) -> Reads:
    number, shape, dim = lined(call)
    start = call["start"] % max(shape[dim], 1)
    return one(_moved(number, len(shape), dim, AxisMap.affine(1, start)))


@rule(
    "split", "split_with_sizes", "chunk",
    "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk",
    "split_copy", "split_with_sizes_copy",
    name="split", kind=COPY,
)  # fmt: skip
def _split(call: OpCall) -> Reads:
    number, shape, dim = lined(call)
    reads, start = [], 0
    for result in call.results:
        reads.append((_moved(number, len(shape), dim, AxisMap.affine(1, start)),))
        start += result[dim]
    return tuple(reads)


def _moved(number: int, rank: int, dim: int, index: AxisMap, border: Border = Border.DROP) -> Read:
    """One dimension follows its own index through a map, the others stay."""
    return along_but(number, rank, {dim: Along(dim, index, border)})


# -------------------------------------------------------------------- writes into slices


@rule("slice_scatter", kind=COPY)
def _slice_scatter(call: OpCall) -> Reads:
    dim = normal_dim(call["dim"], len(call.result))
    bounds = slice(call["start"], call["end"], call["step"]).indices(call.result[dim])
    start, stop, step = bounds
    rows = (
        IndexSet.of([(r - start) // step] if (r - start) % step == 0 else ()) for r in range(step)
    )
    written = Along(dim, AxisMap(1, tuple(rows)))
    rest = [Along(d) if d != dim else written for d in range(len(call.result))]
    return _overwritten(call, dim, IndexSet.range(start, stop, step), rest)


@rule("select_scatter", kind=COPY)
def _select_scatter(call: OpCall) -> Reads:
    dim = normal_dim(call["dim"], len(call.result))
    covered = IndexSet(call["index"] % call.result[dim], 1)
    rest = [Along(d) for d in range(len(call.result)) if d != dim]
    return _overwritten(call, dim, covered, rest)


@rule("diagonal_scatter", kind=COPY)
def _diagonal_scatter(call: OpCall) -> Reads:
    return _overlaid(call, _on_diagonal(call, 0, len(call.result)))


@rule("as_strided_scatter", kind=COPY)
def _strided_scatter(call: OpCall) -> Reads:
    return _overlaid(call, _strided(call, call.result))


def _overlaid(call: OpCall, view: Read) -> Reads:
    """``src`` in place of what a view of ``self`` reads."""
    kept, written = overlay(view, call.result, call.shape("src"))
    pairs = ((call.operand("self"), kept), (call.operand("src"), written))
    return one(*(replace(r, operand=n) for n, reads in pairs if n is not None for r in reads))


def _overwritten(call: OpCall, dim: int, covered: IndexSet, written: list[Along]) -> Reads:
    """``src`` is read in ``covered`` of a result dimension, ``self`` in the rest of it."""
    reads = []
    if (number := call.operand("self")) is not None:
        rest = IndexSet.range(0, call.result[dim]) - covered
        reads.append(along_but(number, len(call.result), {}, ((dim, rest),)))
    if (number := call.operand("src")) is not None:
        reads.append(separable(number, *written, where=((dim, covered),)))
    return one(*reads)
