"""``relu(x + y)`` as one op of torch, with the bits of the two: one pass over memory on a card.

Torch adds the bias of a convolution behind cuDNN's kernel in a pass of its own, which is slow
where a tensor lies in channels-last, and ReLU takes another.  Where Triton is installed and can
compile, one kernel does both; elsewhere the two ops are called.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from fieldwise.tile.memory_format import CHANNELS_LAST

_LIBRARY = torch.library.Library("fieldwise", "DEF")
_LIBRARY.define("add_relu(Tensor self, Tensor other) -> Tensor", tags=(torch.Tag.pointwise,))
_LIBRARY.define(
    "add_relu.out(Tensor self, Tensor other, *, Tensor(a!) out) -> Tensor(a!)",
    tags=(torch.Tag.pointwise,),
)

ADD_RELU = torch.ops.fieldwise.add_relu.default
"""(x, y): both of one dtype; y has the shape of x, or a size per channel: (C, 1, 1) of images."""

Kernel = Callable[[Tensor, Tensor, Tensor], None]
"""Writes relu(x + y) to the third; y has a number per channel of x, which lies in channels-last."""


def _add_relu(x: Tensor, y: Tensor) -> Tensor:
    return _add_relu_out(x, y, out=torch.empty_like(x))


def _add_relu_out(x: Tensor, y: Tensor, *, out: Tensor) -> Tensor:
    kernel = _kernel_on(x.device) if _is_bias(x, y, out) else None
    if kernel is not None:
        kernel(x, y, out)
        return out
    return torch.add(x, y, out=out).clamp_min_(0)


_LIBRARY.impl("add_relu", _add_relu, "CompositeExplicitAutograd")
_LIBRARY.impl("add_relu.out", _add_relu_out, "CompositeExplicitAutograd")


def _is_bias(x: Tensor, y: Tensor, out: Tensor) -> bool:
    """Whether the three lie as the kernel on a card takes them."""
    if not x.is_cuda or x.dim() not in CHANNELS_LAST or not x.numel():
        return False
    last = CHANNELS_LAST[x.dim()]
    lie = x.is_contiguous(memory_format=last) and out.is_contiguous(memory_format=last)
    return lie and y.is_contiguous() and y.numel() == x.shape[1] == y.shape[-x.dim() + 1]


@cache
def _kernel_on(device: torch.device) -> Kernel | None:
    """The kernel, if it compiles on a card and does there what torch's ops do."""
    try:
        from fieldwise.tile.bands.kernels.add_relu_triton import add_bias_relu

        x = torch.linspace(-1, 1, 2 * 3 * 5 * 7, device=device).view(2, 3, 5, 7)
        x = x.contiguous(memory_format=torch.channels_last)
        y, out = torch.linspace(-1, 1, 3, device=device).view(3, 1, 1), torch.empty_like(x)
        add_bias_relu(x, y, out)
        obeys = torch.equal(out, (x + y).relu())
    except Exception:  # noqa: BLE001  (without a compiler, say, Triton raises what it likes)
        return None
    return add_bias_relu if obeys else None
