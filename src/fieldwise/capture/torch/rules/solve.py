"""Factorisations of matrices, and linear systems: what an element of a result needs of them.

The last two dimensions are the matrix, those before are a batch.  Pivots count as data: which row
stands where is decided by the columns up to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fieldwise.axes import IndexSet, Table
from fieldwise.capture.torch.registry import OpCall, Reads, known_values, one, rule
from fieldwise.capture.torch.rules.common import Where, broadcasts, future, past, source
from fieldwise.capture.torch.rules.mask import products, visible
from fieldwise.capture.torch.rules.product import batched, batches, whole_matrices
from fieldwise.graph.ir import (
    WHOLE,
    Along,
    Coord,
    Fixed,
    Read,
    Separable,
    Shape,
    Unknown,
    identity,
    separable,
    straight,
)

_NAME = "matrix_function"


def _matrix(number: int, rank: int, rows: Coord, columns: Coord, where: Where = ()) -> Read:
    """A read of a matrix whose batch is the result's."""
    return separable(number, *straight(rank - 2), rows, columns, where=where)


def _triangle(
    size: tuple[int, ...], first: int, *, upper: bool, strict: bool = False
) -> list[Where]:
    """The places of a triangle, as guards of dimensions ``first`` and the one after it."""
    everywhere = np.ones(size, dtype=bool)
    opened = np.triu(everywhere, int(strict)) if upper else np.tril(everywhere, -int(strict))
    return list(products(opened, first))


@rule("linalg_pinv", name=_NAME)
def _pseudo_inverse(call: OpCall) -> Reads:
    return one(*_singular_values(call))


@rule("linalg_matrix_rank", name=_NAME)
def _rank(call: OpCall) -> Reads:
    """Of a matrix that counts as Hermitian the lower triangle is read."""
    reads = _singular_values(call)
    name = "input" if "input" in call.args else "self"
    if not call["hermitian"] or call.operand(name) is None:
        return one(*reads)
    matrix = [read for read in reads if read.operand == call.operand(name)]
    rest = [read for read in reads if read not in matrix]
    return one(*_of_triangle(call, name, matrix, upper=False), *rest)


def _singular_values(call: OpCall) -> list[Read]:
    """None is more than the largest: with such a tolerance there is nothing to see."""
    tolerances = (call.args.get("rtol"), call.args.get("rcond"))
    if any(isinstance(bound, float) and bound >= 1 for bound in tolerances):
        return []
    return whole_matrices(call, WHOLE)


# -------------------------------------------------------------------- factorisations


@rule("linalg_cholesky", "linalg_cholesky_ex", "cholesky", name=_NAME)
def _cholesky(call: OpCall) -> Reads:
    """L[i, j] reads row i up to j and the leading block up to j, on both sides of the diagonal."""
    number, shape = source(call)
    rank, size = len(shape), shape[-1]
    row, column = (rank - 1, rank - 2) if call["upper"] else (rank - 2, rank - 1)
    leading, own = Along(column, past(size)), Along(row)
    factor = tuple(
        _matrix(number, rank, rows, columns, where)
        for where in _triangle((size, size), rank - 2, upper=call["upper"])
        for rows, columns in ((leading, leading), (own, leading), (leading, own))
    )
    everything = _matrix(number, rank, WHOLE, WHOLE)
    name = "self" if "self" in call.args else "input"
    flag = tuple(_of_triangle(call, name, [everything], upper=call["upper"]))
    return (factor, *[flag] * (len(call.results) - 1))


@rule("linalg_lu_factor", "linalg_lu_factor_ex", name=_NAME)
def _lu_factor(call: OpCall) -> Reads:
    """Both factors in one matrix; the pivots; a flag per matrix."""
    number, shape = source(call, "A")
    pivoted = Fixed(IndexSet.range(0, min(shape[-2:])))
    flags = [(_matrix(number, len(shape), WHOLE, pivoted),)] * (len(call.results) - 2)
    pivots = _pivots(call, number, shape, shape[-2])
    return (tuple(_eliminated(number, shape, shape[-2])), pivots, *flags)


def _eliminated(number: int, result: Shape, rows: int, where: Where = ()) -> Iterator[Read]:
    """Row i after i steps of elimination: the columns up to i, and the column in question.

    The last step finds one row of ``rows`` left, so that its column chooses nothing.
    """
    rank = len(result)
    steps = Along(rank - 2, _choices(result[-2], rows))
    yield _matrix(number, rank, WHOLE, steps, where)
    yield _matrix(number, rank, WHOLE, Along(rank - 1), where)


def _choices(size: int, rows: int) -> Table:
    """Row i → the columns that choose which row it is."""
    return Table(tuple(IndexSet.range(0, min(i + 1, rows - 1)) for i in range(size)))


def _pivots(call: OpCall, number: int, shape: Shape, rows: int) -> tuple[Read, ...]:
    """The pivots, or the scales of reflectors: second results, one per column."""
    rank, size = len(shape), call.results[1][-1]
    where: Where = ((rank - 2, IndexSet.range(0, min(size, rows - 1))),)
    return (_matrix(number, rank, WHOLE, Along(rank - 2, past(size)), where),)


@rule("linalg_lu", name=_NAME)
def _lu(call: OpCall) -> Reads:
    """P, L and U."""
    number, shape = source(call, "A")
    rank, (_, lower, upper) = len(shape), call.results
    rows = shape[-2]
    chosen = Along(rank - 2, _choices(rows, rows))
    places = Along(rank - 1, _choices(rows, rows))
    below = _triangle(lower[-2:], rank - 2, upper=False, strict=True)
    above = _triangle(upper[-2:], rank - 2, upper=True)
    return (
        (_matrix(number, rank, WHOLE, places),),
        tuple(_matrix(number, rank, WHOLE, chosen, where) for where in below),
        tuple(read for where in above for read in _eliminated(number, upper, rows, where)),
    )


@rule("linalg_qr", name=_NAME)
def _qr(call: OpCall) -> Reads:
    """Column j of Q is made of the columns up to j."""
    number, shape = source(call, "A")
    rank, (made, upper), rows = len(shape), call.results, _reflected(call, shape)
    above = _triangle(upper[-2:], rank - 2, upper=True)
    columns = () if made == (0,) else (Along(rank - 1, _choices(made[-1], rows)),)
    return (
        tuple(_matrix(number, rank, WHOLE, column) for column in columns),
        tuple(read for where in above for read in _eliminated(number, upper, rows, where)),
    )


def _reflected(call: OpCall, shape: Shape) -> int:
    """The rows for ``_choices``: a last number needs a reflector where it has a phase."""
    return shape[-2] + call.complex


@rule("geqrf", name=_NAME)
def _reflectors(call: OpCall) -> Reads:
    """R, the reflectors below it, and their scales."""
    number, shape = source(call)
    rank, size = len(shape), shape[-2:]
    columns, rows = past(shape[-1]), _reflected(call, shape)
    above = _triangle(size, rank - 2, upper=True)
    below = _triangle(size, rank - 2, upper=False, strict=True)
    packed = (
        *(read for where in above for read in _eliminated(number, shape, rows, where)),
        *(_matrix(number, rank, WHOLE, Along(rank - 1, columns), where) for where in below),
    )
    return (packed, _pivots(call, number, shape, rows))


@rule("lu_unpack", name=_NAME)
def _lu_unpack(call: OpCall) -> Reads:
    """P, L and U of both factors in one matrix; what is not asked for reads nothing."""
    rank = max(len(result) for result in call.results)
    found: list[tuple[Read, ...]] = [(), (), ()]
    if (number := call.operand("LU_pivots")) is not None and call["unpack_pivots"]:
        found[0] = (separable(number, *straight(rank - 2), WHOLE),)
    if (number := call.operand("LU_data")) is not None and call["unpack_data"]:
        for place, upper in ((1, False), (2, True)):
            size = call.results[place][-2:]
            found[place] = tuple(
                _matrix(number, rank, Along(rank - 2), Along(rank - 1), where)
                for where in _triangle(size, rank - 2, upper=upper, strict=not upper)
            )
    return tuple(found)


# -------------------------------------------------------------------- linear systems


@rule("_linalg_solve_ex", "linalg_solve", "linalg_solve_ex", name=_NAME)
def _solve(call: OpCall) -> Reads:
    """X of AX = B, or of XA = B; A's factors, pivots and a flag may be results too."""
    matrix = call.shape("A")
    is_vector = call.shape("B") == matrix[:-1]
    reads = _right_side(call, "B", left=call["left"], is_vector=is_vector)
    number = call.operand("A")
    if number is None:
        return (tuple(reads), *[()] * (len(call.results) - 1))
    tails = 1 if is_vector else 2
    batch = call.results[0][: len(call.results[0]) - tails]
    reads.append(batched(number, matrix, batch, (WHOLE, WHOLE)))
    rank = len(matrix)
    flag = (_matrix(number, rank, WHOLE, WHOLE),)
    if len(call.results) < 4:
        return (tuple(reads), *[flag] * (len(call.results) - 1))
    factors = tuple(_eliminated(number, matrix, matrix[-1]))
    pivots = Along(rank - 2, _choices(matrix[-1], matrix[-1]))
    return (tuple(reads), factors, (_matrix(number, rank, WHOLE, pivots),), flag)


def _right_side(call: OpCall, name: str, *, left: bool, is_vector: bool = False) -> list[Read]:
    """A solution needs the whole column (XA = B: row) of the right-hand side that it is in."""
    rank = len(call.results[0])
    tail: tuple[Coord, ...] = (WHOLE, Along(rank - 1)) if left else (Along(rank - 2), WHOLE)
    tail = (WHOLE,) if is_vector else tail
    return batches(call, call.results[0][: rank - len(tail)], {name: tail})


@rule("linalg_lu_solve", name=_NAME)
def _lu_solve(call: OpCall) -> Reads:
    """One factor is solved for first, and read whole; of the other the rest of the triangle.

    What is solved with the adjoint comes out permuted.
    """
    left, flipped = call["left"], call["adjoint"] == call["left"]
    reads = _right_side(call, "B", left=left)
    dim = len(call.result) - (2 if left else 1)
    everything = _spread(call, "LU", WHOLE)
    reads += _of_triangle(call, "LU", everything, upper=flipped, strict=not flipped)
    spans = _permuted_rest(call, dim) if flipped else [(Along(dim, future(call.result[dim])), ())]
    rest = [read for span in spans for read in _spread(call, "LU", *span)]
    reads += _of_triangle(call, "LU", rest, upper=not flipped, strict=flipped)
    return one(*reads, *batches(call, call.result[:-2], {"pivots": (WHOLE,)}))


def _permuted_rest(call: OpCall, dim: int) -> list[tuple[Coord, Where]]:
    """Index i → the place that the pivots bring it to, and all places after it."""
    pivots = known_values(call["pivots"])
    if pivots is None or not pivots.size:
        return [(WHOLE, ())]
    size, batch = call.result[dim], call.result[:-2]
    steps = np.broadcast_to(pivots, (*batch, size)).reshape(-1, size)
    places = np.array([_places(line.tolist()) for line in steps]).reshape(*batch, size, 1)
    return list(visible(np.arange(size) >= places, (*range(len(batch)), dim), size))


def _places(pivots: Sequence[int]) -> list[int]:
    """Where interchanges of rows, counted from 1, bring each row."""
    order = list(range(len(pivots)))
    for place, other in enumerate(pivots):
        order[place], order[other - 1] = order[other - 1], order[place]
    return [order.index(row) for row in range(len(order))]


@rule("linalg_ldl_solve", name=_NAME)
def _ldl_solve(call: OpCall) -> Reads:
    why = Unknown("a factor of ldl_factor, of which one triangle is read")
    reads = _right_side(call, "B", left=True)
    return one(*reads, *batches(call, call.result[:-2], {"LD": (why, why), "pivots": (WHOLE,)}))


@rule("cholesky_solve", name=_NAME)
def _cholesky_solve(call: OpCall) -> Reads:
    """B is ``self``, its factor ``input2``; torch differentiates by both triangles of a factor."""
    factor = batches(call, call.result[:-2], {"input2": (WHOLE, WHOLE)})
    return one(*_right_side(call, "self", left=True), *factor)


def _of_triangle(
    call: OpCall, name: str, spread: Sequence[Read], *, upper: bool, strict: bool = False
) -> list[Read]:
    """What ``spread`` reads of a matrix, as far as it lies in a triangle."""
    number = call.operand(name)
    if number is None:
        return []
    shape = call.operands[number]
    guards = _triangle(shape[-2:], len(shape) - 2, upper=upper, strict=strict)
    steps = [Separable(straight(len(shape)), where) for where in guards]
    return [Read(number, (step, *read.steps), (shape,)) for step in steps for read in spread]


def _spread(call: OpCall, name: str, span: Coord, where: Where = ()) -> list[Read]:
    """These rows and columns of a matrix, batches broadcast; nothing of a constant."""
    spread = batches(call, call.results[0][:-2], {name: (span, span)})
    return [separable(r.operand, *r.coords(), where=where) for r in spread]


@rule("linalg_solve_triangular", name=_NAME)
def _solve_triangular(call: OpCall) -> Reads:
    """X of AX = B, or of XA = B; what is solved for first is all that the rest needs."""
    return one(*_substituted(call, "self", "B", upper=call["upper"], left=call["left"]))


@rule("triangular_solve", name=_NAME)
def _old_triangular_solve(call: OpCall) -> Reads:
    """The solution, and a copy of the matrix."""
    flipped = call["transpose"]
    solved = _substituted(call, "A", "self", upper=call["upper"], left=True, flipped=flipped)
    number = call.operand("A")
    copied = () if number is None else (identity(number, len(call.operands[number])),)
    return (tuple(solved), copied)


def _substituted(
    call: OpCall, matrix: str, side: str, *, upper: bool, left: bool, flipped: bool = False
) -> list[Read]:
    """Substitution runs forwards or backwards through the rows of X (XA = B: its columns).

    flipped: the matrix is transposed before it is used
    """
    rank = len(call.results[0])
    dim = rank - 2 if left else rank - 1
    size = call.results[0][dim]
    forwards = (upper ^ flipped) != left
    span = Along(dim, past(size) if forwards else future(size))
    used = _spread(call, matrix, span)
    reads = _of_triangle(call, matrix, used, upper=upper, strict=call["unitriangular"])
    tail = (span, Along(rank - 1)) if left else (Along(rank - 2), span)
    return [*reads, *batches(call, call.results[0][:-2], {side: tail})]


@rule("ormqr", name=_NAME)
def _apply_reflectors(call: OpCall) -> Reads:
    """The product of reflectors with ``input3``, which it mixes along one dimension.

    Reflector k stands below the diagonal in column k, and changes what lies from k on.  So where
    the first is applied first, a place that those before have made is left alone by the others.
    """
    left = call["left"]
    dim, number_of = len(call.result) - (2 if left else 1), call.shape("input2")[-1]
    reads = _right_side(call, "input3", left=left) if number_of else broadcasts(call, "input3")
    reflectors: Coord = WHOLE
    if left == call["transpose"]:
        sizes = range(call.result[dim])
        reflectors = Along(
            dim, Table(tuple(IndexSet.range(0, min(i + 1, number_of)) for i in sizes))
        )
    below = batches(call, call.result[:-2], {"self": (WHOLE, reflectors)})
    reads += _of_triangle(call, "self", below, upper=False, strict=True)
    return one(*reads, *batches(call, call.result[:-2], {"input2": (reflectors,)}))
