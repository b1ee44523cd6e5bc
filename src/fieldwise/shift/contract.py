"""Sums of products: every dimension of every factor has a label, shared labels pair positions.

``matmul``, ``linear``, ``einsum`` and attention are all of this kind.  A label that the result
has not is summed over; where it moves, every factor that has it must move with it, by a whole
turn, so that the sum is over the same pairs in another order.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fieldwise.graph.calls import arguments, is_tensor, op_name
from fieldwise.graph.ir import Graph, Node, Ref
from fieldwise.shift.combine import joined
from fieldwise.shift.constants import Constant, checked, constant
from fieldwise.shift.layout import (
    Dim,
    Layout,
    Voice,
    has_spectrum,
    movers_of,
    moves,
    period_of,
    size_of,
    stays,
    uniform,
)
from fieldwise.shift.moving import BreaksError, Fault
from fieldwise.shift.reasons import ordered, varies

Label = Hashable


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor: the labels of its dimensions, and its layout or, for a constant, its values."""

    labels: tuple[Label, ...]
    known: Layout | Constant


@dataclass(frozen=True, slots=True)
class Frame:
    """What a step of the proof is made in.

    layouts:   of the operands of the node, by operand number
    period:    at which all of them are known to move
    axis_size: of the shifted input axis
    met:       periods of what is met on the way, and perhaps summed over
    """

    graph: Graph
    node: Node
    position: int
    layouts: Mapping[int, Layout]
    period: int
    axis_size: int
    voice: Voice
    met: list[int] = field(default_factory=list)

    @property
    def result(self) -> tuple[int, ...]:
        """The shape of the result."""
        return self.graph.shape(self.node.results[self.position])

    def layout(self, number: int) -> Layout:
        """An operand's layout; one without takes no part in the shift."""
        shape = self.graph.shape(self.node.operands[number])
        return self.layouts.get(number, tuple(map(stays, shape)))


def read_whole(dim: Dim) -> None:
    """Check that an op that reads all positions sees the same ones after a shift.

    Raises BreaksError where a window is not whole, or the signal unbounded.
    """
    if has_spectrum(dim):
        raise BreaksError(Fault("it sums over frequencies"))
    for moving in movers_of(dim):
        if moving.turn is None:
            raise BreaksError(Fault("it reads the whole axis, and so the edges"))
        if not moving.whole:
            raise BreaksError(*(fault for _, fault in moving.faults))


def contracted(frame: Frame) -> Layout:
    """The layout of the result of a sum of products.

    Raises BreaksError where it does not follow.
    """
    if frame.node.op == "attention":
        return _attention(frame)
    if frame.position or not (given := arguments(frame.node)):
        raise BreaksError(Fault(f"the call of '{frame.node.op}' is not recorded", known=False))
    factors, out = _TERMS.get(frame.node.op, _matrix_terms)(frame, given)
    layout = _product(factors, out, frame)
    for name in ("bias", "self") if _adds(frame.node) else ():
        layout = _added(layout, given.get(name), frame)
    return layout


# -------------------------------------------------------------------- products


def _product(factors: Sequence[Factor], out: Sequence[Label], frame: Frame) -> Layout:
    sizes: dict[Label, int] = {}
    for factor in factors:
        for label, size in zip(factor.labels, _shape(factor), strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    dims = {label: uniform(size) for label, size in sizes.items()}
    derived = [factor for factor in factors if not isinstance(factor.known, Constant)]
    for factor in derived:
        for place, label in enumerate(factor.labels):
            dims[label] = _met(dims[label], factor, place, frame)
    for factor in factors:
        if isinstance(factor.known, Constant):
            _check_constant(dims, factor.labels, factor.known, frame)
    frame.met.append(period_of(tuple(dims.values())))
    for label in dims.keys() - set(out):
        read_whole(dims[label])
    return tuple(dims.get(label, uniform(1)) for label in out)


def _shape(factor: Factor) -> tuple[int, ...]:
    if isinstance(factor.known, Constant):
        return factor.known.shape
    return tuple(map(size_of, factor.known))


def _met(dim: Dim, factor: Factor, place: int, frame: Frame) -> Dim:
    assert not isinstance(factor.known, Constant)
    mine = factor.known[place]
    if size_of(mine) == 1 != size_of(dim):
        for moving in movers_of(mine):
            raise BreaksError(Fault("it repeats a single position"), *(f for _, f in moving.faults))
        return dim
    return joined(dim, mine, frame.voice, place)


def _check_constant(
    dims: dict[Label, Dim], labels: Sequence[Label], known: Constant, frame: Frame
) -> None:
    if len(set(labels)) < len(labels):
        if any(moves(dims[label]) for label in labels):
            raise BreaksError(Fault("it takes the diagonal of a constant"))
        return
    for label in labels:
        if not moves(dims[label]):
            dims[label] = stays(size_of(dims[label]))
    new = checked(
        [dims[label] for label in labels],
        known,
        period=frame.period,
        axis_size=frame.axis_size,
        fault=ordered(frame.node.op),
    )
    dims.update(zip(labels, new, strict=True))


def _factor(item: Any, labels: Sequence[Label], frame: Frame) -> Factor:
    if isinstance(item, Ref):
        return Factor(tuple(labels), frame.layout(item.operand))
    return Factor(tuple(labels), constant(item, "a constant factor"))


def _rank(item: Any, frame: Frame) -> int:
    if isinstance(item, Ref):
        return len(frame.graph.shape(frame.node.operands[item.operand]))
    return len(item.shape)


# -------------------------------------------------------------------- the ops


def _linear_terms(frame: Frame, given: Mapping[str, Any]) -> tuple[list[Factor], list[Label]]:
    rank, rows = _rank(given["input"], frame), _rank(given["weight"], frame)
    batch = list(range(rank - 1))
    weight: list[Label] = ["out", "in"] if rows == 2 else ["in"]
    out: list[Label] = [*batch, *weight[:-1]]
    return [
        _factor(given["input"], [*batch, "in"], frame),
        _factor(given["weight"], weight, frame),
    ], out


def _matrix_terms(frame: Frame, given: Mapping[str, Any]) -> tuple[list[Factor], list[Label]]:
    """(…, n, k) @ (…, k, m), with vectors where torch allows them."""
    names = _ADDED.get(op_name(frame.node)) or [name for name in given if name in _FACTORS]
    left, right = (given[name] for name in names)
    ranks = [_rank(item, frame) for item in (left, right)]
    rows: list[Label] = ["row"] if ranks[0] > 1 else []
    columns: list[Label] = ["column"] if ranks[1] > 1 else []
    batches = [list(range(2 - rank, 0)) for rank in ranks]
    out = [*max(batches, key=len), *rows, *columns]
    return [
        _factor(left, [*batches[0], *rows, "sum"], frame),
        _factor(right, [*batches[1], "sum", *columns], frame),
    ], out


def _einsum_terms(frame: Frame, given: Mapping[str, Any]) -> tuple[list[Factor], list[Label]]:
    equation = given["equation"].replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    ranks = [_rank(item, frame) for item in given["tensors"]]
    hidden = [rank - len(term.replace("...", "")) for rank, term in zip(ranks, terms, strict=True)]
    if not arrow:
        right = "..." + "".join(sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1))
    factors = [
        _factor(item, _letters(term, count), frame)
        for item, term, count in zip(given["tensors"], terms, hidden, strict=True)
    ]
    widest = max((n for n, term in zip(hidden, terms, strict=True) if "..." in term), default=0)
    return factors, _letters(right, widest)


def _letters(term: str, hidden: int) -> list[Label]:
    """The labels of a term; the dimensions of '...' are numbered from the last."""
    before, dots, after = term.partition("...")
    return [*before, *(range(-hidden, 0) if dots else ()), *after]


_TERMS = {"linear": _linear_terms, "einsum": _einsum_terms}
_FACTORS = ("self", "other", "mat2", "vec", "tensor")
_ADDED = {"addmm": ("mat1", "mat2"), "baddbmm": ("batch1", "batch2"), "addmv": ("mat", "vec")}


def _adds(node: Node) -> bool:
    return node.op == "linear" or op_name(node) in _ADDED


def _added(layout: Layout, item: Any, frame: Frame) -> Layout:
    """The layout after adding something that is broadcast to it."""
    if is_tensor(item):
        known = constant(item, "a bias")
        known = known.as_dims((1,) * (len(layout) - len(known.shape)) + known.shape)
        return tuple(
            checked(
                layout,
                known,
                period=frame.period,
                axis_size=frame.axis_size,
                fault=varies(frame.node.op, known.what),
            )
        )
    if not isinstance(item, Ref):
        return layout
    other = frame.layout(item.operand)
    lead = len(layout) - len(other)
    return tuple(
        dim
        if n < lead or size_of(other[n - lead]) == 1
        else joined(dim, other[n - lead], frame.voice, n)
        for n, dim in enumerate(layout)
    )


# -------------------------------------------------------------------- attention


def _attention(frame: Frame) -> Layout:
    """softmax(query · keyᵀ + mask) · value; masks that are derived or causal break it."""
    given = arguments(frame.node)
    if op_name(frame.node) != "scaled_dot_product_attention":
        raise BreaksError(Fault("a fused attention layer is not looked into", known=False))
    if given["is_causal"] or given.get("dropout_p"):
        why = "causal attention goes through the positions in order"
        raise BreaksError(Fault(why if given["is_causal"] else "dropout is active"))
    rank = len(frame.result)
    batch: list[Label] = list(range(2 - rank, 0))
    query, key, value = (given[name] for name in ("query", "key", "value"))
    if any(_heads(item, frame) not in (1, _heads(query, frame)) for item in (key, value)):
        raise BreaksError(Fault("attention whose heads share keys is not looked into", known=False))
    factors = [
        _factor(query, [*batch[: _rank(query, frame) - 2], "row", "in"], frame),
        _factor(key, [*batch[: _rank(key, frame) - 2], "column", "in"], frame),
    ]
    scores = _product(factors, [*batch, "row", "column"], frame)
    mask = given.get("attn_mask")
    if mask is not None:
        scores = _masked(scores, mask, frame)
    read_whole(scores[-1])
    weighed = Factor((*batch, "row", "column"), scores)
    return _product(
        [weighed, _factor(value, [*batch[: _rank(value, frame) - 2], "column", "out"], frame)],
        [*batch, "row", "out"],
        frame,
    )


def _heads(item: Any, frame: Frame) -> int:
    if isinstance(item, Ref):
        shape = frame.graph.shape(frame.node.operands[item.operand])
    else:
        shape = tuple(item.shape)
    return shape[-3] if len(shape) > 2 else 1


def _masked(scores: Layout, mask: Any, frame: Frame) -> Layout:
    if isinstance(mask, Ref):
        return _added(scores, mask, frame)
    known = constant(mask, "mask or bias")
    known = known.as_dims((1,) * (len(scores) - len(known.shape)) + known.shape)
    fault = varies("attention", known.what)
    new = tuple(checked(scores, known, period=frame.period, axis_size=frame.axis_size, fault=fault))
    frame.met.append(period_of(new))
    return new
