"""Reductions that make the whole of their own parts: means, sums, extremes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from fieldwise.graph.calls import arguments, op_name, per_axis, rebind, replay
from fieldwise.graph.ir import Along, Call, Coord, Node, Shape, Whole
from fieldwise.tile.bands.known import Known, PartialSums, check_same_shape

_Join = Callable[[Tensor, Tensor], Tensor]


@dataclass(slots=True)
class Reduction:
    """What is summed up for a reduction: its results on parts, means weighted by their rows.

    kept:   the shape of what is reduced, with one index in each dimension that is read whole
    wanted: the results that are summed up, by number
    joins:  how the parts of each of them are put together; None for the call on both parts
    """

    node: Node
    dim: int
    kept: Shape
    results: Sequence[Shape]
    wanted: tuple[int, ...]
    joins: Mapping[int, _Join | None]
    totals: tuple[Tensor, ...] = ()
    rows: int = 0
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(
        cls, node: Node, dim: int, shape: Shape, results: Sequence[Shape], wanted: tuple[int, ...]
    ) -> Reduction | None:
        """None where the call cannot be made of a part of the rows, and where it is not known how
        its parts are put together.
        """
        assert node.source is not None
        if not wanted or not all(node.reads[number] for number in wanted):
            return None
        kept = _kept(node, shape, results, wanted[0])
        row = torch.empty([1 if d == dim else n for d, n in enumerate(shape)], device="meta")
        try:
            made = replay(_of_rows(node, dim, len(shape), 1), [row])
        except (RuntimeError, IndexError, ValueError, TypeError):
            return None
        alike = all(tuple(made[number].shape) == tuple(results[number]) for number in wanted)
        if not alike:
            return None
        joins: dict[int, _Join | None] = {}
        for number in wanted:
            way = node.reads[number][0].kind.combines
            join: _Join | None = torch.add if way in ("mean", "sum") else None
            if way == "order":
                join = _extreme(_of_rows(node, dim, len(shape), 2), shape, dim, number)
            if join is None and (way == "order" or not _in_order(node, shape, results, number)):
                return None
            joins[number] = join
        return cls(node, dim, kept, results, wanted, joins)

    @property
    def normalises(self) -> bool:
        """See Statistic."""
        return False

    def _combines(self, number: int) -> str:
        return self.node.reads[number][0].kind.combines

    def add(self, rows: Tensor) -> None:
        """See Statistic."""
        count = rows.shape[self.dim]
        made = replay(_of_rows(self.node, self.dim, rows.dim(), count), [rows])
        found = []
        for number in self.wanted:
            part = made[number].double() if made[number].is_floating_point() else made[number]
            found.append(part * count if self._combines(number) == "mean" else part)
        self.join((made[self.wanted[0]].dtype, count, tuple(found)))

    def part(self) -> PartialSums:
        """See Statistic."""
        return self.dtype, self.rows, self.totals

    def join(self, part: PartialSums) -> None:
        """See Statistic."""
        self.dtype, count, found = part
        for number, one in zip(self.wanted, found, strict=True):
            check_same_shape(one, self.results[number])
        if self.totals:
            found = tuple(map(self._joined, self.wanted, self.totals, found))
        self.totals = found
        self.rows += count

    def _joined(self, number: int, total: Tensor, part: Tensor) -> Tensor:
        if (join := self.joins[number]) is not None:
            return join(total, part)
        assert self.node.source is not None
        both = torch.cat([total.reshape(self.kept), part.reshape(self.kept)], self.dim)
        wide = {"dtype": None} if "dtype" in arguments(self.node) else {}
        return replay(rebind(self.node.source, wide), [both])[number]

    def known(self) -> Known:
        """See Statistic."""
        return Known({
            self.node.results[number]: (
                total / self.rows if self._combines(number) == "mean" else total
            ).to(self.dtype)
            for number, total in zip(self.wanted, self.totals, strict=True)
        })  # fmt: skip


def _of_rows(node: Node, dim: int, rank: int, rows: int) -> Call:
    """The call on so many rows: a pool as long as the axis is one as long as they are."""
    given = arguments(node)
    assert node.source is not None
    if "kernel_size" not in given:
        return node.source
    axes = int(op_name(node).partition("pool")[2][0])
    kernel = list(per_axis(given["kernel_size"], axes))
    if dim >= rank - axes:
        kernel[dim - (rank - axes)] = rows
    return rebind(node.source, {"kernel_size": kernel})


def _kept(node: Node, shape: Shape, results: Sequence[Shape], number: int) -> Shape:
    """The shape of the operand with one index in each dimension that is read whole."""
    step = node.reads[number][0].single
    assert step is not None
    return tuple(
        1 if is_whole(coord, size, results[number]) else size
        for coord, size in zip(step.coords, shape, strict=True)
    )


def _in_order(node: Node, shape: Shape, results: Sequence[Shape], number: int) -> bool:
    """Whether a result holds its elements in the order of those that are not read whole."""
    step = node.reads[number][0].single
    assert step is not None
    kept = _kept(node, shape, results, number)
    alongs = [coord for coord, size in zip(step.coords, kept, strict=True) if size > 1]
    dims = [coord.dim for coord in alongs if isinstance(coord, Along) and coord.map.is_identity]
    return len(dims) == len(alongs) and dims == sorted(dims) and prod(kept) == prod(results[number])


def _extreme(call: Call, shape: Shape, dim: int, number: int) -> _Join | None:
    """Whether a call that chooses by value takes the larger of two rows, or the smaller."""
    rows = torch.zeros([2 if d == dim else size for d, size in enumerate(shape)])
    rows.narrow(dim, 1, 1).fill_(1)
    try:
        chosen = replay(call, [rows])[number]
    except (RuntimeError, IndexError, ValueError, TypeError):
        return None
    if (chosen == 1).all():
        return torch.maximum
    return torch.minimum if (chosen == 0).all() else None


def is_whole(coord: Coord, size: int, result: Shape) -> bool:
    """Whether a dimension is read whole, be it for the sake of the only group."""
    if isinstance(coord, Along) and result[coord.dim] == 1:
        return coord.map(0).clip(size).count == size
    return isinstance(coord, Whole)
