"""What a layer reads of the whole axis, summed up band by band: means, extremes, moments.

Parts are combined in float64; moments of parts are merged as in Chan, Golub & LeVeque, "Updating
formulae and a pairwise algorithm for computing sample variances" (1979), Eq. 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Protocol

import torch
from torch import Tensor

from fieldwise.graph.calls import arguments, op_name, per_axis, rebind, replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Call, Coord, Node, Shape, Whole
from fieldwise.graph.live import live_values
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.known import Known, stand_in

PartialSums = tuple[torch.dtype, int, tuple[Tensor, ...]]
"""Of some rows: their type, a count, and what is summed up of them, as tensors."""


_Join = Callable[[Tensor, Tensor], Tensor]


class Statistic(Protocol):
    """What is summed up for one node."""

    @property
    def node(self) -> Node:
        """That node."""

    @property
    def normalises(self) -> bool:
        """Whether the node goes on row by row once its statistics are known."""

    def add(self, rows: Tensor) -> None:
        """Take the next rows of the node's operand into account."""

    def part(self) -> PartialSums:
        """What is summed up so far, for another machine to go on with."""

    def join(self, part: PartialSums) -> None:
        """Take into account what was summed up of the rows that come next."""

    def known(self) -> Known:
        """What is known of the node after the last row."""


def planned(one: Statistic, graph: Graph) -> Known:
    """What stands in for what a statistic will find, as long as only the plan is wanted."""
    first, *beside = one.node.results
    if not one.normalises:
        return Known({name: stand_in(graph.values[name]) for name in one.node.results})
    unit = torch.ones([1] * len(graph.shape(first)))
    return Known({name: stand_in(graph.values[name]) for name in beside}, {first: (unit, unit)})


def statistic_of(graph: Graph, node: Node, axis: AxisPlace) -> Statistic | None:
    """The statistic of a node of a graph whose only operand has its axis there, or None."""
    if axis.lead > 1:
        return None
    live = live_values(graph)
    wanted = [number for number, name in enumerate(node.results) if name in live]
    shapes = [graph.shape(name) for name in node.results]
    return statistic(node, axis.dim, graph.shape(node.operands[0]), shapes, wanted)


def statistic(
    node: Node,
    dim: int,
    shape: Shape,
    results: Sequence[Shape],
    wanted: Sequence[int] | None = None,
) -> Statistic | None:
    """The statistic of a node whose only operand has this shape and is streamed along ``dim``.

    wanted: the results that are used, by number; all of them by default

    None where the node is none that can be summed up, or where its results read less than all of
    the streamed axis: then what one band gives says nothing of the others.  Where the operand has
    no rows there are no bands to sum up.
    """
    if (
        len(node.operands) != 1
        or node.source is None
        or not shape[dim]
        or not _reads_whole(node, dim, shape[dim], results)
    ):
        return None
    wanted = range(len(results)) if wanted is None else wanted
    if all(read.kind.joins for number in wanted for read in node.reads[number]):
        return _Joined.of(node, dim, shape, results, tuple(wanted))
    if node.op in ("var", "std", "var_mean", "std_mean"):
        return _Spread(node, results)
    groups = _groups(node, shape) if len(results) <= _NORMALISED else None
    return None if groups is None else _Norm(node, results, groups, shape)


_NORMALISED = 3
"""Results of a norm that are known: what is normalised, the means and the reciprocal spreads."""


def _reads_whole(node: Node, dim: int, size: int, results: Sequence[Shape]) -> bool:
    """Whether every result reads the whole of this dimension of its operand."""
    found = [
        (read, shape) for reads, shape in zip(node.reads, results, strict=True) for read in reads
    ]
    return bool(found) and all(
        (step := read.single) is not None
        and not step.where
        and _is_whole(step.coords[dim], size, shape)
        for read, shape in found
    )


def _is_whole(coord: Coord, size: int, result: Shape) -> bool:
    """Whether a dimension is read whole, be it for the sake of the only group."""
    if isinstance(coord, Along) and result[coord.dim] == 1:
        return coord.map(0).clip(size).count == size
    return isinstance(coord, Whole)


def _groups(node: Node, shape: Shape) -> int | None:
    """The groups of channels of a norm; 0 where a whole batch has statistics in common."""
    given = arguments(node)
    if node.op == "group_norm":
        found = given.get("num_groups", given.get("group"))
        return int(found) if found else None
    if node.op == "instance_norm" and given["use_input_stats"]:
        return shape[1]
    return 0 if node.op == "batch_norm" else None


def _same_shape(one: Tensor, other: Shape) -> None:
    """Parts are put together element by element; another shape would be broadcast in silence."""
    if tuple(one.shape) != tuple(other):
        raise RuntimeError(f"a sum has the shape {tuple(one.shape)} instead of {tuple(other)}")


# -------------------------------------------------------------------- reductions


@dataclass(slots=True)
class _Joined:
    """A reduction that makes the whole of its own parts: means are weighted by their rows.

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
    ) -> _Joined | None:
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
            _same_shape(one, self.results[number])
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
        1 if _is_whole(coord, size, results[number]) else size
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


# -------------------------------------------------------------------- moments


def _wide(dtype: torch.dtype) -> torch.dtype:
    """In what torch computes statistics of this dtype, and applies them: at least float32."""
    return torch.promote_types(dtype, torch.float32)


_AT_HAND = 1 << 16
"""Elements that a processor has at hand when it takes them a second time."""


@dataclass(slots=True)
class _Moments:
    """Count, mean and sum of squared deviations, in float64."""

    count: int = 0
    mean: Tensor | None = None
    squares: Tensor | None = None

    def add(self, x: Tensor, dims: Sequence[int]) -> None:
        """Merge the moments of x over some dimensions, which are kept with size 1.

        Each is taken twice, the mean first, a few elements at a time, which are at hand then:
        several times as fast as torch's own variance, and nothing is lost to cancellation.
        """
        dims = tuple(dims)
        longest = max(dims, key=lambda dim: x.shape[dim])
        at_once = max(x.shape[longest] * _AT_HAND // max(x.numel(), 1), 1)
        for part in x.split(at_once, longest):
            wide = part.to(_wide(x.dtype))
            mean = wide.mean(dims, keepdim=True)
            squares = (wide - mean).square_().sum(dims, keepdim=True)
            count = prod(part.shape[dim] for dim in dims)
            self.merge(count, mean.double(), squares.double())

    def merge(self, count: int, mean: Tensor, squares: Tensor) -> None:
        """Merge the moments of further rows."""
        if self.mean is None or self.squares is None:
            self.count, self.mean, self.squares = count, mean, squares
            return
        _same_shape(mean, tuple(self.mean.shape))
        far, total = mean - self.mean, self.count + count
        if not total:
            return
        self.squares = self.squares + squares + far.square() * (self.count * count / total)
        self.mean = self.mean + far * (count / total)
        self.count = total

    def parts(self) -> tuple[int, tuple[Tensor, ...]]:
        """The arguments of ``merge``."""
        assert self.mean is not None
        assert self.squares is not None
        return self.count, (self.mean, self.squares)

    def found(self, correction: float = 0) -> tuple[Tensor, Tensor]:
        """Mean and variance."""
        assert self.mean is not None
        assert self.squares is not None
        return self.mean, self.squares / self.squares.new_tensor(max(self.count - correction, 0))


@dataclass(slots=True)
class _OfMoments:
    """What follows from the moments of all rows.

    results: the shapes of the node's results
    """

    node: Node
    results: Sequence[Shape]
    moments: _Moments = field(default_factory=_Moments, kw_only=True)
    dtype: torch.dtype = field(default=torch.float32, kw_only=True)

    def part(self) -> PartialSums:
        """See Statistic."""
        return self.dtype, *self.moments.parts()

    def join(self, part: PartialSums) -> None:
        """See Statistic."""
        self.dtype, count, (mean, squares) = part
        self.moments.merge(count, mean, squares)


@dataclass(slots=True)
class _Spread(_OfMoments):
    """Variance or standard deviation, maybe with the mean."""

    @property
    def normalises(self) -> bool:
        """See Statistic."""
        return False

    def add(self, rows: Tensor) -> None:
        """See Statistic."""
        dims = arguments(self.node).get("dim")
        self.moments.add(rows, dims if dims else range(rows.dim()))
        self.dtype = rows.dtype

    def known(self) -> Known:
        """See Statistic."""
        given = arguments(self.node)
        correction = given.get("correction", given.get("unbiased", True))
        mean, variance = self.moments.found(1.0 if correction is None else float(correction))
        spread = variance.sqrt() if self.node.op.startswith("std") else variance
        found = zip(self.node.results, (spread, mean), self.results, strict=False)
        return Known({name: t.reshape(shape).to(self.dtype) for name, t, shape in found})


@dataclass(slots=True)
class _Norm(_OfMoments):
    """Group, instance or batch norm with the statistics of its own input, as scale and shift."""

    groups: int
    shape: Shape

    @property
    def normalises(self) -> bool:
        """See Statistic."""
        return True

    def add(self, rows: Tensor) -> None:
        """See Statistic."""
        self.dtype = rows.dtype
        if self.groups:
            grouped = rows.unflatten(1, (self.groups, -1))
            self.moments.add(grouped, range(2, grouped.dim()))
        else:
            self.moments.add(rows, [dim for dim in range(rows.dim()) if dim != 1])

    def known(self) -> Known:
        """See Statistic."""
        mean, variance = self.moments.found()
        samples, channels = (self.shape[0] if self.groups else 1), self.shape[1]
        share = channels // self.groups if self.groups else 1
        given = arguments(self.node)
        spread = torch.rsqrt(variance + given["eps"])
        beside = zip(self.node.results[1:], (mean, spread), self.results[1:], strict=False)
        values = {name: t.reshape(shape).to(self.dtype) for name, t, shape in beside}
        mean, spread = (
            t.reshape(samples, -1).repeat_interleave(share, dim=1) for t in (mean, spread)
        )
        weight, bias = given.get("weight"), given.get("bias")
        scale = spread if weight is None else spread * weight.double()
        shift = -mean * scale if bias is None else bias.double() - mean * scale
        spread_out = [samples, channels, *[1] * (len(self.shape) - 2)]
        affine = tuple(t.reshape(spread_out).to(_wide(self.dtype)) for t in (scale, shift))
        return Known(values, {self.node.results[0]: (affine[0], affine[1])})
