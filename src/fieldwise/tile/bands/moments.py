"""What follows from the moments of all rows: variances, and norms as a scale and a shift.

Parts are combined in float64; moments of parts are merged as in Chan, Golub & LeVeque, "Updating
formulae and a pairwise algorithm for computing sample variances" (1979), Eq. 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from fieldwise.graph.calls import arguments
from fieldwise.graph.ir import Node, Shape
from fieldwise.tile.bands.known import Known, PartialSums, check_same_shape


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
        check_same_shape(mean, tuple(self.mean.shape))
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
class Spread(_OfMoments):
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
class Norm(_OfMoments):
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


def norm_groups(node: Node, shape: Shape) -> int | None:
    """The groups of channels of a norm; 0 where a whole batch has statistics in common."""
    given = arguments(node)
    if node.op == "group_norm":
        found = given.get("num_groups", given.get("group"))
        return int(found) if found else None
    if node.op == "instance_norm" and given["use_input_stats"]:
        return shape[1]
    return 0 if node.op == "batch_norm" else None
