"""Follow the streamed axis through a read: which result dimension carries it on, by which map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod

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
class Followed:
    """The result dimension that carries the streamed axis, and how its rows read the operand's."""

    dim: int
    map: AxisMap | Table = IDENTITY
    border: Border = Border.DROP


def follow(read: Read, dim: int, operand: Shape, result: Shape) -> Followed:
    """Follow dimension ``dim`` of an operand through a read.

    Raises Blocked, with the reason, where no result dimension carries it on in row order.
    """
    found = Followed(dim)
    for step, before, after in read.forward(operand, result):
        if isinstance(step, Reshape):
            group = Regroup.of(before, after, found.dim)
            found = _then(found, Followed(group.after, group.map()), after)
        else:
            found = _then(found, _along(step, found.dim), after)
    return found


def by_operand(reads: Sequence[Read]) -> dict[int, list[Read]]:
    """The reads of each operand, by its number."""
    found: dict[int, list[Read]] = {}
    for read in reads:
        found.setdefault(read.operand, []).append(read)
    return found


def follow_all(reads: Sequence[Read], dim: int, operand: Shape, result: Shape) -> Followed:
    """Follow dimension ``dim`` of an operand through all of its reads together.

    Raises Blocked where they lead to different dimensions or end.
    """
    if not reads:
        if operand == result:
            return Followed(dim)
        raise Blocked("it takes an operand for its shape only")
    found = [follow(read, dim, operand, result) for read in reads]
    if len({(one.dim, one.border) for one in found}) > 1:
        raise Blocked("it reads the same operand in different ways")
    joined = found[0].map
    for one in found[1:]:
        joined = _union(joined, one.map, result[found[0].dim])
    return Followed(found[0].dim, joined, found[0].border)


def _union(one: AxisMap | Table, other: AxisMap | Table, rows: int) -> AxisMap | Table:
    if isinstance(one, AxisMap) and isinstance(other, AxisMap):
        joined = one.union(other)
        if joined is not None:
            return joined
    return Table(tuple(one(row) | other(row) for row in range(rows)))


def _along(step: Separable, dim: int) -> Followed:
    coord = step.coords[dim]
    if isinstance(coord, Along):
        if any(isinstance(c, Along) and c.dim == coord.dim for c in _others(step, dim)):
            raise Blocked("it takes a diagonal through the streamed axis")
        return Followed(coord.dim, coord.map, coord.border)
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
    return Followed(step.dim, _composed(step.map, found.map, after[step.dim]), border)


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

    lead:   elements before the group; before, after: the dimensions that carry the axis
    inner, outer: elements of the group per row of the operand, and per row of the result
    size:   rows of the operand
    """

    lead: int
    before: int
    after: int
    inner: int
    outer: int
    size: int

    @classmethod
    def of(cls, before: Shape, after: Shape, dim: int) -> Regroup:
        """The finest group of dimensions that exchange elements with ``dim``.

        Raises Blocked where the axis does not lead its group: then rows are no interval there.

        >>> Regroup.of((1, 8, 6, 5), (1, 8, 30), 2)
        Regroup(lead=8, before=2, after=2, inner=5, outer=1, size=6)
        """
        if before[dim] <= 1:
            raise Blocked("a reshape of a streamed axis that has one row at most")
        before, after = _with_elements(before), _with_elements(after)
        if prod(before) != prod(after):
            raise Blocked("a reshape without elements, which may stand anywhere")
        lead = prod(before[:dim])
        place, reached = 0, 1
        while place < len(after) and (reached < lead or after[place] == 1):
            reached *= after[place]
            place += 1
        if reached != lead or place == len(after):
            raise Blocked(
                "a reshape puts other positions in front of the rows of the streamed axis"
            )
        group, stop = before[dim], dim + 1
        reached, end = after[place], place + 1
        while group != reached:
            if group < reached:
                group, stop = group * before[stop], stop + 1
            else:
                reached, end = reached * after[end], end + 1
        return cls(lead, dim, place, group // before[dim], group // after[place], before[dim])

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
