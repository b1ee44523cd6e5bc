"""Translations under periodic boundary conditions, and the convolution that commutes with them.

Under periodic boundary conditions index m of an axis of T samples means m mod T, so that every
integer translation is a permutation of the samples.  For the convolution

    (A ⋆ W)[m] = Σ_τ Σ_j A[j, (s·m + τ − 1) mod T] · W[j, τ]        τ = 1 … k,  j = 1 … d

with stride s = 1,  T_δ(A ⋆ W) = T_δ(A) ⋆ W  for every δ: with m' = (m − δ) mod T both sides read A
at (m' + τ − 1) mod T.  With a stride that divides T the result has T/s samples, and
T_δ(A ⋆ W) = T_{s·δ}(A) ⋆ W.  Two identities of the modulo carry the proof:
(a mod T + b) mod T = (a + b) mod T,  and  (a·b) mod (T·b) = (a mod T)·b.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError

Samples = NDArray[Any]


def translate(values: Samples, shift: int | Sequence[int]) -> Samples:
    """The samples moved by ``shift`` along the last axes, periodically: result[i] = A[i − δ].

    values: any shape
    shift:  per axis, for the last as many axes; negative and beyond the size are welcome

    Raises UsageError for more shifts than axes.

    >>> translate(np.array([1, 2, 3, 4]), 1).tolist()
    [4, 1, 2, 3]
    >>> translate(np.arange(6).reshape(2, 3), (1, -4)).tolist()
    [[4, 5, 3], [1, 2, 0]]
    """
    values = np.asarray(values)
    shifts = _per_axis(shift)
    axes = _last_axes(values, len(shifts))
    for axis, by in zip(axes, shifts, strict=True):
        size = values.shape[axis]
        index = [(i - by) % size for i in range(size)]
        values = values.take(index, axis)
    return values


def circular_conv(values: Samples, kernel: Samples, *, stride: int | Sequence[int] = 1) -> Samples:
    """The convolution above, over all axes but the first, which are the channels.

    values: (d, T₁ … Tₙ); kernel: (d, k₁ … kₙ), of any size, larger than the axis too
    stride: of each axis a divisor; the result: (T₁/s₁ … Tₙ/sₙ)

    The kernel is not mirrored, as in deep learning, and its first tap stands on the sample itself.
    The result has the values' own arithmetic: integers stay exact.  Raises UsageError for arrays
    that do not fit each other, and for a stride that does not divide its axis.

    >>> circular_conv(np.array([[1, 2, 3, 4]]), np.array([[1, 10, 100]])).tolist()
    [321, 432, 143, 214]
    >>> circular_conv(np.array([[1, 2, 3, 4]]), np.array([[1, 10, 100]]), stride=2).tolist()
    [321, 143]
    """
    values, kernel = np.asarray(values), np.asarray(kernel)
    if kernel.ndim < 2 or kernel.ndim != values.ndim or len(kernel) != len(values):
        raise UsageError(
            f"Values of shape {values.shape} and a kernel of shape {kernel.shape} do not fit; both "
            "have as many channels, in front, and as many axes behind them."
        )
    strides = _strides(stride, kernel.ndim - 1)
    for size, by in zip(values.shape[1:], strides, strict=True):
        if by < 1 or size % by:
            raise UsageError(
                f"The stride {by} does not divide the axis of {size} samples; "
                f"a periodic result needs one that does."
            )
    starts = (slice(None), *(slice(None, None, by) for by in strides))
    result = np.zeros_like(values[starts].sum(0) * kernel.reshape(-1)[:1].sum())
    for tap in product(*map(range, kernel.shape[1:])):
        read = translate(values, [-k for k in tap])[starts]
        at: Any = (slice(None), *tap)
        result = result + np.tensordot(kernel[at], read, 1)
    return result


def commutes(
    values: Samples, kernel: Samples, shift: int | Sequence[int], *, stride: int | Sequence[int] = 1
) -> bool:
    """Whether both sides of T_δ(A ⋆ W) = T_{s·δ}(A) ⋆ W agree in every sample, exactly.

    Integers are compared as they are, without rounding; floats to the last bit.

    >>> commutes(np.arange(12).reshape(1, 3, 4), np.array([[[1, -2], [3, 5]]]), (-1, 7))
    True
    """
    shifts = _per_axis(shift)
    strides = _strides(stride, len(shifts))
    after = translate(circular_conv(values, kernel, stride=stride), shifts)
    moved = [by * step for by, step in zip(shifts, strides, strict=True)]
    return np.array_equal(after, circular_conv(translate(values, moved), kernel, stride=stride))


def _per_axis(value: int | Sequence[int]) -> tuple[int, ...]:
    return (int(value),) if isinstance(value, (int, np.integer)) else tuple(map(int, value))


def _strides(stride: int | Sequence[int], axes: int) -> tuple[int, ...]:
    strides = _per_axis(stride)
    strides = strides * axes if len(strides) == 1 else strides
    if len(strides) != axes:
        raise UsageError(f"A kernel of {axes} axes takes {axes} strides, not {len(strides)}.")
    return strides


def _last_axes(values: Samples, count: int) -> range:
    if not 0 < count <= values.ndim:
        raise UsageError(f"An array of {values.ndim} axes has no last {count} axes.")
    return range(values.ndim - count, values.ndim)
