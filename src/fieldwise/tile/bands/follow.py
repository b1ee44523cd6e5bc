"""Follow the streamed axis through a read: which result dimension carries it on, by which map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod

from torch import Tensor

from fieldwise.axes import AxisMap, Border, IndexSet, Table, index_map
from fieldwise.axes.axis_map import IDENTITY
from fieldwise.graph.ir import (
    Along,
    Fixed,
    Read,
    Reshape,
    Separable,
    Shape,
    Unknown,
)
from fieldwise.tile.errors import Blocked


@dataclass(frozen=True, slots=True)
class AxisPlace:
    """Where the streamed axis lies in a value: the trailing digit of a dimension, or all of it.

    lead: the size of what the dimension holds in front of the axis (b of (b t)); else 1

    >>> AxisPlace(0, 2).rows((12, 3, 8, 8)), AxisPlace(0, 2).sized((12, 3, 8, 8), 4)
    (6, (8, 3, 8, 8))
    """

    dim: int
    lead: int = 1

    def rows(self, shape: Shape) -> int:
        """Rows of a value of this shape."""
        return shape[self.dim] // self.lead

    def sized(self, shape: Shape, rows: int) -> Shape:
        """The shape with so many rows."""
        return (*shape[: self.dim], rows * self.lead, *shape[self.dim + 1 :])

    def cut(self, x: Tensor, lo: int, hi: int) -> Tensor:
        """Rows [lo, hi)."""
        if self.lead == 1:
            return x.narrow(self.dim, lo, hi - lo)
        apart = x.unflatten(self.dim, (self.lead, -1)).narrow(self.dim + 1, lo, hi - lo)
        return apart.flatten(self.dim, self.dim + 1)


@dataclass(frozen=True, slots=True)
class Followed:
    """Where a result carries the streamed axis, and how its rows read the operand's."""

    axis: AxisPlace
    map: AxisMap | Table = IDENTITY
    border: Border = Border.DROP


def follow(read: Read, axis: AxisPlace, operand: Shape, result: Shape) -> Followed:
    """Follow the axis of an operand through a read.

    Raises Blocked, with the reason, where no result dimension carries it on in row order.
    """
    found = Followed(axis)
    for step, before, after in read.forward(operand, result):
        if isinstance(step, Reshape):
            group = Regroup.of(before, after, found.axis)
            found = _then(found, Followed(group.after, group.map()), after)
        else:
            found = _then(found, _along(step, found.axis, before, after), after)
    return found


def by_operand(reads: Sequence[Read]) -> dict[int, list[Read]]:
    """The reads of each operand, by its number."""
    found: dict[int, list[Read]] = {}
    for read in reads:
        found.setdefault(read.operand, []).append(read)
    return found


def follow_all(reads: Sequence[Read], axis: AxisPlace, operand: Shape, result: Shape) -> Followed:
    """Follow the axis of an operand through all of its reads together.

    Raises Blocked where they lead to different dimensions or end.
    """
    if not reads:
        if operand == result:
            return Followed(axis)
        raise Blocked("it takes an operand for its shape only")
    found = [follow(read, axis, operand, result) for read in reads]
    if len({(one.axis, one.border) for one in found}) > 1:
        raise Blocked("it reads the same operand in different ways")
    joined = found[0].map
    for one in found[1:]:
        joined = _union(joined, one.map, found[0].axis.rows(result))
    return Followed(found[0].axis, joined, found[0].border)


def _union(one: AxisMap | Table, other: AxisMap | Table, rows: int) -> AxisMap | Table:
    if isinstance(one, AxisMap) and isinstance(other, AxisMap):
        joined = one.union(other)
        if joined is not None:
            return joined
    return Table(tuple(one(row) | other(row) for row in range(rows)))


def _along(step: Separable, axis: AxisPlace, before: Shape, after: Shape) -> Followed:
    dim = axis.dim
    coord = step.coords[dim]
    if isinstance(coord, Along):
        if any(isinstance(c, Along) and c.dim == coord.dim for c in _others(step, dim)):
            raise Blocked("it takes a diagonal through the streamed axis")
        if axis.lead == 1:
            return Followed(AxisPlace(coord.dim), coord.map, coord.border)
        if not coord.keeps(before[dim], after[coord.dim]):
            raise Blocked("it reads across a dimension into which the streamed axis is folded")
        return Followed(AxisPlace(coord.dim, axis.lead))
    if isinstance(coord, Unknown):
        raise Blocked(f"which rows it reads is not known: {coord.why}")
    if isinstance(coord, Fixed):
        raise Blocked("it picks fixed rows of the streamed axis, and the axis ends there")
    raise Blocked("every result reads the whole streamed axis")


def _others(step: Separable, dim: int) -> Sequence[object]:
    return [*step.coords[:dim], *step.coords[dim + 1 :]]


def _then(found: Followed, step: Followed, after: Shape) -> Followed:
    """One more step towards the result."""
    moved = not found.map.is_identity or found.border is not Border.DROP
    if step.border is not Border.DROP and moved:
        raise Blocked("it pads rows that it has picked before")
    border = step.border if not moved else found.border
    return Followed(step.axis, _composed(step.map, found.map, step.axis.rows(after)), border)


def _composed(outer: AxisMap | Table, inner: AxisMap | Table, rows: int) -> AxisMap | Table:
    """Result to middle, then middle to operand."""
    if inner.is_identity:
        return outer
    if outer.is_identity:
        return inner
    if isinstance(outer, AxisMap) and isinstance(inner, AxisMap):
        return outer.then(inner)
    return index_map([inner.pull(outer(row)) for row in range(rows)])


@dataclass(frozen=True, slots=True)
class Regroup:
    """The part of a reshape that the streamed axis takes part in.

    lead:   elements before the group; after: where the result carries the axis
    inner, outer: elements of the group per row of the operand, and per row of the result
    size:   rows of the operand
    """

    lead: int
    after: AxisPlace
    inner: int
    outer: int
    size: int

    @classmethod
    def of(cls, before: Shape, after: Shape, axis: AxisPlace) -> Regroup:
        """The finest group of dimensions that exchange elements with the axis.

        Raises Blocked where a result's dimension ends within what stands before the axis.

        >>> Regroup.of((1, 8, 6, 5), (1, 8, 30), AxisPlace(2))
        Regroup(lead=8, after=AxisPlace(dim=2, lead=1), inner=5, outer=1, size=6)
        >>> Regroup.of((2, 6, 3), (12, 3), AxisPlace(1)).after
        AxisPlace(dim=0, lead=2)
        """
        rows = axis.rows(before)
        if rows <= 1:
            raise Blocked("a reshape of a streamed axis that has one row at most")
        before, after = _with_elements(before), _with_elements(after)
        if prod(before) != prod(after):
            raise Blocked("a reshape without elements, which may stand anywhere")
        lead = prod(before[: axis.dim]) * axis.lead
        place, passed = 0, 1
        while passed * after[place] <= lead:
            passed *= after[place]
            place += 1
        if lead % passed or after[place] % (lead // passed):
            raise Blocked("a reshape mixes the rows of the streamed axis with what is before them")
        found = AxisPlace(place, lead // passed)
        group, stop = rows, axis.dim + 1
        reached, end = found.rows(after), place + 1
        while group != reached:
            if group < reached:
                group, stop = group * before[stop], stop + 1
            else:
                reached, end = reached * after[end], end + 1
        return cls(lead, found, group // rows, group // found.rows(after), rows)

    @property
    def rows(self) -> int:
        """Rows of the result."""
        return self.size * self.inner // self.outer

    def map(self) -> AxisMap:
        """Result row j reads the operand rows that hold its elements."""
        common = gcd(self.inner, self.outer)
        inner, outer = self.inner // common, self.outer // common
        return AxisMap(
            outer,
            tuple(
                IndexSet.range(j * outer // inner, -((j + 1) * outer // -inner))
                for j in range(inner)
            ),
        )


def _with_elements(shape: Shape) -> Shape:
    """A shape of something where there is nothing (a batch of 0): one of each."""
    return tuple(size or 1 for size in shape)


def _driving(step: Separable) -> set[int]:
    """The dimensions of the result that some dimension of what is read follows."""
    return {coord.dim for coord in step.coords if isinstance(coord, Along)}


def place_along(read: Read, dim: int, result: Shape) -> int | None:
    """The operand dimension of which row i of result dimension ``dim`` reads index i alone.

    None where the rows of ``dim`` do not matter for what is read, as far as that is known.

    Raises Blocked where a row reads otherwise, or where rows are told apart by their position.
    """
    *before, step = read.steps
    if not isinstance(step, Separable) or (before and dim in _driving(step)):
        raise Blocked("it is not known which rows of a constant it reads")
    if any(place == dim for place, _ in step.where):
        raise Blocked("it treats rows by their position along the axis")
    found = None
    for place, coord in enumerate(step.coords):
        if isinstance(coord, Along) and coord.dim == dim and result[dim] > 1:
            if found is not None or not coord.map.is_identity:
                raise Blocked("it treats rows by their position along the axis")
            found = place
    return found
