"""Windows: convolutions and pools of any padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates

TorchFunction = Callable[..., Any]

_CONVS: Mapping[int, TorchFunction] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: Mapping[int, TorchFunction] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}
_MAX_POOLS: Mapping[int, TorchFunction] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOLS: Mapping[int, TorchFunction] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@dataclass(frozen=True, slots=True)
class NodeWindow:
    """Where the windows of a node lie: per spatial axis, with the padding before and behind."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]

    @property
    def is_symmetric(self) -> bool:
        """Whether as much is padded before as behind, and nothing cut."""
        return self.before == self.behind and min(self.before, default=0) >= 0

    @property
    def reach(self) -> tuple[int, ...]:
        """From the first tap to the last, both counted."""
        return tuple(
            (size - 1) * step + 1 for size, step in zip(self.kernel, self.dilation, strict=True)
        )

    def padding(self) -> list[int]:
        """As ``F.pad`` takes it: last axis first."""
        pairs = list(zip(self.before, self.behind, strict=True))
        return [amount for pair in reversed(pairs) for amount in pair]


def window_of(node: NodeCall, sizes: Sequence[int], kernel: Sequence[int]) -> NodeWindow:
    """The windows of a node over an operand of these spatial sizes."""
    rank = len(sizes)
    stride = node.integers("strides", [1] * rank) or []
    dilation = node.integers("dilations", [1] * rank) or []
    pads = node.integers("pads", [0] * (2 * rank)) or []
    mode = node.text("auto_pad", "NOTSET")
    if not rank == len(kernel) == len(stride) == len(dilation) or len(pads) != 2 * rank:
        raise node.refusal(f"its windows do not fit {rank} spatial axes")
    if min((*stride, *dilation, *kernel), default=1) < 1:
        raise node.refusal("a kernel, stride or dilation is not positive")
    before, behind = pads[:rank], pads[rank:]
    if mode == "VALID":
        before = behind = [0] * rank
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((-(-size // step) - 1) * step + (taps - 1) * apart + 1 - size, 0)
            for size, step, taps, apart in zip(sizes, stride, kernel, dilation, strict=True)
        ]
        before, behind = _shared_out(totals, mode)
    elif mode != "NOTSET":
        raise node.refusal(f"its auto_pad is {mode!r}")
    return NodeWindow(tuple(kernel), tuple(stride), tuple(dilation), tuple(before), tuple(behind))


def _shared_out(totals: Sequence[int], mode: str) -> tuple[list[int], list[int]]:
    """Padding before and behind, the odd one behind in SAME_UPPER and before otherwise."""
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def _of_rank(node: NodeCall, table: Mapping[int, TorchFunction], rank: int) -> TorchFunction:
    if rank not in table:
        raise node.refusal(f"it has {rank} spatial axes, and 1 to 3 are")
    return table[rank]


@translates("Conv", learned=(1, 2))
def conv(node: NodeCall, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution; what cannot be padded on both sides alike is padded before."""
    kernel = node.integers("kernel_shape") or list(weight.shape[2:])
    window = window_of(node, x.shape[2:], kernel)
    function = _of_rank(node, _CONVS, len(kernel))
    padding: Sequence[int] = window.before
    if not window.is_symmetric:
        x, padding = F.pad(x, window.padding()), (0,) * len(kernel)
    groups = node.integer("group", 1)
    return function(x, weight, bias, window.stride, padding, window.dilation, groups)


@translates("CausalConvWithState", learned=(1, 2))
def _causal_conv(
    node: NodeCall,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    past: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    before = weight.shape[-1] - 1
    padded = F.pad(x, (before, 0)) if past is None else torch.cat([past, x], 2)
    found = F.conv1d(padded, weight, bias, groups=weight.shape[0])
    if node.text("activation", "none") in ("silu", "swish"):
        found = F.silu(found)
    return found, padded.narrow(2, padded.shape[2] - before, before)


@translates("ConvTranspose", learned=(1, 2))
def conv_transpose(node: NodeCall, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A transposed convolution, cut where the padding takes away, padded where it adds."""
    kernel = node.integers("kernel_shape") or list(weight.shape[2:])
    rank = len(kernel)
    function = _of_rank(node, _TRANSPOSED, rank)
    window, extra = _transposed_window(node, x.shape[2:], kernel)
    groups = node.integer("group", 1)
    if window.is_symmetric and all(
        more < max(step, apart)
        for more, step, apart in zip(extra, window.stride, window.dilation, strict=True)
    ):
        return function(
            x, weight, bias, window.stride, window.before, extra, groups, window.dilation
        )
    cuts = zip(window.before, window.behind, extra, strict=True)
    padding = [(-before, more - behind) for before, behind, more in cuts]
    only_cut = max(amount for pair in padding for amount in pair) <= 0
    own, later = (bias, None) if only_cut else (None, bias)
    whole = function(x, weight, own, window.stride, 0, 0, groups, window.dilation)
    moved = F.pad(whole, [amount for pair in reversed(padding) for amount in pair])
    return moved if later is None else moved + later.reshape(-1, *([1] * rank))


def _transposed_window(
    node: NodeCall, sizes: Sequence[int], kernel: Sequence[int]
) -> tuple[NodeWindow, list[int]]:
    """The windows of a transposed convolution, and what is added behind the result."""
    rank = len(kernel)
    extra = node.integers("output_padding", [0] * rank) or [0] * rank
    wanted = node.integers("output_shape")
    mode = node.text("auto_pad", "NOTSET")
    stride = node.integers("strides", [1] * rank) or []
    dilation = node.integers("dilations", [1] * rank) or []
    pads = node.integers("pads", [0] * (2 * rank)) or []
    if not rank == len(sizes) == len(stride) == len(dilation) == len(extra):
        raise node.refusal(f"its windows do not fit {len(sizes)} spatial axes")
    before, behind = pads[:rank], pads[rank:]
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * step for size, step in zip(sizes, stride, strict=True)]
    if wanted is not None:
        totals = [
            step * (size - 1) + more + (taps - 1) * apart + 1 - out
            for step, size, more, taps, apart, out in zip(
                stride, sizes, extra, kernel, dilation, wanted[-rank:], strict=True
            )
        ]
        before, behind = _shared_out(totals, mode)
    elif mode == "VALID":
        before = behind = [0] * rank
    window = NodeWindow(tuple(kernel), tuple(stride), tuple(dilation), tuple(before), tuple(behind))
    return window, extra


# -------------------------------------------------------------------- pools


def _pooled(node: NodeCall, x: Tensor) -> NodeWindow:
    """The windows of a pool, padded behind so that rounding up becomes rounding down."""
    kernel = node.integers("kernel_shape")
    if kernel is None:
        raise node.refusal("it has no kernel_shape")
    sizes = list(x.shape[2:])
    window = window_of(node, sizes, kernel)
    if not node.integer("ceil_mode", 0) or node.text("auto_pad", "NOTSET") != "NOTSET":
        return window
    behind = list(window.behind)
    for axis, size in enumerate(sizes):
        step, before = window.stride[axis], window.before[axis]
        over = size + before + behind[axis] - window.reach[axis]
        count = -(-over // step) + 1
        if (count - 1) * step >= size + before:  # a window that starts behind the operand
            count -= 1
        behind[axis] = max((count - 1) * step + window.reach[axis] - size - before, behind[axis])
    return NodeWindow(window.kernel, window.stride, window.dilation, window.before, tuple(behind))


def _fits_torch(window: NodeWindow) -> bool:
    halves = all(b <= k // 2 for b, k in zip(window.before, window.kernel, strict=True))
    return window.is_symmetric and halves


@translates("MaxPool")
def max_pool(node: NodeCall, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """The largest of each window, and, if asked for, where it stands in the whole operand."""
    window = _pooled(node, x)
    function = _of_rank(node, _MAX_POOLS, len(window.kernel))
    if not x.is_floating_point():
        return _max_of_integers(node, x)
    fits = _fits_torch(window)
    padded = x if fits else F.pad(x, window.padding(), value=-math.inf)
    padding = window.before if fits else 0
    more = {"return_indices": True} if node.outputs > 1 else {}
    found = function(padded, window.kernel, window.stride, padding, window.dilation, **more)
    if node.outputs < 2:
        return found
    values, places = found
    return values, _places(node, x, padded, places, (0,) * x.dim() if fits else window.before)


def _max_of_integers(node: NodeCall, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    found = max_pool(node, x.to(torch.float64) if x.dtype in _WIDE else x.to(torch.float32))
    if isinstance(found, tuple):
        return found[0].to(x.dtype), found[1]
    return found.to(x.dtype)


_WIDE = {torch.int32, torch.int64, torch.uint32, torch.uint64}


def _places(
    node: NodeCall, x: Tensor, padded: Tensor, places: Tensor, before: Sequence[int]
) -> Tensor:
    """Places in a padded plane as places in the whole operand."""
    sizes, wide = x.shape[2:], padded.shape[2:]
    at = []
    for axis in reversed(range(len(sizes))):
        at.append(places % wide[axis] - (before[axis] if len(before) == len(sizes) else 0))
        places = torch.div(places, wide[axis], rounding_mode="floor")
    at.reverse()
    order = range(len(sizes))
    if node.integer("storage_order", 0):
        order = range(len(sizes) - 1, -1, -1)
    flat = torch.zeros_like(at[0])
    for axis in order:
        flat = flat * sizes[axis] + at[axis]
    planes = torch.arange(x.shape[0] * x.shape[1]) * math.prod(sizes)
    return flat + planes.reshape(x.shape[0], x.shape[1], *([1] * len(sizes)))


@translates("AveragePool")
def average_pool(node: NodeCall, x: Tensor) -> Tensor:
    """The mean of each window, over what of it is counted."""
    window = _pooled(node, x)
    function = _of_rank(node, _AVG_POOLS, len(window.kernel))
    counted = bool(node.integer("count_include_pad", 0))
    plain = max(window.dilation) == 1
    given = window_of(node, x.shape[2:], window.kernel)
    if plain and _fits_torch(window) and given == window:
        return function(x, window.kernel, window.stride, window.before, False, counted)
    sums = _window_sums(x, window)
    ones = x.new_ones((1, 1, *x.shape[2:]))
    if counted:
        ones = F.pad(ones, given.padding(), value=1.0)
        rest = [(0, more - less) for more, less in zip(window.behind, given.behind, strict=True)]
        flat = [amount for pair in reversed(rest) for amount in pair]
        counts = _window_sums(
            F.pad(ones, flat),
            NodeWindow(window.kernel, window.stride, window.dilation, *((0,) * len(rest),) * 2),
        )
    else:
        counts = _window_sums(ones, window)
    return sums / counts


def _window_sums(x: Tensor, window: NodeWindow) -> Tensor:
    """The sum of each window, over zero padding."""
    rank = len(window.kernel)
    padded = F.pad(x, window.padding())
    if max(window.dilation) == 1:
        return _AVG_POOLS[rank](padded, window.kernel, window.stride) * math.prod(window.kernel)
    channels = padded.shape[1]
    ones = padded.new_ones((channels, 1, *window.kernel))
    return _CONVS[rank](padded, ones, None, window.stride, 0, window.dilation, channels)


@translates("LpPool")
def lp_pool(node: NodeCall, x: Tensor) -> Tensor:
    """The p-norm of each window."""
    power = node.number("p", 2)
    window = _pooled(node, x)
    _of_rank(node, _AVG_POOLS, len(window.kernel))
    return _window_sums(torch.abs(x) ** power, window) ** (1 / power)


@translates("GlobalAveragePool")
def _global_average(node: NodeCall, x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.dim())), keepdim=True) if x.dim() > 2 else x.clone()


@translates("GlobalMaxPool")
def _global_max(node: NodeCall, x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.dim())), keepdim=True) if x.dim() > 2 else x.clone()


@translates("GlobalLpPool")
def _global_lp(node: NodeCall, x: Tensor) -> Tensor:
    power = node.number("p", 2)
    sums = (torch.abs(x) ** power).sum(tuple(range(2, x.dim())), keepdim=True)
    return sums ** (1 / power)


@translates("MaxUnpool")
def max_unpool(
    node: NodeCall, x: Tensor, places: Tensor, output_shape: Tensor | None = None
) -> Tensor:
    """Each element where its place in the whole result says; zeros elsewhere."""
    from fieldwise.capture.onnx.values import ints

    kernel = node.integers("kernel_shape") or []
    rank = len(kernel)
    stride = node.integers("strides", [1] * rank) or []
    pads = node.integers("pads", [0] * 2 * rank) or []
    sizes = [
        (size - 1) * step - before - behind + taps
        for size, step, before, behind, taps in zip(
            x.shape[2:], stride, pads[:rank], pads[rank:], kernel, strict=True
        )
    ]
    usual = [*x.shape[:2], *sizes]
    shape = usual if output_shape is None else ints(output_shape, "its output shape")
    planes = torch.arange(x.shape[0] * x.shape[1]) * math.prod(sizes)
    within = places - planes.reshape(x.shape[0], x.shape[1], *([1] * rank))
    if shape != usual:  # places count in the usual shape
        at = []
        for axis in reversed(range(rank)):
            at.append(within % sizes[axis])
            within = torch.div(within, sizes[axis], rounding_mode="floor")
        at.reverse()
        within = torch.zeros_like(at[0])
        for axis in range(rank):
            within = within * shape[2 + axis] + at[axis]
    flat = x.new_zeros((*shape[:2], math.prod(shape[2:])))
    spread = flat.scatter(2, within.flatten(2), x.flatten(2))
    return spread.reshape(shape)
