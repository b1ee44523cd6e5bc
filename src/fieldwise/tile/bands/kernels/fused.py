"""ReLU of a sum or of a BatchNorm as one op of torch, with the bits of the two: one pass on a card.

Torch adds the bias of a convolution behind cuDNN's kernel in a pass of its own, which is slow
where a tensor lies in channels-last, and ReLU takes another.  Where Triton is installed, and has
shown on a card that its kernel makes what torch's make there, that one is run; elsewhere torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from fieldwise.graph.ir import Ref
from fieldwise.tile.bands.kernels.constants import RowTable
from fieldwise.tile.bands.kernels.registry import Executor, Site, executor
from fieldwise.tile.memory_format import CHANNELS_LAST

_LIBRARY = torch.library.Library("fieldwise", "DEF")
_ADDS = "add_relu{}(Tensor self, Tensor other{}) -> Tensor{}"
_NORMS = (
    "batch_norm_relu{}(Tensor self, Tensor? weight, Tensor? bias, Tensor mean, Tensor variance, "
    "float eps{}) -> Tensor{}"
)
for _schema in (_ADDS, _NORMS):
    _LIBRARY.define(_schema.format("", "", ""), tags=(torch.Tag.pointwise,))
    _out = _schema.format(".out", ", *, Tensor(a!) out", "(a!)")
    _LIBRARY.define(_out, tags=(torch.Tag.pointwise,))

_LIBRARY.define("first(Tensor(a) self, Tensor other) -> Tensor(a)")

ADD_RELU = torch.ops.fieldwise.add_relu.default
"""relu(x + y) of one dtype; y has the shape of x, or a size per channel: (C, 1, 1) of images."""
BATCH_NORM_RELU = torch.ops.fieldwise.batch_norm_relu.default
"""relu of ``torch.batch_norm`` in eval mode."""
FIRST = torch.ops.fieldwise.first.default
"""The first of two tensors, which has no row before the second has it."""

_Numbers = Tensor | None


def _add_relu(x: Tensor, y: Tensor) -> Tensor:
    return _add_relu_out(x, y, out=torch.empty_like(x))


def _add_relu_out(x: Tensor, y: Tensor, *, out: Tensor) -> Tensor:
    if _lie_alike(x, out) and (_is_per_channel(x, y) or _lie_alike(x, y)):
        kernel = _adds_on(x.device, x.dtype)
        if kernel is not None:
            kernel(x, y, out)
            return out
    return torch.add(x, y, out=out).clamp_min_(0)


def _batch_norm_relu(
    x: Tensor, weight: _Numbers, bias: _Numbers, mean: Tensor, variance: Tensor, eps: float
) -> Tensor:
    return _batch_norm_relu_out(x, weight, bias, mean, variance, eps, out=torch.empty_like(x))


def _batch_norm_relu_out(
    x: Tensor,
    weight: _Numbers,
    bias: _Numbers,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    *,
    out: Tensor,
) -> Tensor:
    if weight is not None and bias is not None and _lie_alike(x, out):
        kernel = _norms_on(x.device, x.dtype, weight.dtype)
        if kernel is not None:
            kernel(x, weight, bias, mean, variance, eps, out)
            return out
    return torch.clamp_min(_normed(x, weight, bias, mean, variance, eps), 0, out=out)


def _normed(
    x: Tensor, weight: _Numbers, bias: _Numbers, mean: Tensor, variance: Tensor, eps: float
) -> Tensor:
    return torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, eps, True)


for _name, _made_by in (
    ("add_relu", _add_relu),
    ("add_relu.out", _add_relu_out),
    ("batch_norm_relu", _batch_norm_relu),
    ("batch_norm_relu.out", _batch_norm_relu_out),
    ("first", lambda x, _: x.view_as(x)),
):
    _LIBRARY.impl(_name, _made_by, "CompositeExplicitAutograd")


@executor("first")
def _first(site: Site) -> Executor:
    """Its rows as they are, or those of what is known whole."""
    given = site.given["self"]
    if isinstance(given, Ref):
        return Executor(lambda rows, lo, hi: (rows.inside(given.operand, lo, hi),))
    table = RowTable.of(given, site.axis, site.laws)
    return Executor(lambda rows, lo, hi: (table.rows(rows.constant, lo, hi),))


# -------------------------------------------------------------------- where a card's kernels serve


def _has_channels_last(x: Tensor) -> bool:
    return x.dim() in CHANNELS_LAST and x.is_contiguous(memory_format=CHANNELS_LAST[x.dim()])


def _lie_alike(x: Tensor, y: Tensor) -> bool:
    """Whether both lie on a card, in one block in channels-last, and have the same shape."""
    return x.is_cuda and x.shape == y.shape and _has_channels_last(x) and _has_channels_last(y)


def _is_per_channel(x: Tensor, y: Tensor) -> bool:
    return y.is_contiguous() and y.numel() == x.shape[1] == y.shape[-x.dim() + 1 :][0]


@cache
def _adds_on(device: torch.device, dtype: torch.dtype) -> Callable[..., None] | None:
    """The kernel for sums, if it does on a card what torch's ops do there."""
    try:
        from fieldwise.tile.bands.kernels.fused_triton import add_relu

        x, y = _images(device, dtype), _images(device, dtype).flip(0)
        beside = (y, y[0, :, :1, :1].contiguous())
        return add_relu if all(_obeys(add_relu, (x, y), (x + y).relu()) for y in beside) else None
    except Exception:  # noqa: BLE001  (without a compiler, say, Triton raises what it likes)
        return None


@cache
def _norms_on(
    device: torch.device, dtype: torch.dtype, wide: torch.dtype
) -> Callable[..., None] | None:
    """The same of BatchNorms with weights of another type."""
    try:
        from fieldwise.tile.bands.kernels.fused_triton import batch_norm_relu

        x = _images(device, dtype)
        numbers = torch.linspace(-1, 1, x.shape[1], device=device, dtype=wide)
        given = (x, numbers, numbers.flip(0), numbers / 3, numbers.exp(), 1e-5)
        return batch_norm_relu if _obeys(batch_norm_relu, given, _normed(*given).relu()) else None
    except Exception:  # noqa: BLE001  (see above)
        return None


def _images(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Two images of many different numbers."""
    shape = (2, 48, 23, 31)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.to(device, dtype).contiguous(memory_format=torch.channels_last)


def _obeys(kernel: Callable[..., None], given: tuple[object, ...], wanted: Tensor) -> bool:
    out = torch.full_like(wanted, torch.nan)
    kernel(*given, out)
    return torch.equal(out, wanted)
