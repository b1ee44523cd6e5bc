"""Convolutions: along the streamed axis the call pads at the real ends only (see ``edges``).

Layout: (batch, channels, *space), or without the batch.  A transposed convolution writes more
rows than asked for at the ends of a band; they are cropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

from fieldwise.graph.calls import op_name, per_axis
from fieldwise.graph.ir import Shape
from fieldwise.tile.bands.kernels.edges import SlidingWindows
from fieldwise.tile.bands.kernels.layout import SEQUENCE, VOLUME, laid, on_rows
from fieldwise.tile.bands.kernels.registry import Executor, Rows, Site, executor
from fieldwise.tile.bands.kernels.replayed import replayed
from fieldwise.tile.errors import Blocked
from fieldwise.tile.memory_format import CHANNELS_LAST
from fieldwise.tile.workspace import ConvolutionKernel


@dataclass(frozen=True, slots=True)
class KernelWindow:
    """A convolution's kernel along the streamed axis and its arguments along all.

    axis: which spatial axis is streamed; ``padding`` (before, after) per spatial axis
    """

    axis: int
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    groups: int

    @classmethod
    def of(cls, site: Site) -> KernelWindow:
        """Read the arguments of a site whose rows lie along a spatial axis."""
        weight: Tensor = site.given["weight"]
        axes = weight.dim() - 2
        axis = site.dim - (len(site.shape) - axes)
        stride = per_axis(site.given.get("stride", 1), axes, 1)
        dilation = per_axis(site.given.get("dilation", 1), axes, 1)
        padding = _padding(site.given["padding"], weight.shape[2:], dilation)
        bias = site.given.get("bias")
        return cls(axis, weight, bias, stride, dilation, padding, site.given["groups"])

    def others(self) -> tuple[list[int], list[int]]:
        """Padding of the axes that are not streamed: what the call takes, and what F.pad must."""
        call, rest = [], []
        for axis, (before, after) in enumerate(self.padding):
            even = before == after
            call.append(0 if axis == self.axis or not even else before)
            rest.append((0, 0) if axis == self.axis or even else (before, after))
        return call, [side for pair in reversed(rest) for side in pair]


@executor("conv")
def _conv(site: Site) -> Executor:
    if site.given.get("transposed"):
        return _conv_transpose(site)
    if op_name(site.node) == "conv_tbc":
        raise Blocked("conv_tbc cannot be run on a band; use conv1d")
    number, link = site.only("input")
    if not _is_spatial(site):
        return _along_batch(site)
    window = KernelWindow.of(site)
    convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[len(window.stride) - 1]
    padding, explicit = window.others()
    windows = SlidingWindows(link.reach, window.stride[window.axis])
    as_whole = _runs_on_onednn(link.shape, link.dtype, window)
    on_slow_kernel = not as_whole and _is_volume_here(link.shape, window)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        seen = windows.read(rows, number, lo, hi)
        x, weight = seen.rows, window.weight
        if any(explicit):
            x = F.pad(x, explicit)
        pads = [*padding]
        pads[window.axis] = seen.padding
        if not on_slow_kernel:
            x, weight = rows.convolved(x, weight)
        here = not rows.recorded and type(x) is Tensor and x.device.type == "cpu"
        stride = _without_idle_step(x, pads, window) if here else window.stride
        if as_whole and here and x.numel():
            y = torch.mkldnn_convolution(
                x, weight, window.bias, pads, stride, window.dilation, window.groups
            )
        else:
            y = convolve(x, weight, window.bias, stride, pads, window.dilation, window.groups)
        if stride is not window.stride:
            y = y.narrow(-1, 0, 1)
        made = seen.cropped(y, site.dim, hi - lo)
        return (made.contiguous() if made.dim() == SEQUENCE else made,)

    return Executor(
        run,
        copies=windows.copies,
        beside=_workspace(site, window, in_order=on_slow_kernel),
    )


def _without_idle_step(x: Tensor, padding: Sequence[int], window: KernelWindow) -> tuple[int, ...]:
    """The strides, without that of a last axis along which there is but one window.

    In bfloat16, on processors with matrix tiles (AMX), oneDNN 3.12 gives such a window
    numbers from unset memory.  The last rows of a stream may be a single one where those of the
    whole are many.
    """
    *others, step = window.stride
    if x.dtype != torch.bfloat16 or step == 1:
        return window.stride
    extent = (window.weight.shape[-1] - 1) * window.dilation[-1] + 1
    is_single = x.shape[-1] + 2 * padding[-1] - extent < step
    return (*others, 1) if is_single else window.stride


def _along_batch(site: Site) -> Executor:
    """The recorded call: rows are samples, or channels of which each is convolved by itself."""
    weight = site.given["weight"]
    return on_rows(replayed(site), lambda rows, x: rows.convolved(x, weight)[0])


def _runs_on_onednn(shape: Shape, dtype: torch.dtype, window: KernelWindow) -> bool:
    """Whether torch runs a convolution of the whole volume on oneDNN, if that is on a CPU.

    It chooses by the sizes before the last, and would take a thin slab for a small volume, for
    which it has a kernel that is ten times as slow.
    """
    if not _is_volume_here(shape, window):
        return False
    return _kernel(shape, dtype, window).name == "Mkldnn"


def _workspace(
    site: Site, window: KernelWindow, *, in_order: bool, transposed: bool = False
) -> Callable[[int, int, int], int]:
    """What torch's kernel holds beside rows that it reads, are a part of a chunk, and makes.

    in_order: rows are not put in channels-last, so that those of volumes lie apart in memory

    Not counted are windows of small images, which one thread lays out and oneDNN does not take:
    so it is asked for several of them.
    """
    _, link = site.only("input")
    is_batch = len(link.shape) == window.weight.dim()
    shape = link.shape if is_batch else (1, *link.shape)
    last = is_batch and not in_order and len(shape) in CHANNELS_LAST
    asked = (max(shape[0], _SEVERAL), *shape[1:]) if last else shape
    kernel = replace(
        _kernel(asked, link.dtype, window, transposed=transposed, channels_last=last),
        batch=shape[0],
    )
    is_whole = kernel.channels_last and window.axis == 0 and shape[0] == 1

    def beside(read: int, apart: int, made: int) -> int:
        moved = read if in_order else 0 if is_whole else apart
        return kernel.beside(read, made, apart=moved)

    return beside


_SEVERAL = 2


def _kernel(
    shape: Shape,
    dtype: torch.dtype,
    window: KernelWindow,
    *,
    transposed: bool = False,
    channels_last: bool = False,
) -> ConvolutionKernel:
    """The kernel that torch takes for the whole."""
    whole = torch.zeros((), dtype=dtype, device=window.weight.device).expand(shape)
    return ConvolutionKernel.of(
        whole, window.weight, bias=window.bias, stride=window.stride,
        padding=[max(sides) for sides in window.padding], dilation=window.dilation,
        transposed=transposed, output_padding=[0] * len(window.stride), groups=window.groups,
        channels_last=channels_last,
    )  # fmt: skip


def _is_volume_here(shape: Shape, window: KernelWindow) -> bool:
    """Whether torch may take its own kernel on CPUs, which does not know channels-last."""
    return len(shape) == VOLUME and window.weight.device.type == "cpu"


def _is_spatial(site: Site) -> bool:
    """Whether rows lie along an axis of the kernel, and not along samples or channels."""
    return site.dim >= len(site.shape) - (site.given["weight"].dim() - 2)


@executor("conv_transpose")
def _conv_transpose(site: Site) -> Executor:
    number, link = site.only("input")
    if not _is_spatial(site):
        return _along_batch(site)
    window = KernelWindow.of(site)
    axes, axis, dim = len(window.stride), window.axis, site.dim
    convolve = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[axes - 1]
    extra = [*per_axis(site.given["output_padding"], axes, 0)]
    padding, _ = window.others()
    crop, extra[axis] = window.padding[axis][0], 0
    stride = window.stride[axis]
    on_slow_kernel = _is_volume_here(link.shape, window)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        start, stop = link.reach.span(lo, hi)
        if start == stop:
            return (_bias_rows(site, window, rows.inside(number, 0, 0), hi - lo),)
        x, weight = rows.inside(number, start, stop), window.weight
        if not on_slow_kernel:
            x, weight = rows.convolved(x, weight)
        y = convolve(
            x, weight, window.bias, window.stride, padding, extra,
            window.groups, window.dilation,
        )  # fmt: skip
        at = start * stride - crop
        return (laid(y, dim, at, lo, hi, lambda count: _bias_rows(site, window, x, count)),)

    return Executor(
        run,
        beside=_workspace(site, window, in_order=on_slow_kernel, transposed=True),
    )


def _bias_rows(site: Site, window: KernelWindow, like: Tensor, rows: int) -> Tensor:
    """Rows that no tap reaches."""
    shape = site.band(rows)
    if window.bias is None:
        return like.new_zeros(shape)
    spread = window.bias.reshape(-1, *[1] * len(window.stride))
    return spread.to(like.dtype).expand(shape)


def _padding(
    padding: str | int | Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """'same' puts an odd sample at the end, as torch does."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if isinstance(padding, str):
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((side, side) for side in per_axis(padding, len(kernel), 0))
