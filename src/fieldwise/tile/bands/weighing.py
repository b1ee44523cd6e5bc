"""Attention written out: scores of all pairs, masks, a softmax, a weighted sum, run as one op.

A score belongs to a row and to a column, and both lie along the streamed axis.  Behind a mask, a
row of the sum needs few columns; what comes between is computed for these alone, and nothing of it
is kept.  The reads of the sum say which columns a row sees (see ``capture.torch.hidden``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch._ops import OpOverload

from fieldwise.axes import Border
from fieldwise.axes.axis_map import IDENTITY
from fieldwise.capture.torch.constant_parts import constant_parts
from fieldwise.capture.torch.overloads import describe
from fieldwise.graph.calls import bind, op_name, opened, operator_of, rebind, replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Call, Node, Reshape, Separable, Shape
from fieldwise.tile.arrays import Interval
from fieldwise.tile.bands.follow import AxisPlace, by_operand, follow_all
from fieldwise.tile.bands.kernels import Rows, without_data
from fieldwise.tile.bands.kernels.constants import POSITIONAL, Laws, RowLaw, cut
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.errors import Blocked

RELATES = "it relates rows of its operands to each other, as attention does"
_FURTHER = "what is made of pairs of rows is streamed up to a sum that a mask limits, no further"

Pair = tuple[AxisPlace, AxisPlace]
"""Where either axis of the pairs lies in a value."""


@dataclass(frozen=True, slots=True)
class OutsideRows:
    """A streamed operand from outside: where its rows lie, and which of the axes they follow."""

    name: str
    axis: AxisPlace
    side: int

    def without_data(self, graph: Graph, rows: int) -> Tensor:
        """So many of its rows."""
        value = graph.values[self.name]
        return without_data(self.axis.sized(value.shape, rows), getattr(torch, value.dtype))


@dataclass(frozen=True, slots=True)
class PairTable:
    """A constant, its dimension along either axis, where it has one, and how it goes on."""

    tensor: Tensor
    dims: tuple[int | None, int | None]
    law: RowLaw | None = None

    def cut(self, ends: Sequence[Interval]) -> Tensor:
        """What of it belongs to these intervals of the axes."""
        pairs = zip(self.dims, ends, strict=True)
        return cut(self.tensor, self.law, {dim: end for dim, end in pairs if dim is not None})


PairTensor = str | OutsideRows | PairTable | None
"""A tensor of a call: a value of pairs by name, an operand from outside, a constant, or a sum's."""


@dataclass(frozen=True, slots=True)
class PairStep:
    """One node: a call with a ``Ref`` for every tensor, what each of these is, and the result.

    pair: where the axes lie in the result; None in the sum
    """

    node: Node
    call: Call
    given: tuple[PairTensor, ...]
    shape: Shape
    pair: Pair | None

    def made(self, given: Sequence[Tensor | None], ends: Sequence[Interval]) -> Tensor:
        """The result for these intervals of the axes."""
        call = self.call
        if self.pair is not None and _is_reshape(self.node):
            (x,) = given
            assert x is not None
            return x.reshape(self.sized(ends))
        if self.pair is not None and self.node.op in _TRIANGLES:
            pairs = zip(self.pair, ends, strict=True)
            at = {axis.dim - len(self.shape): lo for axis, (lo, _) in pairs}
            diagonal = bind(call)["diagonal"] + at.get(-2, 0) - at.get(-1, 0)
            call = rebind(call, {"diagonal": diagonal})
        return replay(call, given)[0]

    def sized(self, ends: Sequence[Interval]) -> Shape:
        """The shape of the result for these intervals of the axes."""
        shape = self.shape
        for axis, (lo, hi) in zip(self.pair or (), ends, strict=True):
            shape = axis.sized(shape, hi - lo)
        return shape


@dataclass(frozen=True, slots=True)
class Weighing:
    """How a value of pairs is made, from the product that pairs rows on."""

    steps: tuple[PairStep, ...]

    @property
    def first(self) -> Node:
        """That product."""
        return self.steps[0].node

    @property
    def last(self) -> PairStep:
        """The step that makes the value."""
        return self.steps[-1]

    @property
    def pair(self) -> Pair:
        """Where the axes lie in the value."""
        assert self.last.pair is not None
        return self.last.pair


# -------------------------------------------------------------------- from node to node


@dataclass(frozen=True, slots=True)
class PairNode:
    """A node between values, as far as they are known.

    call:      of the node, with what is constant
    axes:      where the axis lies in the operands that are streamed
    weighings: of the operands that are made of pairs
    laws:      where the total length is not known, how constants go on; else None
    """

    graph: Graph
    node: Node
    call: Call
    axes: Mapping[str, AxisPlace]
    weighings: Mapping[str, Weighing]
    laws: Laws | None = None

    def kept(self, number: int, axis: AxisPlace) -> AxisPlace:
        """Where the result has the rows of an operand, each as it is.

        Raises Blocked where it has them nowhere.
        """
        shape, result = self._shape(number), self.result
        reads = by_operand(self.node.reads[0]).get(number, [])
        found = follow_all(reads, axis, shape, result)
        if not found.map.is_identity or axis.rows(shape) != found.axis.rows(result):
            raise Blocked(_FURTHER)
        return found.axis

    def pair(self, number: int, pair: Pair) -> Pair:
        """Where the result has the pairs of an operand, place by place."""
        kinds = {read.kind for read in self.node.reads[0]}
        if all(kind.keeps for kind in kinds) and self._shape(number) == self.result:
            return pair
        ways = {kind.combines for kind in kinds}
        if not ways <= {"each", "one", "asked"} or self._is_told_apart(ways):
            raise Blocked(_FURTHER)
        return self.kept(number, pair[0]), self.kept(number, pair[1])

    def _is_told_apart(self, ways: Collection[str]) -> bool:
        """Whether what it makes may depend on the position, in a way that no constant says."""
        known = self._lines_up or self.node.op in _TRIANGLES or ways == {"each"}
        steps = [step for read in self.node.reads[0] for step in read.steps]
        return not known and any(isinstance(step, Separable) and step.where for step in steps)

    def given(self, number: int, side: int) -> OutsideRows:
        """A streamed operand."""
        name = self.node.operands[number]
        return OutsideRows(name, self.axes[name], side)

    def step(self, given: Mapping[int, str | OutsideRows], pair: Pair | None) -> PairStep:
        """The node as a step.  Raises Blocked where it is not known how a constant lies."""
        call, constants = opened(self.call, len(self.node.operands))
        operands = [given.get(number) for number in range(len(self.node.operands))]
        tables = [self._table(tensor, pair) for tensor in constants]
        return PairStep(self.node, call, (*operands, *tables), self.result, pair)

    def _table(self, tensor: Tensor, pair: Pair | None) -> PairTable:
        if pair is None or not self._lines_up or any(axis.lead > 1 for axis in pair):
            raise Blocked(_FURTHER)
        lead = len(self.result) - tensor.dim()
        one, other = (axis.dim - lead for axis in pair)

        def along(dim: int) -> int | None:
            return dim if dim >= 0 and tensor.shape[dim] > 1 else None

        dims = along(one), along(other)
        law = None if self.laws is None else self.laws.get(id(tensor))
        grown = tuple(sorted(dim for dim in dims if dim is not None))
        if self.laws is not None and grown != (() if law is None else law.dims):
            raise Blocked(POSITIONAL)
        return PairTable(tensor, dims, law)

    @property
    def _lines_up(self) -> bool:
        """Whether constants are broadcast to the result."""
        target = operator_of(self.call.target)
        named = op_name(self.node) in ("where", "masked_fill", "baddbmm")
        return named or (isinstance(target, OpOverload) and describe(target).pointwise)

    @property
    def result(self) -> Shape:
        """The shape of the result."""
        return self.graph.shape(self.node.results[0])

    def _shape(self, number: int) -> Shape:
        return self.graph.shape(self.node.operands[number])


def paired(place: PairNode) -> Weighing:
    """The product of two streamed values whose rows lie along two dimensions of the result.

    Raises Blocked where it is none.
    """
    node = place.node
    numbers = [number for number, name in enumerate(node.operands) if name in place.axes]
    if len(node.results) > 1 or len(numbers) != 2 or not is_product(node):
        raise Blocked(_FURTHER)
    one, other = (place.kept(number, place.axes[node.operands[number]]) for number in numbers)
    given = {number: place.given(number, side) for side, number in enumerate(numbers)}
    return Weighing((place.step(given, (one, other)),))


def is_product(node: Node) -> bool:
    """Whether a node multiplies what it reads, and adds up."""
    return all(read.kind.combines == "product" for read in node.reads[0])


def gone_on(place: PairNode) -> Weighing:
    """A value of pairs, made of others place by place.

    Raises Blocked where it is no such thing.
    """
    node = place.node
    given: dict[int, str | OutsideRows] = {}
    pairs: dict[Pair, None] = {}
    for number, name in enumerate(node.operands):
        if name in place.weighings:
            given[number] = name
            pairs[place.pair(number, place.weighings[name].pair)] = None
    if len(node.results) > 1 or len(pairs) != 1:
        raise Blocked(_FURTHER)
    (pair,) = pairs
    for number, name in enumerate(node.operands):
        if name in place.axes:
            axis = place.kept(number, place.axes[name])
            if axis not in pair:
                raise Blocked(_FURTHER)
            given[number] = place.given(number, pair.index(axis))
    earlier = [step for one in place.weighings.values() for step in one.steps]
    return Weighing((*{id(step.node): step for step in earlier}.values(), place.step(given, pair)))


# -------------------------------------------------------------------- the sum


@dataclass(frozen=True)
class WeightedSum:
    """A value of pairs times streamed rows, summed over one of the axes.

    row:   which of the two axes the result follows
    axis:  where that lies in the result
    reach: the columns that rows of the result see
    """

    weighing: Weighing
    final: PairStep
    row: int
    axis: AxisPlace
    reach: RowReach

    def opened(self) -> WeightedSum:
        """The same where neither end is known yet.  Raises Blocked where rows do not go on."""
        return replace(self, reach=self.reach.opened())

    @cached_property
    def outside(self) -> tuple[OutsideRows, ...]:
        """The streamed operands, each once for either axis."""
        steps = (*self.weighing.steps, self.final)
        found = (item for step in steps for item in step.given if isinstance(item, OutsideRows))
        return tuple(dict.fromkeys(found))

    def reaches(self) -> list[RowReach]:
        """How rows of the result read each of these."""
        count = self.axis.rows(self.final.shape)
        itself = RowReach.of(IDENTITY, Border.DROP, size=count, count=count)
        itself = itself.opened() if self.reach.size is None else itself
        return [itself if one.side == self.row else self.reach for one in self.outside]

    def run(self, rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        """Rows [lo, hi) of the sum."""
        ends = self.ends(lo, hi)
        given = [rows.inside(n, *ends[one.side]) for n, one in enumerate(self.outside)]
        return (self.made(given, ends),)

    def ends(self, lo: int, hi: int) -> tuple[Interval, Interval]:
        """What rows [lo, hi) of the sum need of either axis."""
        seen = self.reach.span(lo, hi)
        return (seen, (lo, hi)) if self.row else ((lo, hi), seen)

    def made(self, outside: Sequence[Tensor], ends: tuple[Interval, Interval]) -> Tensor:
        """The sum, of what it needs from outside."""
        known = dict(zip(self.outside, outside, strict=True))
        made: dict[str, Tensor] = {}

        def tensor(item: PairTensor) -> Tensor | None:
            if isinstance(item, PairTable):
                found = item.cut(ends)
                return found.to(outside[0].device) if outside[0].is_meta else found
            if isinstance(item, OutsideRows):
                return known[item]
            return None if item is None else made[item]

        for step in self.weighing.steps:
            found = step.made([tensor(item) for item in step.given], ends)
            if tuple(found.shape) != step.sized(ends):
                raise RuntimeError(f"{step.node.op} came out as {tuple(found.shape)}")
            made[step.node.results[0]] = found
        return self.final.made([tensor(item) for item in self.final.given], ends)


def summed(place: PairNode) -> WeightedSum:
    """The product of what is made of pairs with streamed rows, summed over one of the axes.

    Raises Blocked where it is none, and where rows need columns that no mask hides.
    """
    node, axes = place.node, place.axes
    numbers = dict(zip(node.operands, range(len(node.operands)), strict=True))
    if len(node.results) > 1 or len(place.weighings) != 1 or len(axes) != 1 or len(numbers) != 2:
        raise Blocked(_FURTHER)
    ((weights, weighing),) = place.weighings.items()
    ((value, axis),) = axes.items()
    shape = place.graph.shape(value)
    reads = by_operand(node.reads[0])[numbers[value]]
    seen = follow_all(reads, axis, shape, place.result)
    row = _row(place, numbers[weights], weighing.pair, seen.axis)
    count = seen.axis.rows(place.result)
    reach = RowReach.of(seen.map, seen.border, size=axis.rows(shape), count=count)
    given: dict[int, str | OutsideRows] = {numbers[weights]: weights}
    given[numbers[value]] = place.given(numbers[value], 1 - row)
    found = WeightedSum(weighing, place.step(given, None), row, seen.axis, reach)
    _check_hidden(place.graph, found)
    _check_one_row(place.graph, found)
    return found


def _row(place: PairNode, weights: int, pair: Pair, axis: AxisPlace) -> int:
    """Which of the two axes stays.  Raises Blocked where that is not just one of them."""
    stays = []
    for side, one in enumerate(pair):
        try:
            stays += [side] if place.kept(weights, one) == axis else []
        except Blocked:
            continue
    if len(stays) != 1:
        raise Blocked(_FURTHER)
    return stays[0]


def _check_hidden(graph: Graph, found: WeightedSum) -> None:
    """Raise Blocked where a softmax weighs columns that the sum does not see."""
    steps = [s for s in found.weighing.steps if any(r.kind.keeps for r in s.node.reads[0])]
    known = constant_parts(graph) if steps else {}
    for step in steps:
        scores = known.get(step.node.operands[0])
        assert step.pair is not None
        if step.node.op != "softmax" or scores is None or any(a.lead > 1 for a in step.pair):
            raise Blocked(_FURTHER)
        dims = (step.pair[found.row].dim, step.pair[1 - found.row].dim)
        hidden = scores.movedim(dims, (0, 1)).flatten(2).eq(-torch.inf).all(2)
        for row, columns in enumerate(hidden):
            start, stop = found.reach.span(row, row + 1)
            if start == stop or not (columns[:start].all() and columns[stop:].all()):
                raise Blocked("a softmax weighs rows that no mask hides from it")


def _check_one_row(graph: Graph, found: WeightedSum) -> None:
    """Raise Blocked where the calls, without data, cannot be made for one row of the sum."""
    ends = found.ends(0, 1)
    sizes = [hi - lo for lo, hi in ends]
    given = [one.without_data(graph, sizes[one.side]) for one in found.outside]
    try:
        shape = tuple(found.made(given, ends).shape)
    except (RuntimeError, IndexError, ValueError, TypeError):
        shape = None
    if shape != found.axis.sized(found.final.shape, 1):
        raise Blocked("it cannot be run on fewer rows than it was made for")


def _is_reshape(node: Node) -> bool:
    return all(read.steps == (Reshape(),) for read in node.reads[0])


_TRIANGLES = ("tril", "triu")
