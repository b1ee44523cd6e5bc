"""Exact dependence at one input size: regions pulled back, or pushed on, through the graph.

Pulling starts from some indices of a value and finds all indices of an earlier value that they
depend on, channels included, every op dropping, wrapping, reflecting or clamping what falls
outside its operand.  Pushing is the same relation read forwards: the projective field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fieldwise.axes import Border, IndexSet, Region, Within
from fieldwise.axes.region import Sides
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Coord, Fixed, Read, Separable, Shape, Unknown


@dataclass(frozen=True, slots=True)
class Reach:
    """What is reached: ``region`` at most, ``sure`` at least; equal where the answer is exact.

    inside: no index fell outside an operand on the way (of a pull)
    """

    region: Region
    sure: Region
    whys: tuple[str, ...] = ()
    inside: bool = True

    @property
    def exact(self) -> bool:
        """Whether the region is exactly what is reached."""
        return self.region is self.sure or self.region.issubset(self.sure)

    @property
    def why(self) -> str | None:
        """What makes it inexact; None if it is exact."""
        return None if self.exact else "; ".join(self.whys)

    def __or__(self, other: Reach) -> Reach:
        if self.region is self.sure and other.region is other.sure:
            both = self.region | other.region
            return Reach(both, both, (), self.inside and other.inside)
        return Reach(
            self.region | other.region,
            self.sure | other.sure,
            tuple(dict.fromkeys(self.whys + other.whys)),
            self.inside and other.inside,
        )


def pull(graph: Graph, name: str, region: Region, *, source: str) -> Reach:
    """The indices of ``source`` that these indices of the value ``name`` depend on."""
    pending: dict[str, list[Reach]] = {name: [Reach(region, region)]}
    inside = True
    for node in reversed(graph.nodes):
        for position, result in enumerate(node.results):
            if result == source or result not in pending:
                continue
            reached = _union(pending.pop(result))
            for read in node.reads[position]:
                operand = node.operands[read.operand]
                found = _pulled(read, reached, graph.shape(operand), graph.shape(result))
                inside &= found.inside
                if found.region:
                    pending.setdefault(operand, []).append(found)
    return replace(_union(pending.get(source, [_NOTHING])), inside=inside)


def _union(reaches: Sequence[Reach]) -> Reach:
    """All of them together, reduced once."""
    if len(reaches) == 1:
        return reaches[0]
    region = Region.of(p for reach in reaches for p in reach.region.products)
    inside = all(reach.inside for reach in reaches)
    if all(reach.region is reach.sure for reach in reaches):
        return Reach(region, region, (), inside)
    sure = Region.of(p for reach in reaches for p in reach.sure.products)
    whys = tuple(dict.fromkeys(why for reach in reaches for why in reach.whys))
    return Reach(region, sure, whys, inside)


def push(graph: Graph, name: str, region: Region) -> dict[str, Reach]:
    """Per value, the indices that depend on these indices of the value ``name``."""
    reached: dict[str, Reach] = {name: Reach(region, region)}
    for node in graph.nodes:
        for position, result in enumerate(node.results):
            pieces: list[Reach] = []
            for read in node.reads[position]:
                operand = node.operands[read.operand]
                if operand not in reached or result == name:
                    continue
                found = _pushed(read, reached[operand], graph.shape(operand), graph.shape(result))
                if found.region:
                    pieces.append(found)
            if pieces:
                reached[result] = _union(pieces)
    return reached


def _pulled(read: Read, reach: Reach, operand: Shape, result: Shape) -> Reach:
    """A reach of the result carried back through the steps of one read."""
    for step, before, after in read.backward(operand, result):
        if isinstance(step, Separable):
            region, inside = _pull_step(step, reach.region, before)
            sure = region
            if reach.sure is not reach.region:
                sure, _ = _pull_step(step, reach.sure, before)
            reach = _marked(step, Reach(region, sure, reach.whys, reach.inside and inside))
        else:
            reach = _reshaped(reach, after, before)
    return reach


def _pushed(read: Read, reach: Reach, operand: Shape, result: Shape) -> Reach:
    """A reach of the operand carried forwards through the steps of one read."""
    for step, before, after in read.forward(operand, result):
        if isinstance(step, Separable):
            region = _push_step(step, reach.region, before, after)
            same = reach.sure is reach.region
            sure = region if same else _push_step(step, reach.sure, before, after)
            reach = _marked(step, Reach(region, sure, reach.whys))
        else:
            reach = _reshaped(reach, before, after)
    return reach


def _marked(step: Separable, reach: Reach) -> Reach:
    """Nothing is sure that went through an unknown read."""
    why = next((coord.why for coord in step.coords if isinstance(coord, Unknown)), None)
    return reach if why is None else replace(reach, sure=Region(), whys=(*reach.whys, why))


def _reshaped(reach: Reach, before: Shape, after: Shape) -> Reach:
    region = reach.region.reshape(before, after)
    same = reach.sure is reach.region
    sure = region if same else reach.sure.reshape(before, after)
    return replace(reach, region=region, sure=sure)


# -------------------------------------------------------------------- one separable step


def _pull_step(step: Separable, region: Region, before: Shape) -> tuple[Region, bool]:
    """What is read of the operand, and whether all of it lies inside."""
    drivers = _shared_drivers(step)
    products: list[Sides] = []
    inside = True
    for product in _restricted(region.products, step.where):
        for part in _split(product, drivers):
            sides = []
            for coord, size in zip(step.coords, before, strict=True):
                side, landed = _pull_axis(coord, part, size)
                inside &= landed
                sides.append(side)
            products.append(tuple(sides))
    return Region.of(products), inside


def _pull_axis(coord: Coord, product: Sides, size: int) -> tuple[IndexSet, bool]:
    if isinstance(coord, Along):
        outputs = product[coord.dim]
        read = outputs if coord.map.is_identity else coord.map.pull(outputs)
        landed = coord.border.land(read, size)
        ends = not isinstance(coord.map, Within)
        return landed, ends and (landed is read or landed == read)
    if isinstance(coord, Fixed):
        return coord.indices.clip(size), True
    return IndexSet.range(0, size), True


def _push_step(step: Separable, region: Region, before: Shape, after: Shape) -> Region:
    products: list[Sides] = []
    for product in region.products:
        sides = [IndexSet.range(0, size) for size in after]
        for dim, indices in step.where:
            sides[dim] = sides[dim] & indices
        alive = True
        for coord, side, size in zip(step.coords, product, before, strict=True):
            if isinstance(coord, Along):
                reached = _push_axis(coord, side, size, after[coord.dim])
                sides[coord.dim] = sides[coord.dim] & reached
            elif isinstance(coord, Fixed) and side.isdisjoint(coord.indices):
                alive = False
        if alive:
            products.append(tuple(sides))
    return Region.of(products)


def _push_axis(coord: Along, side: IndexSet, before: int, after: int) -> IndexSet:
    if coord.map.is_identity and coord.border is Border.DROP:
        return side.clip(after)
    sources = coord.border.sources(side, before, coord.map.reach(after))
    return coord.map.push(sources, after)


def _restricted(
    products: Sequence[Sides], where: Sequence[tuple[int, IndexSet]]
) -> Sequence[Sides]:
    if not where:
        return products
    limits: Mapping[int, IndexSet] = dict(where)
    cut = (
        tuple(side & limits[dim] if dim in limits else side for dim, side in enumerate(product))
        for product in products
    )
    return [product for product in cut if all(product)]


def _shared_drivers(step: Separable) -> tuple[int, ...]:
    """Result dimensions that drive two operand dimensions (a diagonal)."""
    driven = [coord.dim for coord in step.coords if isinstance(coord, Along)]
    return tuple({dim for dim in driven if driven.count(dim) > 1})


def _split(product: Sides, dims: Sequence[int]) -> list[Sides]:
    """One product per index of these dimensions, so that no combination is invented."""
    parts = [product]
    for dim in dims:
        parts = [
            (*part[:dim], IndexSet(index, 1), *part[dim + 1 :])
            for part in parts
            for index in part[dim]
        ]
    return parts


_NOTHING = Reach(Region(), Region())
