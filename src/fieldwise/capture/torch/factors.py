"""Factors of a product by their zeros: a factor is read where no other one is zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fieldwise.axes import IndexSet
from fieldwise.capture.torch.rules.common import Where
from fieldwise.capture.torch.rules.mask import products, visible
from fieldwise.graph.ir import WHOLE, Coord, Fixed, Read, Separable, Shape, Unknown

MANY_SUMS = "a masked product that is summed over several masked dimensions"


@dataclass(frozen=True, slots=True)
class FactorMask:
    """The places at which a factor of a product is not known to be zero.

    opened: one axis per label of the factor
    output: the labels of the result, whose shape is ``shape``
    """

    opened: np.ndarray
    labels: Sequence[str]
    output: Sequence[str]
    shape: Shape

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


def limited(read: Read, labels: Sequence[str], mask: FactorMask) -> Iterator[Read]:
    """The read of a factor with these labels, without what the mask of another one hides."""
    summed = mask.summed(labels)
    if not summed:
        for where in products(mask.over(())):
            yield guarded(read, where)
        return
    dim = _place(summed[0], labels)
    if not is_limited(read, labels, mask):
        yield with_coord(read, dim, Unknown(MANY_SUMS))
        return
    for coord, where in _seen_by_rows(mask.over(summed), mask.shape):
        yield guarded(with_coord(read, dim, coord), where)


def is_limited(read: Read, labels: Sequence[str], mask: FactorMask) -> bool:
    """Whether ``limited`` can say what the mask leaves: at most one masked sum, none yet."""
    summed = mask.summed(labels)
    if not summed:
        return True
    plain = len(summed) == 1 and len(set(mask.labels)) == len(mask.labels)
    return plain and at(read, _place(summed[0], labels)) == WHOLE


def _place(label: str, labels: Sequence[str]) -> int:
    """The dimension of a factor that has a label, repeated ones counted once."""
    return list(dict.fromkeys(labels)).index(label)


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
