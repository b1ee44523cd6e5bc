"""Constants that lie along the streamed axis: tables of positions, or one row many times.

A stream whose length is unknown knows such a table as far as it was captured.  Its ``RowLaw``,
found by comparing captures at several lengths (``bands.positions``), says what holds at any length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldwise.graph.calls import constants_of
from fieldwise.graph.ir import Node
from fieldwise.tile.arrays import Interval
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.errors import Blocked

POSITIONAL = "a constant that differs from row to row lies along the axis, whose length is unknown"


@dataclass(frozen=True, slots=True)
class RowLaw:
    """How a constant goes on beyond the rows that were captured.

    dims:  its dimensions that are as long as the axis
    tail:  so many rows at the end are others where the end is elsewhere
    steps: per such dimension, after how many rows it is the same again; empty: nobody knows
    start: the first row of which that is true
    """

    dims: tuple[int, ...]
    tail: int = 0
    steps: tuple[int, ...] = ()
    start: int = 0

    @property
    def lasts(self) -> bool:
        """Whether all rows are known that will ever be asked for."""
        return bool(self.steps)


ConstantRows = Callable[[Tensor, RowLaw | None, Mapping[int, Interval]], Tensor]
"""Gives positions of a constant, as ``cut`` does."""
Laws = Mapping[int, RowLaw]
"""By identity of the constant."""


def laws_among(nodes: Iterable[Node], laws: Laws | None) -> list[RowLaw]:
    """The laws of the constants that some nodes take."""
    if not laws:
        return []
    calls = (node.source for node in nodes if node.source is not None)
    constants = (id(constant) for call in calls for constant in constants_of(call))
    return [laws[constant] for constant in constants if constant in laws]


def if_uniform(constant: Tensor, dim: int) -> Tensor:
    """One row of a constant whose rows along ``dim`` are all the same; else the constant itself.

    >>> import torch
    >>> if_uniform(torch.zeros(2, 5), 1).shape, if_uniform(torch.arange(5), 0).shape
    (torch.Size([2, 1]), torch.Size([5]))
    """
    row = constant.narrow(dim, 0, 1)
    return row if bool((constant == row).all()) else constant


@dataclass(frozen=True, slots=True, eq=False)
class RowTable:
    """A constant that lies along the rows at hand: one row that stands for all, or all of them.

    law: how it goes on; None where the captured rows are all there are
    """

    tensor: Tensor
    axis: AxisPlace
    law: RowLaw | None = None

    @classmethod
    def of(cls, constant: Tensor, axis: AxisPlace, laws: Laws | None) -> RowTable:
        """The table that a constant is.

        laws: of all constants where the length is unknown; else None

        Raises Blocked for rows that differ where nobody knows how they go on.
        """
        tensor = if_uniform(constant, axis.dim)
        if laws is None or tensor.shape[axis.dim] == 1:
            return cls(tensor, axis)
        law = laws.get(id(constant))
        if law is None or law.dims != (axis.dim,) or axis.lead > 1:
            raise Blocked(POSITIONAL)
        return cls(tensor, axis, law)

    def rows(self, by: ConstantRows, lo: int, hi: int) -> Tensor:
        """Rows [lo, hi).  by: reads those that differ"""
        if self.tensor.shape[self.axis.dim] == 1:
            return self.tensor.expand(self.axis.sized((-1,) * self.tensor.dim(), hi - lo))
        if self.axis.lead > 1:
            return self.axis.cut(self.tensor, lo, hi)
        return by(self.tensor, self.law, {self.axis.dim: (lo, hi)})


def cut(constant: Tensor, law: RowLaw | None, ends: Mapping[int, Interval]) -> Tensor:
    """These positions of a constant, per dimension; by its law those that were not captured."""
    at = ends if law is None or not law.steps else _captured(constant, law, ends)
    if at is not None:
        for dim, (lo, hi) in at.items():
            constant = constant.narrow(dim, lo, hi - lo)
        return constant
    assert law is not None
    if len(law.dims) == 1:
        return _repeated(constant, law, *ends[law.dims[0]])
    return _related(constant, law, ends)


def _captured(
    constant: Tensor, law: RowLaw, ends: Mapping[int, Interval]
) -> Mapping[int, Interval] | None:
    """The same positions, moved back by whole steps to where they were captured, if they fit."""
    over = [
        -(-(ends[dim][1] - (constant.shape[dim] - law.tail)) // step)
        for dim, step in zip(law.dims, law.steps, strict=True)
    ]
    turns = max(*over, 0)
    moved = dict(ends)
    for dim, step in zip(law.dims, law.steps, strict=True):
        lo, hi = ends[dim]
        moved[dim] = lo - turns * step, hi - turns * step
        if moved[dim][0] < (law.start if turns else 0):
            return None
    return moved


def _repeated(constant: Tensor, law: RowLaw, lo: int, hi: int) -> Tensor:
    """Rows of which some come back: in pieces."""
    (dim,), (step,) = law.dims, law.steps
    known = constant.shape[dim] - law.tail

    def pieces() -> Iterator[Tensor]:
        at = lo
        while at < hi:
            turns = max(-(-(at + 1 - known) // step), 0)
            first = at - turns * step
            last = min(first + hi - at, known)
            yield constant.narrow(dim, first, last - first)
            at += last - first

    return torch.cat(list(pieces()), dim)


def _related(constant: Tensor, law: RowLaw, ends: Mapping[int, Interval]) -> Tensor:
    """What belongs to pairs of rows, each pair moved back by itself.

    A pair further apart than any that was captured is taken for the furthest of those alike.
    """
    device = constant.device
    at = torch.meshgrid(
        *(torch.arange(*ends[dim], device=device) for dim in law.dims), indexing="ij"
    )
    over = [
        (place - constant.shape[dim] + step).div(step, rounding_mode="floor")
        for place, dim, step in zip(at, law.dims, law.steps, strict=True)
    ]
    turns = torch.maximum(*over).clamp(min=0)
    moved = (place - turns * step for place, step in zip(at, law.steps, strict=True))
    rows, columns = (
        torch.where(place < 0, place % step, place)
        for place, step in zip(moved, law.steps, strict=True)
    )
    return constant.movedim(law.dims, (0, 1))[rows, columns].movedim((0, 1), law.dims)
