"""The kernels for cards of ``fused``: of tensors in channels-last, in one pass over memory.

All compute in float32, in float64 what has that type, and round a sum before they clip it, as
torch's two ops do.  What is no number stays so.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_SAMPLES = 4096
"""Numbers that one program of a grid makes."""


@triton.jit  # type: ignore[untyped-decorator]
def _add_relu(  # type: ignore[no-untyped-def]
    x, y, out, count, samples: tl.constexpr, wide: tl.constexpr
):
    at = tl.program_id(0).to(tl.int64) * samples + tl.arange(0, samples)
    inside = at < count
    total = tl.load(x + at, mask=inside).to(wide) + tl.load(y + at, mask=inside).to(wide)
    rounded = total.to(out.dtype.element_ty)
    tl.store(out + at, tl.where(rounded < 0, 0.0, rounded), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _add_bias_relu(  # type: ignore[no-untyped-def]
    x, y, out, places, channels, rows: tl.constexpr, columns: tl.constexpr, wide: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    at = row[:, None] * channels + column[None, :]
    inside = (row < places)[:, None] & (column < channels)[None, :]
    bias = tl.load(y + column, mask=column < channels).to(wide)
    total = tl.load(x + at, mask=inside).to(wide) + bias[None, :]
    rounded = total.to(out.dtype.element_ty)
    tl.store(out + at, tl.where(rounded < 0, 0.0, rounded), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _batch_norm_relu(  # type: ignore[no-untyped-def]
    x,
    weight,
    bias,
    mean,
    variance,
    eps,
    out,
    places,
    channels,
    rows: tl.constexpr,
    columns: tl.constexpr,
    wide: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    at = row[:, None] * channels + column[None, :]
    there = column < channels
    inside = (row < places)[:, None] & there[None, :]
    scale = tl.rsqrt(tl.load(variance + column, mask=there, other=1.0).to(wide) + eps)
    factor = tl.load(weight + column, mask=there).to(wide)
    shift = tl.load(bias + column, mask=there).to(wide)
    centre = tl.load(mean + column, mask=there).to(wide)
    apart = tl.load(x + at, mask=inside).to(wide) - centre[None, :]
    made = factor[None, :] * apart * scale[None, :] + shift[None, :]
    rounded = made.to(out.dtype.element_ty)
    tl.store(out + at, tl.where(rounded < 0, 0.0, rounded), mask=inside)


def add_relu(x: Tensor, y: Tensor, out: Tensor) -> None:
    """Write relu(x + y) to ``out``; y lies as x and ``out`` do, or has a number per channel."""
    wide = _wide(x)
    with torch.cuda.device_of(x):
        if y.shape == x.shape:
            parts = triton.cdiv(x.numel(), _SAMPLES)
            _add_relu[(parts,)](x, y, out, x.numel(), samples=_SAMPLES, wide=wide)
            return
        places, rows, columns = _cut(x)
        grid = triton.cdiv(places, rows), triton.cdiv(x.shape[1], columns)
        _add_bias_relu[grid](
            x, y, out, places, x.shape[1], rows=rows, columns=columns, wide=wide
        )  # fmt: skip


def batch_norm_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    out: Tensor,
) -> None:
    """Write relu of ``torch.batch_norm`` in eval mode to ``out``, which lies as x does."""
    places, rows, columns = _cut(x)
    grid = triton.cdiv(places, rows), triton.cdiv(x.shape[1], columns)
    with torch.cuda.device_of(x):
        _batch_norm_relu[grid](
            x, weight, bias, mean, variance, eps, out, places, x.shape[1],
            rows=rows, columns=columns, wide=_wide(x),
        )  # fmt: skip


def _wide(x: Tensor) -> tl.dtype:
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def _cut(x: Tensor) -> tuple[int, int, int]:
    """How many positions there are, and how many of them and of their channels a program makes."""
    columns = min(triton.next_power_of_2(x.shape[1]), _SAMPLES)
    return x.numel() // x.shape[1], _SAMPLES // columns, columns
