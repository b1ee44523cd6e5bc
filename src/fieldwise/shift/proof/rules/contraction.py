"""Sums of products: every dimension of every factor has a label, shared labels pair positions.

``matmul``, ``linear``, ``einsum`` and attention are all of this kind.  A label that the result
has not is summed over; where it moves, every factor that has it must move with it, by a whole
turn, so that the sum is over the same pairs in another order.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from fieldwise.graph.calls import arguments, is_tensor, op_name
from fieldwise.graph.constants import Constant, constant
from fieldwise.graph.ir import Kwargs, Node, Ref
from fieldwise.graph.tensors import TensorLike
from fieldwise.shift.proof.combine import joined
from fieldwise.shift.proof.frame import Advanced, Frame, check_read_whole
from fieldwise.shift.proof.layout import (
    Dim,
    Layout,
    movers_of,
    moves,
    period_of,
    size_of,
    stays,
    uniform,
)
from fieldwise.shift.proof.reasons import ordered, varies
from fieldwise.shift.proof.signal import BreaksError, Fault
from fieldwise.shift.proof.variation import against

Label = Hashable


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor: the labels of its dimensions, and its layout or, for a constant, its values."""

    labels: tuple[Label, ...]
    known: Layout | Constant


def contracted(frame: Frame) -> Advanced:
    """What a sum of products makes.

    Raises BreaksError where it does not follow.
    """
    if frame.position or not (given := arguments(frame.node)):
        raise BreaksError(Fault(f"the call of '{frame.node.called}' is not recorded", known=False))
    factors, out = _TERMS.get(frame.node.op, _matrix_terms)(frame, given)
    made = product(factors, out, frame)
    layout = made.layout
    for name in _added_terms(frame.node, given):
        layout = added(layout, given.get(name), frame)
    return Advanced.of(layout, made.period)


# -------------------------------------------------------------------- products


def product(factors: Sequence[Factor], out: Sequence[Label], frame: Frame) -> Advanced:
    """The sum of products over all labels that are not in ``out``.

    Raises BreaksError where what is summed over does not move alike in all factors.
    """
    sizes: dict[Label, int] = {}
    for factor in factors:
        for label, size in zip(factor.labels, _shape(factor), strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    dims = {label: uniform(size) for label, size in sizes.items()}
    derived = [factor for factor in factors if not isinstance(factor.known, Constant)]
    for factor in derived:
        for place, label in enumerate(factor.labels):
            assert not isinstance(factor.known, Constant)
            dims[label] = _with(dims[label], factor.known[place], frame, place)
    for factor in factors:
        if isinstance(factor.known, Constant):
            _check_constant(dims, factor, factors, frame)
    for label in dims.keys() - set(out):
        check_read_whole(dims[label])
    layout = tuple(dims.get(label, uniform(1)) for label in out)
    return Advanced.of(layout, period_of(tuple(dims.values())))


def _shape(factor: Factor) -> tuple[int, ...]:
    if isinstance(factor.known, Constant):
        return factor.known.shape
    return tuple(map(size_of, factor.known))


def _with(dim: Dim, other: Dim, frame: Frame, place: int) -> Dim:
    """A dimension beside another one, which is repeated along it where it has one position."""
    if size_of(other) < size_of(dim):
        if moves(other):
            faults = (fault for moving in movers_of(other) for _, fault in moving.faults)
            raise BreaksError(Fault("it repeats a single position"), *faults)
        return dim
    return joined(dim, other, frame.explainer, place)


def _check_constant(
    dims: dict[Label, Dim], factor: Factor, factors: Sequence[Factor], frame: Frame
) -> None:
    labels, known = factor.labels, factor.known
    assert isinstance(known, Constant)
    if len(set(labels)) < len(labels):
        if any(moves(dims[label]) for label in labels):
            raise BreaksError(Fault("it takes the diagonal of a constant", known=False))
        dims.update((label, stays(size_of(dims[label]))) for label in labels)
        return
    others = {label for other in factors if other is not factor for label in other.labels}
    for label in labels:
        if label not in others:
            dims[label] = stays(size_of(dims[label]))
    here = tuple(dims[label] for label in labels)
    new = against(frame, here, known, ordered(frame.node))
    dims.update(zip(labels, new, strict=True))


def factor_of(item: Ref | TensorLike, labels: Sequence[Label], frame: Frame) -> Factor:
    """The factor that an argument is, an operand or a constant."""
    if isinstance(item, Ref):
        return Factor(tuple(labels), frame.layout(item.operand))
    return Factor(tuple(labels), constant(item, "a constant factor"))


def rank_of(item: Ref | TensorLike, frame: Frame) -> int:
    """The number of dimensions of an argument, an operand or a constant."""
    return len(frame.shape_of(item))


# -------------------------------------------------------------------- the ops


def _linear_terms(frame: Frame, given: Kwargs) -> tuple[list[Factor], list[Label]]:
    rank, rows = rank_of(given["input"], frame), rank_of(given["weight"], frame)
    batch = list(range(rank - 1))
    weight: list[Label] = ["out", "in"] if rows == 2 else ["in"]
    out: list[Label] = [*batch, *weight[:-1]]
    return [
        factor_of(given["input"], [*batch, "in"], frame),
        factor_of(given["weight"], weight, frame),
    ], out


def _matrix_terms(frame: Frame, given: Kwargs) -> tuple[list[Factor], list[Label]]:
    """(…, n, k) @ (…, k, m), with vectors where torch allows them."""
    names = _ADDED.get(op_name(frame.node)) or [name for name in given if name in _FACTORS]
    left, right = (given[name] for name in names)
    ranks = [rank_of(item, frame) for item in (left, right)]
    rows: list[Label] = ["row"] if ranks[0] > 1 else []
    columns: list[Label] = ["column"] if ranks[1] > 1 else []
    batches = [list(range(2 - rank, 0)) for rank in ranks]
    out = [*max(batches, key=len), *rows, *columns]
    return [
        factor_of(left, [*batches[0], *rows, "sum"], frame),
        factor_of(right, [*batches[1], "sum", *columns], frame),
    ], out


def _einsum_terms(frame: Frame, given: Kwargs) -> tuple[list[Factor], list[Label]]:
    equation = given["equation"].replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    ranks = [rank_of(item, frame) for item in given["tensors"]]
    hidden = [rank - len(term.replace("...", "")) for rank, term in zip(ranks, terms, strict=True)]
    if not arrow:
        right = "..." + "".join(sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1))
    factors = [
        factor_of(item, _letters(term, count), frame)
        for item, term, count in zip(given["tensors"], terms, hidden, strict=True)
    ]
    return factors, _letters(right, max(hidden))


def _letters(term: str, hidden: int) -> list[Label]:
    """The labels of a term; the dimensions of '...' are numbered from the last."""
    before, dots, after = term.partition("...")
    return [*before, *(range(-hidden, 0) if dots else ()), *after]


def _summed_terms(frame: Frame, given: Kwargs) -> tuple[list[Factor], list[Label]]:
    """addbmm: the products of a batch of matrices, summed over the batch."""
    return [
        factor_of(given["batch1"], ["batch", "row", "sum"], frame),
        factor_of(given["batch2"], ["batch", "sum", "column"], frame),
    ], ["row", "column"]


def _outer_terms(frame: Frame, given: Kwargs) -> tuple[list[Factor], list[Label]]:
    return [
        factor_of(given["vec1"], ["row"], frame),
        factor_of(given["vec2"], ["column"], frame),
    ], ["row", "column"]


def _bilinear_terms(frame: Frame, given: Kwargs) -> tuple[list[Factor], list[Label]]:
    batch: list[Label] = list(range(rank_of(given["input1"], frame) - 1))
    return [
        factor_of(given["input1"], [*batch, "left"], frame),
        factor_of(given["input2"], [*batch, "right"], frame),
        factor_of(given["weight"], ["out", "left", "right"], frame),
    ], [*batch, "out"]


def _distance_terms(frame: Frame, given: Kwargs) -> tuple[list[Factor], list[Label]]:
    """Distances of rows are no products, but pair and sum over features alike."""
    ranks = [rank_of(given[name], frame) for name in ("x1", "x2")]
    batches = [list(range(2 - rank, 0)) for rank in ranks]
    return [
        factor_of(given["x1"], [*batches[0], "row", "sum"], frame),
        factor_of(given["x2"], [*batches[1], "column", "sum"], frame),
    ], [*max(batches, key=len), "row", "column"]


_TERMS = {
    "linear": _linear_terms,
    "einsum": _einsum_terms,
    "addbmm": _summed_terms,
    "addr": _outer_terms,
    "bilinear": _bilinear_terms,
    "cdist": _distance_terms,
}
_FACTORS = ("self", "other", "mat2", "vec", "tensor")
_ADDED = {"addmm": ("mat1", "mat2"), "baddbmm": ("batch1", "batch2"), "addmv": ("mat", "vec")}


def _added_terms(node: Node, given: Kwargs) -> tuple[str, ...]:
    """What is added to the product; times zero it is not read."""
    if node.op not in ("linear", "bilinear", "addbmm", "addr") and op_name(node) not in _ADDED:
        return ()
    return ("bias", "self") if given.get("beta", 1) else ("bias",)


def added(layout: Layout, item: object, frame: Frame) -> Layout:
    """The layout after adding something that is broadcast to it."""
    if is_tensor(item):
        known = constant(item, "a bias")
        return against(frame, layout, known.of_rank(len(layout)), varies(frame.node.op, known.what))
    if not isinstance(item, Ref):
        return layout
    other = frame.layout(item.operand)
    lead = len(layout) - len(other)
    return tuple(
        dim if n < lead else _with(dim, other[n - lead], frame, n) for n, dim in enumerate(layout)
    )
