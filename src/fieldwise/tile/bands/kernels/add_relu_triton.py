"""``relu(x + y)`` of a tensor in channels-last and a number per channel, as a kernel for cards."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_SAMPLES = 4096
"""Numbers that one program of the grid makes."""


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    x, y, out, places, channels, rows: tl.constexpr, columns: tl.constexpr, wide: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    at = row[:, None] * channels + column[None, :]
    inside = (row < places)[:, None] & (column < channels)[None, :]
    left = tl.load(x + at, mask=inside).to(wide)
    right = tl.load(y + column, mask=column < channels).to(wide)
    total = (left + right[None, :]).to(out.dtype.element_ty)  # rounded before it is clipped
    tl.store(out + at, tl.where(total < 0, 0.0, total), mask=inside)  # NaN stays


def add_bias_relu(x: Tensor, y: Tensor, out: Tensor) -> None:
    """Write relu(x + y) to ``out``; x and out lie in channels-last, y has a number per channel."""
    channels = x.shape[1]
    places = x.numel() // channels
    columns = min(triton.next_power_of_2(channels), _SAMPLES)
    rows = _SAMPLES // columns
    wide = tl.float64 if x.dtype == torch.float64 else tl.float32
    grid = (triton.cdiv(places, rows), triton.cdiv(channels, columns))
    with torch.cuda.device_of(x):
        _kernel[grid](x, y, out, places, channels, rows=rows, columns=columns, wide=wide)
