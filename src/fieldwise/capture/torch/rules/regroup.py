"""Ops that trade one dimension for another: shuffles, and windows laid out as channels.

Each is a reshape, a permutation and a reshape; windows come from one separable step in which
(output position, kernel tap) is one merged dimension: index ``position·k + tap``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.capture.torch.registry import OpCall, Reads, normal_dim, one, rule
from fieldwise.capture.torch.rules.common import along_but, per_axis, permuted, source
from fieldwise.graph.ir import Along, Read, Reshape, Shape, Step
from fieldwise.graph.kinds import COPY, OVERLAPS


def _shuffled(number: int, split: Shape, order: Sequence[int]) -> Read:
    """Reshape to ``split``, permute, and reshape to the result."""
    moved = tuple(split[dim] for dim in order)
    return Read(number, (Reshape(), _permutation(order), Reshape()), (split, moved))


def _permutation(order: Sequence[int]) -> Step:
    return permuted(0, order).steps[0]


def _separable(rank: int, changed: dict[int, Along]) -> Step:
    return along_but(0, rank, dict(changed)).steps[0]


# -------------------------------------------------------------------- shuffles


@rule("pixel_shuffle", kind=COPY)
def _pixel_shuffle(call: OpCall) -> Reads:
    number, (*lead, channels, height, width) = source(call)
    factor, n = call["upscale_factor"], len(lead)
    split = (*lead, channels // factor**2, factor, factor, height, width)
    return one(_shuffled(number, split, [*range(n), n, n + 3, n + 1, n + 4, n + 2]))


@rule("pixel_unshuffle", kind=COPY)
def _pixel_unshuffle(call: OpCall) -> Reads:
    number, (*lead, channels, height, width) = source(call)
    factor, n = call["downscale_factor"], len(lead)
    split = (*lead, channels, height // factor, factor, width // factor, factor)
    return one(_shuffled(number, split, [*range(n), n, n + 2, n + 4, n + 1, n + 3]))


@rule("channel_shuffle", "native_channel_shuffle", name="channel_shuffle", kind=COPY)
def _channel_shuffle(call: OpCall) -> Reads:
    number, (batch, channels, *space) = source(call)
    split = (batch, call["groups"], channels // call["groups"], *space)
    return one(_shuffled(number, split, [0, 2, 1, *range(3, len(split))]))


# -------------------------------------------------------------------- windows as data


@rule("unfold", "unfold_copy", name="unfold", kind=COPY)
def _unfold(call: OpCall) -> Reads:
    """Tensor.unfold: windows along one dimension, their taps in a new last dimension."""
    number, shape = source(call)
    if not shape:
        return one(Read(number, (Reshape(),)))
    dim, size = normal_dim(call["dimension"], len(shape)), call["size"]
    windows = call.result[dim]
    taps = AxisMap(call["step"], tuple(IndexSet(tap, 1) for tap in range(size)))
    merged = (*shape[:dim], windows * size, *shape[dim + 1 :])
    split = (*shape[:dim], windows, size, *shape[dim + 1 :])
    order = [d for d in range(len(split)) if d != dim + 1] + [dim + 1]
    steps = (_separable(len(shape), {dim: Along(dim, taps)}), Reshape(), _permutation(order))
    return one(Read(number, steps, (merged, split)))


@rule("unfold_backward", kind=OVERLAPS)
def _unfold_backward(call: OpCall) -> Reads:
    """Windows of ``size``, ``step`` apart, added up where they overlap."""
    number, shape = source(call, "grad_in")
    size, step = call["size"], call["step"]
    rank = len(call.result)
    dim = normal_dim(call["dim"], rank)
    order = [*range(dim + 1), rank, *range(dim + 1, rank)]
    beside = tuple(shape[d] for d in order)
    line = (*beside[:dim], beside[dim] * size, *beside[dim + 2 :])
    places = AxisMap(
        size,
        tuple(
            IndexSet.of(rest + k * (step - size) for k in range(size) if rest + k * step < size)
            for rest in range(step)
        ),
    )
    added = along_but(0, rank, {dim: Along(dim, places)}).steps[0]
    return one(Read(number, (permuted(0, order).steps[0], Reshape(), added), (beside, line)))


@rule("im2col", kind=COPY)
def _im2col(call: OpCall) -> Reads:
    """(N, C, H, W) to (N, C·kh·kw, positions); every (position, tap) reads one sample."""
    number, (*lead, height, width) = source(call)
    rows, columns = _sliding(call, (height, width))
    n = len(lead)
    sampled = {n: Along(n, rows.samples()), n + 1: Along(n + 1, columns.samples())}
    merged = (*lead, rows.merged, columns.merged)
    split = (*lead, rows.positions, rows.taps, columns.positions, columns.taps)
    order = [*range(n), n + 1, n + 3, n, n + 2]
    moved = tuple(split[dim] for dim in order)
    steps = (_separable(n + 2, sampled), Reshape(), _permutation(order), Reshape())
    return one(Read(number, steps, (merged, split, moved)))


@rule("col2im", kind=OVERLAPS)
def _col2im(call: OpCall) -> Reads:
    """(N, C·kh·kw, positions) to (N, C, H, W): im2col read backwards, overlaps summed."""
    number, _ = source(call)
    *lead, height, width = call.result
    rows, columns = _sliding(call, (height, width))
    n = len(lead)
    covering = {n: Along(n, rows.covering()), n + 1: Along(n + 1, columns.covering())}
    moved = (*lead, rows.taps, columns.taps, rows.positions, columns.positions)
    split = (*lead, rows.positions, rows.taps, columns.positions, columns.taps)
    merged = (*lead, rows.merged, columns.merged)
    order = [*range(n), n + 2, n, n + 3, n + 1]
    steps = (Reshape(), _permutation(order), Reshape(), _separable(n + 2, covering))
    return one(Read(number, steps, (moved, split, merged)))


@dataclass(frozen=True, slots=True)
class _Sliding:
    """A window of ``taps`` that slides along an axis of ``size`` samples."""

    size: int
    taps: int
    stride: int
    dilation: int
    padding: int

    @property
    def positions(self) -> int:
        extent = self.dilation * (self.taps - 1) + 1
        return (self.size + 2 * self.padding - extent) // self.stride + 1

    @property
    def merged(self) -> int:
        """The size of the merged dimension, index = position·taps + tap."""
        return self.positions * self.taps

    def samples(self) -> AxisMap:
        """Merged index → the sample at position·stride + tap·dilation − padding."""
        taps = (IndexSet(self.dilation * tap - self.padding, 1) for tap in range(self.taps))
        return AxisMap(self.stride, tuple(taps))

    def covering(self) -> AxisMap:
        """Sample → every merged index that lies on it."""
        return AxisMap(self.taps, tuple(map(self._covering, range(self.stride))))

    def _covering(self, sample: int) -> IndexSet:
        starts = ((tap, sample + self.padding - self.dilation * tap) for tap in range(self.taps))
        return IndexSet.of(
            start // self.stride * self.taps + tap
            for tap, start in starts
            if start % self.stride == 0
        )


def _sliding(call: OpCall, size: Sequence[int]) -> tuple[_Sliding, _Sliding]:
    names = ("kernel_size", "stride", "dilation", "padding")
    per_name = (per_axis(call[name], 2) for name in names)
    rows, columns = (_Sliding(*axis) for axis in zip(size, *per_name, strict=True))
    return rows, columns
