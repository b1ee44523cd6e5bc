"""Exact dependence at one input size: regions pulled back, or pushed on, through the graph.

Pulling starts from some indices of a value and finds all indices of an earlier value that they
depend on, channels included, every op dropping, wrapping, reflecting or clamping what falls
outside its operand.  Pushing is the same relation read forwards: the projective field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fieldwise.axes import Border, IndexSet, Region
from fieldwise.axes.region import Product
from fieldwise.graph.ir import (
    Along,
    Coord,
    Fixed,
    Graph,
    Read,
    Reshape,
    Separable,
    Shape,
    Unknown,
    step_shapes,
)


@dataclass(frozen=True, slots=True)
class Reach:
    """What is reached: ``region`` at most, ``sure`` at least; equal where the answer is exact."""

    region: Region
    sure: Region
    whys: tuple[str, ...] = ()

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
            return Reach(both, both)
        return Reach(
            self.region | other.region,
            self.sure | other.sure,
            tuple(dict.fromkeys(self.whys + other.whys)),
        )


def pull(graph: Graph, name: str, region: Region, *, source: str) -> Reach:
    """The indices of ``source`` that these indices of the value ``name`` depend on."""
    nothing = Region()
    pending: dict[str, Reach] = {name: Reach(region, region)}
    for node in reversed(graph.nodes):
        for position, result in enumerate(node.results):
            if result == source:
                continue
            reached = pending.pop(result, None)
            if reached is None or not reached.region:
                continue
            for read in node.reads[position]:
                operand = node.operands[read.operand]
                found = _along(
                    _pull_step, graph, read, operand, result, reached, backwards=True
                )
                if found.region:
                    pending[operand] = pending[operand] | found if operand in pending else found
    return pending.get(source, Reach(nothing, nothing))


def push(graph: Graph, name: str, region: Region) -> dict[str, Reach]:
    """Per value, the indices that depend on these indices of the value ``name``."""
    reached: dict[str, Reach] = {name: Reach(region, region)}
    for node in graph.nodes:
        for position, result in enumerate(node.results):
            for read in node.reads[position]:
                operand = node.operands[read.operand]
                if operand not in reached or result == name:
                    continue
                found = _along(
                    _push_step, graph, read, operand, result, reached[operand], backwards=False
                )
                if found.region:
                    reached[result] = reached[result] | found if result in reached else found
    return reached


def _along(
    move: object, graph: Graph, read: Read, operand: str, result: str, start: Reach, *, backwards: bool
) -> Reach:
    """A reach carried through the steps of one read."""
    shapes = step_shapes(read, graph.shape(operand), graph.shape(result))
    steps = list(zip(read.steps, shapes, strict=True))
    whys = start.whys
    region, sure = start.region, start.sure
    for step, (before, after) in reversed(steps) if backwards else steps:
        same = region is sure
        reason = None
        if isinstance(step, Separable):
            reason = next((c.why for c in step.coords if isinstance(c, Unknown)), None)
        if isinstance(step, Reshape):
            ends = (after, before) if backwards else (before, after)
            region, new_sure = region.reshape(*ends), None if same else sure.reshape(*ends)
        else:
            region = move(step, region, before, after)  # type: ignore[operator]
            new_sure = None if same else move(step, sure, before, after)  # type: ignore[operator]
        sure = region if new_sure is None else new_sure
        if reason is not None:
            sure, whys = Region(), (*whys, reason)
    return Reach(region, sure, whys)


# -------------------------------------------------------------------- one separable step


def _pull_step(step: Separable, region: Region, before: Shape, after: Shape) -> Region:
    drivers = _shared_drivers(step)
    products: list[Product] = []
    for product in _restricted(region.products, step.where):
        for part in _split(product, drivers):
            products.append(
                tuple(
                    _pull_axis(coord, part, size)
                    for coord, size in zip(step.coords, before, strict=True)
                )
            )
    return Region.of(products)


def _pull_axis(coord: Coord, product: Product, size: int) -> IndexSet:
    if isinstance(coord, Along):
        outputs = product[coord.dim]
        read = outputs if coord.map.is_identity else coord.map.pull(outputs)
        return coord.border.land(read, size)
    if isinstance(coord, Fixed):
        return coord.indices.clip(size)
    return IndexSet.range(0, size)


def _push_step(step: Separable, region: Region, before: Shape, after: Shape) -> Region:
    products: list[Product] = []
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
    products: Sequence[Product], where: Sequence[tuple[int, IndexSet]]
) -> Sequence[Product]:
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


def _split(product: Product, dims: Sequence[int]) -> list[Product]:
    """One product per index of these dimensions, so that no combination is invented."""
    parts = [product]
    for dim in dims:
        parts = [
            (*part[:dim], IndexSet(index, 1), *part[dim + 1 :])
            for part in parts
            for index in part[dim]
        ]
    return parts
