"""What a layer reads of the whole axis, summed up band by band: means, extremes, moments.

Parts are combined in float64; moments of parts are merged as in Chan, Golub & LeVeque, "Updating
formulae and a pairwise algorithm for computing sample variances" (1979), Eq. 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor

from fieldwise.graph.calls import arguments, replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Coord, Node, Shape, Whole


@dataclass(frozen=True, slots=True)
class KnownStatistics:
    """What earlier passes have found, by name of the first result of the node that reads it.

    values: results that do not have the streamed axis any more
    affine: (scale, shift) in place of a norm, in no less than single precision; they have the rank
            of what is normalised
    """

    values: Mapping[str, Tensor] = field(default_factory=dict)
    affine: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def joined(self, other: KnownStatistics) -> KnownStatistics:
        """All that either knows."""
        return KnownStatistics({**self.values, **other.values}, {**self.affine, **other.affine})


PartialSums = tuple[torch.dtype, int, tuple[Tensor, ...]]
"""Of some rows: their type, a count, and what is summed up of them, as tensors."""


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

    def known(self) -> KnownStatistics:
        """What is known of the node after the last row."""


def planned(one: Statistic, graph: Graph, device: torch.device) -> KnownStatistics:
    """What stands in for what a statistic will find, as long as only the plan is wanted."""
    values = [(name, graph.values[name]) for name in one.node.results]
    zeros = {
        name: torch.zeros(value.shape, dtype=getattr(torch, value.dtype), device=device)
        for name, value in values
    }
    if not one.normalises:
        return KnownStatistics(zeros)
    ((name, value), *_) = values
    unit = torch.ones([1] * len(value.shape), device=device)
    del zeros[name]
    return KnownStatistics(zeros, {name: (unit, unit)})


def statistic(node: Node, dim: int, shape: Shape, results: Sequence[Shape]) -> Statistic | None:
    """The statistic of a node whose only operand has this shape and is streamed along ``dim``.

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
    if node.op in _COMBINED and len(results) == 1:
        return _Combined(node, dim, results[0])
    if node.op in ("var", "std", "var_mean", "std_mean"):
        return _Spread(node, results)
    groups = _groups(node, shape) if len(results) <= _NORMALISED else None
    return None if groups is None else _Norm(node, groups, shape, results)


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


_COMBINED: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": torch.add, "adaptive_avg_pool": torch.add, "sum": torch.add, "prod": torch.mul,
    "amax": torch.maximum, "max": torch.maximum, "adaptive_max_pool": torch.maximum,
    "amin": torch.minimum, "min": torch.minimum, "logsumexp": torch.logaddexp,
    "all": torch.logical_and, "any": torch.logical_or,
}  # fmt: skip
_WEIGHTED = ("mean", "adaptive_avg_pool")


@dataclass(slots=True)
class _Combined:
    """A reduction: the call on each band, combined; means weighted by their rows."""

    node: Node
    dim: int
    shape: Shape
    total: Tensor | None = None
    rows: int = 0
    dtype: torch.dtype = torch.float32

    @property
    def normalises(self) -> bool:
        """See Statistic."""
        return False

    def add(self, rows: Tensor) -> None:
        """See Statistic."""
        assert self.node.source is not None
        (found,) = replay(self.node.source, [rows])
        _same_shape(found, self.shape)
        dtype, count = found.dtype, rows.shape[self.dim]
        if found.is_floating_point():
            found = found.double()
        found = found * count if self.node.op in _WEIGHTED else found
        self.join((dtype, count, (found,)))

    def part(self) -> PartialSums:
        """See Statistic."""
        assert self.total is not None
        return self.dtype, self.rows, (self.total,)

    def join(self, part: PartialSums) -> None:
        """See Statistic."""
        self.dtype, count, (found,) = part
        _same_shape(found, self.shape)
        self.total = found if self.total is None else _COMBINED[self.node.op](self.total, found)
        self.rows += count

    def known(self) -> KnownStatistics:
        """See Statistic."""
        assert self.total is not None
        value = self.total / self.rows if self.node.op in _WEIGHTED else self.total
        return KnownStatistics({self.node.results[0]: value.to(self.dtype)})


# -------------------------------------------------------------------- moments


def _wide(dtype: torch.dtype) -> torch.dtype:
    """In what torch computes statistics of this dtype, and applies them: at least float32."""
    return torch.promote_types(dtype, torch.float32)


@dataclass(slots=True)
class _Moments:
    """Count, mean and sum of squared deviations, in float64."""

    count: int = 0
    mean: Tensor | None = None
    squares: Tensor | None = None

    def add(self, x: Tensor, dims: Sequence[int]) -> None:
        """Merge the moments of x over some dimensions, which are kept with size 1."""
        variance, mean = torch.var_mean(
            x.to(_wide(x.dtype)), list(dims), correction=0, keepdim=True
        )
        mean = mean.double()
        count = prod(x.shape[dim] for dim in dims)
        self.merge(count, mean, variance.double() * count)

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
class _Spread:
    """Variance or standard deviation, maybe with the mean."""

    node: Node
    shapes: Sequence[Shape]
    moments: _Moments = field(default_factory=_Moments)
    dtype: torch.dtype = torch.float32

    @property
    def normalises(self) -> bool:
        """See Statistic."""
        return False

    def add(self, rows: Tensor) -> None:
        """See Statistic."""
        dims = arguments(self.node).get("dim")
        self.moments.add(rows, dims if dims else range(rows.dim()))
        self.dtype = rows.dtype

    def part(self) -> PartialSums:
        """See Statistic."""
        return self.dtype, *self.moments.parts()

    def join(self, part: PartialSums) -> None:
        """See Statistic."""
        self.dtype, count, (mean, squares) = part
        self.moments.merge(count, mean, squares)

    def known(self) -> KnownStatistics:
        """See Statistic."""
        given = arguments(self.node)
        correction: Any = given.get("correction", given.get("unbiased", True))
        mean, variance = self.moments.found(1.0 if correction is None else float(correction))
        spread = variance.sqrt() if self.node.op.startswith("std") else variance
        found = zip(self.node.results, (spread, mean), self.shapes, strict=False)
        return KnownStatistics({name: t.reshape(shape).to(self.dtype) for name, t, shape in found})


@dataclass(slots=True)
class _Norm:
    """Group, instance or batch norm with the statistics of its own input, as scale and shift."""

    node: Node
    groups: int
    shape: Shape
    results: Sequence[Shape]
    moments: _Moments = field(default_factory=_Moments)
    dtype: torch.dtype = torch.float32

    @property
    def normalises(self) -> bool:
        """See Statistic."""
        return True

    def add(self, rows: Tensor) -> None:
        """See Statistic."""
        self.dtype = rows.dtype
        if self.groups:
            self.moments.add(rows.reshape(rows.shape[0], self.groups, -1), [2])
        else:
            self.moments.add(rows, [dim for dim in range(rows.dim()) if dim != 1])

    def part(self) -> PartialSums:
        """See Statistic."""
        return self.dtype, *self.moments.parts()

    def join(self, part: PartialSums) -> None:
        """See Statistic."""
        self.dtype, count, (mean, squares) = part
        self.moments.merge(count, mean, squares)

    def known(self) -> KnownStatistics:
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
        return KnownStatistics(values, {self.node.results[0]: (affine[0], affine[1])})
