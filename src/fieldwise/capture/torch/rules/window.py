"""Convolutions: a window that slides along each spatial axis, blocks of channels.

Layout: (batch, channels, *spatial), or without the batch where torch allows it.  The rules count
kernels as generic; where zeros of one are a part of the structure (``capture/torch/zeros.py``), the
signal is read through the other taps (``through_kernel``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fieldwise.axes import AxisMap, Border, IndexSet, index_map
from fieldwise.capture.torch.registry import OpCall, Reads, one, rule
from fieldwise.capture.torch.rules.common import blocks, per_axis, separably
from fieldwise.capture.torch.rules.mask import products
from fieldwise.graph.ir import WHOLE, Along, Coord, Fixed, Read, separable
from fieldwise.graph.kinds import PRODUCT, Kind


@dataclass(frozen=True, slots=True)
class _Window:
    """The kernel along one spatial axis."""

    taps: int
    stride: int
    dilation: int
    padding: int
    transposed: bool

    def map(self) -> AxisMap:
        """The inputs that an output reads through all taps."""
        make = AxisMap.transposed if self.transposed else AxisMap.window
        return make(self.taps, stride=self.stride, dilation=self.dilation, padding=self.padding)

    def tap(self, number: int) -> AxisMap:
        """The input that an output reads through one tap."""
        make = AxisMap.transposed if self.transposed else AxisMap.window
        return make(1, stride=self.stride, padding=self.padding - number * self.dilation)

    def through(self, taps: IndexSet) -> AxisMap:
        """The inputs that an output reads through these taps."""
        found, *others = map(self.tap, taps)
        for other in others:
            both = found.union(other)
            assert both is not None  # taps of one kernel move at one rate
            found = both
        return found

    def taps_inside(self, dim: int, inputs: int, outputs: int) -> Coord:
        """The taps that meet an input, not padding, when they make the outputs along ``dim``."""
        maps = [self.tap(number) for number in range(self.taps)]
        rows = [
            IndexSet.of(k for k, reads in enumerate(maps) if reads(i).clip(inputs))
            for i in range(outputs)
        ]
        if all(row.count == self.taps for row in rows):
            return WHOLE
        return Along(dim, index_map(rows))


def _weighing(call: OpCall) -> Kind:
    """Each channel of the result has a kernel of its own."""
    return PRODUCT.per_channel(_channel(call))


@rule("conv1d", "conv2d", "conv3d", "_convolution_mode", name="conv", kind=_weighing)
def _conv(call: OpCall) -> Reads:
    return _convolution(call, transposed=False)


@rule(
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    name="conv_transpose", kind=_weighing,
)  # fmt: skip
def _conv_transpose(call: OpCall) -> Reads:
    return _convolution(call, transposed=True)


@rule("convolution", "_convolution", name="conv", kind=_weighing)
def _either_convolution(call: OpCall) -> Reads:
    return _convolution(call, transposed=call["transposed"])


@rule("conv_tbc", name="conv", kind=PRODUCT.per_channel(2))
def _conv_time_first(call: OpCall) -> Reads:
    """(time, batch, channels), the kernel (taps, in, out)."""
    window = _Window(call.shape("weight")[0], 1, 1, call["pad"], transposed=False)
    inside = window.taps_inside(0, call.shape("self")[0], call.result[0])
    signal, kernel = (Along(0, window.map()), Along(1), WHOLE), (inside, WHOLE, Along(2))
    return one(*separably(call, self=signal, weight=kernel, bias=(Along(2),)))


def _convolution(call: OpCall, *, transposed: bool) -> Reads:
    windows = _windows(call, transposed=transposed)
    channel = _channel(call)
    reads: list[Read] = []
    if (number := call.operand("input")) is not None:
        sizes = (call.operands[number][channel], call.result[channel])
        groups = call["groups"]
        shares = (*sizes, groups) if groups > 1 else _ALL_CHANNELS
        reads.append(_input_read(number, channel, shares, tuple(windows)))
    if (number := call.operand("weight")) is not None:
        reads.append(_weight_read(call, number, channel, windows))
    return one(*reads, *separably(call, bias=(Along(channel),)))


def _channel(call: OpCall) -> int:
    """There may be no batch before the channels."""
    return len(call.result) - len(call.shape("weight")) + 1


def _windows(call: OpCall, *, transposed: bool) -> list[_Window]:
    kernel = call.shape("weight")[2:]
    stride = per_axis(call["stride"], len(kernel), 1)
    dilation = per_axis(call["dilation"], len(kernel), 1)
    padding = _padding(call["padding"], kernel, dilation)
    return [
        _Window(*geometry, transposed)
        for geometry in zip(kernel, stride, dilation, padding, strict=True)
    ]


def _padding(
    padding: str | int | Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """Padding before index 0; 'same' puts an odd sample at the end, as torch does."""
    if padding == "valid":
        return (0,) * len(kernel)
    if isinstance(padding, str):
        return tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    return per_axis(padding, len(kernel))


@lru_cache(maxsize=4096)
def _input_read(
    number: int, channel: int, shares: tuple[int, int, int], windows: tuple[_Window, ...]
) -> Read:
    """How a signal is read; shares: channels read, channels made and groups, where these matter."""
    return separable(
        number,
        *(Along(dim) for dim in range(channel)),
        blocks(channel, *shares),
        *(Along(channel + 1 + axis, window.map()) for axis, window in enumerate(windows)),
        kind=PRODUCT.per_channel(channel),
    )


def through_kernel(call: OpCall, opened: np.ndarray) -> Iterator[Read]:
    """How a signal is read by a kernel that is zero outside these places of it.

    One read for each block of equal taps: which results, from which channels, through which taps.
    """
    number, channel = call.operand("input"), _channel(call)
    assert number is not None
    transposed = bool(call.args.get("transposed", "transpose" in call.op))
    windows = _windows(call, transposed=transposed)
    groups, taken = call["groups"], call.operands[number][channel]
    if transposed:
        grouped = opened.reshape(groups, taken // groups, *opened.shape[1:])
        shape = (call.result[channel], taken // groups, *opened.shape[2:])
        opened = np.moveaxis(grouped, 2, 1).reshape(shape)
    for block in products(opened):
        limits = dict(block)
        places = [limits.get(dim, IndexSet.range(0, size)) for dim, size in enumerate(opened.shape)]
        made, read, *taps = places
        share, results = opened.shape[1], call.result[channel]
        channels: Coord = WHOLE if read.count == taken else Fixed(read)
        if groups > 1:
            rows = [read.shift(k * groups // results * share) for k in range(results)]
            channels = Along(channel, index_map(rows))
        yield separable(
            number,
            *(Along(dim) for dim in range(channel)),
            channels,
            *(
                Along(channel + 1 + axis, window.through(taps[axis]))
                for axis, window in enumerate(windows)
            ),
            where=((channel, made),) if made.count < results else (),
            kind=PRODUCT.per_channel(channel),
        )


_ALL_CHANNELS = (1, 1, 1)
"""In a single group every channel is read, however many there are."""


def _weight_read(call: OpCall, number: int, channel: int, windows: list[_Window]) -> Read:
    """A kernel that itself derives from the input, (out, in/groups, *k) or (in, out/groups, *k)."""
    rows: Coord = Along(channel)
    columns: Coord = WHOLE
    if windows[0].transposed:
        rows = blocks(channel, call.operands[number][0], call.result[channel], call["groups"])
        columns = Along(channel, border=Border.WRAP)
    sizes = zip(call.shape("input")[channel + 1 :], call.result[channel + 1 :], strict=True)
    taps = (
        window.taps_inside(channel + 1 + axis, inputs, outputs)
        for axis, (window, (inputs, outputs)) in enumerate(zip(windows, sizes, strict=True))
    )
    return separable(number, rows, columns, *taps)
