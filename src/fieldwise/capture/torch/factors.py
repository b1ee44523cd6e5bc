"""Factors of a product by their zeros: a factor is read where no other one is zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from fieldwise.axes import IndexSet, index_map
from fieldwise.capture.torch.registry import OpCall
from fieldwise.capture.torch.rules.common import Where
from fieldwise.capture.torch.rules.mask import equal_slices, products, visible
from fieldwise.capture.torch.rules.product import contraction
from fieldwise.graph.ir import WHOLE, Along, Coord, Fixed, Node, Read, Separable, Shape, Unknown

MOST = 64
"""Most reads that the zeros of a product may make."""

MANY_SUMS = "a masked product that is summed over several masked dimensions"


@dataclass(frozen=True, slots=True)
class FactorMask:
    """The places at which a factor of a product is not known to be zero.

    opened: one axis per label of the factor
    labels: of the factor, no two alike
    output: the labels of the result, whose shape is ``shape``
    """

    opened: np.ndarray
    labels: Sequence[str]
    output: Sequence[str]
    shape: Shape

    @classmethod
    def of(
        cls, opened: np.ndarray, labels: Sequence[str], output: Sequence[str], shape: Shape
    ) -> FactorMask:
        """The mask of a factor; of labels that are repeated the diagonal counts."""
        distinct = list(dict.fromkeys(labels))
        numbers = [distinct.index(label) for label in labels]
        diagonal = np.einsum(opened, numbers, list(range(len(distinct))))
        return cls(diagonal, distinct, output, shape)

    def varies(self, label: str) -> bool:
        """Whether the mask differs along this label."""
        along = np.moveaxis(self.opened, self.labels.index(label), 0)
        return bool((along != along[:1]).any())

    def summed(self, labels: Sequence[str]) -> list[str]:
        """Those of a factor's labels that are summed over and along which the mask differs."""
        return [
            label
            for label in dict.fromkeys(labels)
            if label in self.labels and label not in self.output and self.varies(label)
        ]

    def over(self, summed: Sequence[str]) -> np.ndarray:
        """The mask with one axis per result dimension, then these; open where any place is."""
        kept = [*self.output, *summed]
        hidden = tuple(axis for axis, label in enumerate(self.labels) if label not in kept)
        opened: np.ndarray = np.asarray(self.opened.any(hidden))
        labels = [label for label in self.labels if label in kept]
        opened = opened.transpose(tuple(labels.index(k) for k in kept if k in labels))
        missing = [axis for axis, label in enumerate(kept) if label not in labels]
        return np.expand_dims(opened, tuple(missing))


def of_factors(
    node: Node, call: OpCall, opened: Mapping[int, np.ndarray], *, most: int | None = None
) -> Iterator[Read]:
    """How a product reads: each factor where no other one is zero.

    opened: per factor, by its operand number in the call, where it is not zero
    most:   from more reads on that several masked sums make of one, which part is read is unknown
    """
    terms, output = contraction(call)
    numbers = [number for number, _ in terms]
    masks = {
        place: FactorMask.of(opened[number], labels, output, call.result)
        for place, (number, labels) in enumerate(terms)
        if number is not None and number in opened
    }
    read = [
        n for n, number in enumerate(numbers) if number is not None and number < len(node.operands)
    ]
    for place, parts in zip(read, ([read] for read in node.reads[0]), strict=False):
        for other, mask in masks.items():
            if other != place:
                parts = [new for old in parts for new in _limited(old, terms[place][1], mask, most)]
        yield from parts
    yield from node.reads[0][len(read) :]


def _limited(
    read: Read, labels: Sequence[str], mask: FactorMask, most: int | None
) -> Iterator[Read]:
    """The read of a factor with these labels, without what the mask of another one hides."""
    summed = mask.summed(labels)
    dims = [list(dict.fromkeys(labels)).index(label) for label in summed]
    found = _within(read, dims, mask.over(summed), mask.shape)
    if most is None or len(dims) < 2:
        yield from found
        return
    few = list(islice(found, most + 1))
    yield from few if len(few) <= most else [with_coord(read, dims[0], Unknown(MANY_SUMS))]


def _within(read: Read, dims: Sequence[int], opened: np.ndarray, shape: Shape) -> Iterator[Read]:
    """The parts of a read through a mask.

    dims:   the dimensions of the operand that are masked
    opened: one axis per dimension of the result, of this ``shape``, then one for each of these
    """
    if not dims:
        for where in products(opened):
            yield guarded(read, where)
    elif len(dims) == 1:
        for coord, where in _seen_by_rows(opened, shape):
            for part in _narrowed(read, dims[0], coord, shape):
                yield guarded(part, where)
    else:
        for indices, rest in equal_slices(np.moveaxis(opened, len(shape), 0)):
            if rest.any():
                part = _intersected(read, dims[0], Fixed(IndexSet.of(indices)), shape)
                yield from _within(part, dims[1:], rest, shape)


def _narrowed(read: Read, dim: int, coord: Coord, shape: Shape) -> Iterator[Read]:
    """The read of what a coordinate of it and another one both name."""
    before = at(read, dim)
    if isinstance(coord, Along) and isinstance(before, Along) and coord.dim != before.dim:
        rows = [coord.map(index) for index in range(shape[coord.dim])]
        for row in dict.fromkeys(rows):
            those = IndexSet.of(index for index, other in enumerate(rows) if other == row)
            yield guarded(_intersected(read, dim, Fixed(row), shape), ((coord.dim, those),))
    else:
        yield _intersected(read, dim, coord, shape)


def _intersected(read: Read, dim: int, coord: Coord, shape: Shape) -> Read:
    """The read with both coordinates, each of which masks have made, at most one result dim."""
    before = at(read, dim)
    if isinstance(before, Unknown):
        return read
    if before == WHOLE or coord == WHOLE:
        return with_coord(read, dim, coord if before == WHOLE else before)
    if isinstance(before, Fixed) and isinstance(coord, Fixed):
        return with_coord(read, dim, Fixed(before.indices & coord.indices))
    along = before if isinstance(before, Along) else coord
    assert isinstance(along, Along)
    rows = (_row(before, index) & _row(coord, index) for index in range(shape[along.dim]))
    return with_coord(read, dim, Along(along.dim, index_map(list(rows))))


def _row(coord: Coord, index: int) -> IndexSet:
    """What a coordinate that a mask has made names for a result index."""
    if isinstance(coord, Along):
        return coord.map(index)
    assert isinstance(coord, Fixed)
    return coord.indices


def _seen_by_rows(opened: np.ndarray, shape: Shape) -> Iterator[tuple[Coord, Where]]:
    """What each result index sees of the mask's last axis: a table along one result dimension."""
    varying = [dim for dim in range(len(shape)) if opened.shape[dim] > 1]
    if not varying:
        yield Fixed(IndexSet.of(opened.ravel().nonzero()[0].tolist())), ()
        return
    row = varying[-1]
    dims = [*(dim for dim in range(len(shape)) if dim != row), row]
    yield from visible(opened.transpose([*dims, len(shape)]), dims, shape[row])


# -------------------------------------------------------------------- reads with less in them


def guarded(read: Read, where: Where) -> Read:
    """The read for these result indices alone."""
    step = read.steps[-1]
    assert isinstance(step, Separable)
    limits = dict(step.where)
    for dim, indices in where:
        limits[dim] = limits[dim] & indices if dim in limits else indices
    return replace(read, steps=(*read.steps[:-1], replace(step, where=tuple(limits.items()))))


def at(read: Read, dim: int) -> Coord:
    """The coordinate of an operand dimension, in the step next to the result."""
    step = read.steps[-1]
    assert isinstance(step, Separable)
    return step.coords[dim]


def with_coord(read: Read, dim: int, coord: Coord) -> Read:
    """The read with another coordinate there."""
    step = read.steps[-1]
    assert isinstance(step, Separable)
    coords = (*step.coords[:dim], coord, *step.coords[dim + 1 :])
    return replace(read, steps=(*read.steps[:-1], replace(step, coords=coords)))
