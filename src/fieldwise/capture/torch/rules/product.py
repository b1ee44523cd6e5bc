"""Matrix products and their kin: contracted dimensions are read whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fieldwise.axes import IndexSet, Table
from fieldwise.capture.torch.registry import OpCall, Reads, normal_dim, one, rule
from fieldwise.capture.torch.rules.common import (
    along_but,
    broadcasts,
    entirely,
    per_result,
    separably,
    source,
)
from fieldwise.graph.ir import (
    AT_ZERO,
    WHOLE,
    Along,
    Coord,
    Read,
    Ref,
    Separable,
    Shape,
    Unknown,
    separable,
    straight,
)
from fieldwise.graph.kinds import PRODUCT, SUM, SYMMETRIC

# -------------------------------------------------------------------- linear layers


@rule("linear", kind=PRODUCT)
def _linear(call: OpCall) -> Reads:
    """y[…, o] reads x[…, all]; a derived weight gives its row o."""
    features: list[Coord] = [*straight(len(call.shape("input")) - 1), WHOLE]
    row = [Along(len(call.result) - 1)] * (len(call.shape("weight")) - 1)
    reads = separably(call, input=features, weight=(*row, WHOLE))
    return one(*reads, *broadcasts(call, "bias"))


@rule("bilinear", kind=PRODUCT)
def _bilinear(call: OpCall) -> Reads:
    last = len(call.result) - 1
    features: list[Coord] = [*straight(last), WHOLE]
    weight = (Along(last), WHOLE, WHOLE)
    reads = separably(call, input1=features, input2=features, weight=weight)
    return one(*reads, *broadcasts(call, "bias"))


# -------------------------------------------------------------------- matrix products


@rule("matmul", "mm", "bmm", "mv", "dot", "vdot", name="matmul", kind=PRODUCT)
def _matmul(call: OpCall) -> Reads:
    return one(*_product(call, *_pair(call)))


_FACTORS = ("self", "other", "mat2", "vec", "tensor")
_ADDED = {"addmm": ("mat1", "mat2"), "baddbmm": ("batch1", "batch2"), "addmv": ("mat", "vec")}

for _op, _factors in _ADDED.items():

    @rule(_op, name="matmul", kind=PRODUCT)
    def _add_product(call: OpCall, factors: tuple[str, str] = _factors) -> Reads:
        return one(*_product(call, *factors), *_addend(call))


@rule("addbmm", kind=PRODUCT)
def _add_summed_products(call: OpCall) -> Reads:
    """The products of a batch of matrices, summed over the batch."""
    row, column = (WHOLE, Along(0), WHOLE), (WHOLE, WHOLE, Along(1))
    return one(*separably(call, batch1=row, batch2=column), *_addend(call))


@rule("addr", kind=PRODUCT)
def _add_outer(call: OpCall) -> Reads:
    return one(*separably(call, vec1=(Along(0),), vec2=(Along(1),)), *_addend(call))


def _addend(call: OpCall) -> list[Read]:
    """What is added to a product, unless it is multiplied by zero."""
    return broadcasts(call, "self") if call["beta"] else []


def _product(call: OpCall, left: str, right: str) -> list[Read]:
    """(…, n, k) @ (…, k, m), with vectors where torch allows them."""
    has_rows, has_columns = len(call.shape(left)) > 1, len(call.shape(right)) > 1
    batch = call.result[: len(call.result) - has_rows - has_columns]
    row = (Along(len(batch)), WHOLE) if has_rows else (WHOLE,)
    column = (WHOLE, Along(len(call.result) - 1)) if has_columns else (WHOLE,)
    return batches(call, batch, {left: row, right: column})


Term = tuple[int | None, list[str]]
"""A factor of a contraction: its operand number, if it is one, and a label per dimension."""


CONTRACTIONS = ("matmul", "einsum", "linear", "addbmm", "addr")
"""What ``contraction`` describes; the factors are what such an op reads first, in their order."""


def contraction(call: OpCall) -> tuple[list[Term], list[str]]:
    """A matrix product or einsum by labels: its factors, and the labels of the result.

    A label that the result lacks is summed over.  A dimension of size 1, which may be broadcast,
    shares its label with no factor of another size: ``i`` becomes ``i'``.
    """
    factors, parsed, output = _labelled_factors(call)
    terms: list[Term] = []
    for factor, labels in zip(factors, parsed, strict=True):
        sizes = zip(labels, call.shape_of(factor), strict=True)
        own = [f"{label}'" if size == 1 else label for label, size in sizes]
        terms.append((factor.operand if isinstance(factor, Ref) else None, own))
    return terms, output


def _labelled_factors(call: OpCall) -> tuple[Sequence[Any], list[list[str]], list[str]]:
    """The factors of a contraction, the labels of each, and those of the result."""
    if call.op == "einsum":
        return call["tensors"], *_parse(call)
    if call.op == "addr":
        return (call["vec1"], call["vec2"]), [["row"], ["column"]], ["row", "column"]
    if call.op == "addbmm":
        labels = [["batch", "row", "sum"], ["batch", "sum", "column"]]
        return (call["batch1"], call["batch2"]), labels, ["row", "column"]
    if call.op == "linear":
        lead = [str(dim) for dim in range(len(call.shape("input")) - 1)]
        column = ["column"] * (len(call.shape("weight")) - 1)
        labels = [[*lead, "sum"], [*column, "sum"]]
        return (call["input"], call["weight"]), labels, lead + column
    pair = _pair(call)
    ranks = [len(call.shape(name)) for name in pair]
    batch = [str(dim) for dim in range(len(call.result) - sum(rank > 1 for rank in ranks))]
    ends = (["row", "sum"], ["sum", "column"])
    labels = [
        [*batch[len(batch) + 2 - rank :], *last] if rank > 1 else ["sum"]
        for rank, last in zip(ranks, ends, strict=True)
    ]
    own = [end for end, rank in zip(("row", "column"), ranks, strict=True) if rank > 1]
    return [call[name] for name in pair], labels, batch + own


def _pair(call: OpCall) -> tuple[str, str]:
    added = next((pair for pair in _ADDED.values() if pair[0] in call.args), None)
    left, right = added or (name for name in call.args if name in _FACTORS)
    return left, right


def batches(call: OpCall, batch: Shape, tails: Mapping[str, Sequence[Coord]]) -> list[Read]:
    """Each of these arguments that is an operand, ``batched``, with these last coordinates."""
    numbers = ((call.operand(name), tail) for name, tail in tails.items())
    return [batched(n, call.operands[n], batch, tail) for n, tail in numbers if n is not None]


def batched(number: int, shape: Shape, batch: Shape, tail: Sequence[Coord]) -> Read:
    """Leading dimensions broadcast against the result's ``batch``; the last ones as given."""
    lead = len(shape) - len(tail)
    shift = len(batch) - lead
    coords = (
        AT_ZERO if shape[dim] == 1 != batch[shift + dim] else Along(shift + dim)
        for dim in range(lead)
    )
    return separable(number, *coords, *tail)


@rule("linalg_cross", kind=PRODUCT)
def _cross(call: OpCall) -> Reads:
    """Component i multiplies the other two."""
    rank = len(call.result)
    dim = normal_dim(call["dim"], rank)
    others = Along(dim, Table.of([[1, 2], [0, 2], [0, 1]]))
    reads = []
    for _, number in call.derived():
        shape = call.operands[number]
        rest = {d: AT_ZERO for d in range(rank) if shape[d] == 1 != call.result[d]}
        reads.append(along_but(number, rank, {**rest, dim: others}))
    return one(*reads)


@rule("cdist", "_cdist_forward", "_euclidean_dist", name="cdist", kind=SYMMETRIC)
def _cdist(call: OpCall) -> Reads:
    """Distance (i, j) reads row i of the one and row j of the other."""
    batch = call.result[:-2]
    rows = {"x1": (Along(len(batch)), WHOLE), "x2": (Along(len(batch) + 1), WHOLE)}
    return one(*batches(call, batch, rows))


@rule("_pdist_forward", "pdist", name="pdist", kind=SYMMETRIC)
def _pdist(call: OpCall) -> Reads:
    """Distances of all pairs (i, j), i < j, in this order."""
    number, (rows, _) = source(call)
    pairs = tuple(IndexSet.of((i, j)) for i in range(rows) for j in range(i + 1, rows))
    return one(separable(number, Along(0, Table(pairs)), WHOLE))


@rule("dist", kind=SYMMETRIC)
def _dist(call: OpCall) -> Reads:
    return one(*entirely(call))


@rule("trace", kind=SUM)
def _trace(call: OpCall) -> Reads:
    number, shape = source(call)
    diagonal = Separable((Along(0), Along(0)))
    return one(Read(number, (diagonal, Separable((WHOLE,))), ((min(shape),),)))


# -------------------------------------------------------------------- matrix functions


@rule(
    "inverse", "linalg_inv", "linalg_det", "det", "logdet", "slogdet", "linalg_slogdet",
    "linalg_eigh", "linalg_eigvalsh", "linalg_svd", "linalg_svdvals", "svd", "matrix_exp",
    "pinverse", "linalg_inv_ex", "_linalg_det", "_linalg_slogdet", "_linalg_svd", "_linalg_eigh",
    "linalg_eig", "linalg_eigvals", "_linalg_eigvals", "linalg_matrix_exp", "linalg_polar",
    "linalg_matrix_sqrth",
    name="matrix_function",
)  # fmt: skip
def _matrix_function(call: OpCall) -> Reads:
    """Every element of the matrix matters for every element of the result."""
    return per_result(call, *whole_matrices(call, WHOLE))


@rule(
    "linalg_householder_product", "linalg_ldl_factor_ex", "linalg_ldl_factor", "cholesky_inverse",
    name="matrix_function",
)  # fmt: skip
def _part_of_a_matrix(call: OpCall) -> Reads:
    why = Unknown(f"{call.called} reads a part of the matrix, which part is not looked into")
    return per_result(call, *whole_matrices(call, why))


def whole_matrices(call: OpCall, everything: Coord) -> list[Read]:
    """Matrices are read whole; tolerances and the like are one per matrix."""
    matrix = next(name for name in ("self", "input", "A") if name in call.args)
    batch = call.shape(matrix)[:-2]
    reads = []
    for name, number in call.derived():
        shape = call.operands[number]
        tail = [] if name in _PER_MATRIX else [everything] * min(2 - (name == "tau"), len(shape))
        reads.append(batched(number, shape, batch, tail))
    return reads


_PER_MATRIX = ("atol", "rtol", "tol", "rcond")


# -------------------------------------------------------------------- einsum


@rule("einsum", kind=PRODUCT)
def _einsum(call: OpCall) -> Reads:
    """Labels in the output drive their dimensions; the others are contracted, hence whole."""
    terms, output = _parse(call)
    reads = [
        _einsum_read(item.operand, labels, output, call)
        for item, labels in zip(call["tensors"], terms, strict=True)
        if isinstance(item, Ref)
    ]
    return one(*reads)


def _einsum_read(number: int, labels: list[str], output: list[str], call: OpCall) -> Read:
    """A repeated label runs along a diagonal, which is taken before it is contracted."""
    shape = call.operands[number]
    distinct = list(dict.fromkeys(labels))
    sizes = tuple(
        max(s for s, k in zip(shape, labels, strict=True) if k == label) for label in distinct
    )
    outer = Separable(
        tuple(
            _labelled(label, size, output, call.result)
            for label, size in zip(distinct, sizes, strict=True)
        )
    )
    if distinct == labels:
        return Read(number, (outer,))
    diagonal = Separable(tuple(Along(distinct.index(label)) for label in labels))
    return Read(number, (diagonal, outer), (sizes,))


def _labelled(label: str, size: int, output: list[str], result: Shape) -> Coord:
    if label not in output:
        return WHOLE
    dim = output.index(label)
    return AT_ZERO if size == 1 != result[dim] else Along(dim)


def _parse(call: OpCall) -> tuple[list[list[str]], list[str]]:
    """The labels of every operand and of the result; the dimensions of '...' are '0', '1', …

    They are numbered from the last one, so that they line up as broadcasting does.
    """
    equation = call["equation"].replace(" ", "")
    left, arrow, right = equation.partition("->")
    written = left.split(",")
    ranks = [len(call.shape_of(item)) for item in call["tensors"]]
    named = (len(term.replace("...", "")) for term in written)
    hidden = [rank - count for rank, count in zip(ranks, named, strict=True)]
    terms = [_labels(term, count) for term, count in zip(written, hidden, strict=True)]
    widest = max((n for n, term in zip(hidden, written, strict=True) if "..." in term), default=0)
    if not arrow:
        once = sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1)
        right = "..." + "".join(once)
    return terms, _labels(right, widest)


def _labels(term: str, hidden: int) -> list[str]:
    before, dots, after = term.partition("...")
    middle = [str(place) for place in reversed(range(hidden))] if dots else []
    return [*before, *middle, *after]
