"""Translations under periodic boundary conditions, and the convolution that commutes with them.

Under periodic boundary conditions index i of an axis of T samples means i mod T, so that every
integer translation is a permutation of the samples.  For the convolution

    (A ⋆ W)[i] = Σ_k W[k] · A[(s·i + k − ⌊(K − 1)/2⌋) mod T]

with stride s = 1,  T_δ(A ⋆ W) = T_δ(A) ⋆ W  for every δ: substituting i − δ for i on the left,
and translating A on the right, both read A[(i − δ + k − ⌊(K − 1)/2⌋) mod T].  With a stride that
divides T the result has T/s samples, and  T_δ(A ⋆ W) = T_{s·δ}(A) ⋆ W.  Two identities of the
modulo carry the proof:  (a mod T + b) mod T = (a + b) mod T,  and  (a·b) mod (T·b) = (a mod T)·b.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError

Array = NDArray[Any]


def translate(values: Array, shift: int | Sequence[int]) -> Array:
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


def circular_conv(values: Array, kernel: Array, *, stride: int | Sequence[int] = 1) -> Array:
    """The convolution above, over the axes that the kernel has (the last ones of ``values``).

    values: (…, T₁ … T_d); kernel: (K₁ … K_d), of any size, larger than the axis too
    stride: of each axis a divisor

    The kernel is not mirrored, as in deep learning; it is centred, an even one one sample early.
    The result has the values' own arithmetic: integers stay exact.  Raises UsageError for a
    kernel of too many axes or none, and for a stride that does not divide its axis.

    >>> circular_conv(np.array([1, 2, 3, 4]), np.array([1, 10, 100])).tolist()
    [214, 321, 432, 143]
    >>> circular_conv(np.array([1, 2, 3, 4]), np.array([1, 10, 100]), stride=2).tolist()
    [214, 432]
    """
    values, kernel = np.asarray(values), np.asarray(kernel)
    axes = _last_axes(values, kernel.ndim)
    strides = _per_axis(stride)
    strides = strides * kernel.ndim if len(strides) == 1 else strides
    if len(strides) != kernel.ndim:
        raise UsageError(
            f"A kernel of {kernel.ndim} axes takes {kernel.ndim} strides, not {len(strides)}."
        )
    for axis, by in zip(axes, strides, strict=True):
        if by < 1 or values.shape[axis] % by:
            raise UsageError(
                f"The stride {by} does not divide the axis of {values.shape[axis]} samples; "
                f"a periodic result needs one that does."
            )
    starts: tuple[Any, ...] = (Ellipsis, *(slice(None, None, by) for by in strides))
    result = np.zeros_like(values[starts] * kernel.reshape(-1)[:1].sum())
    for tap in product(*map(range, kernel.shape)):
        back = [(size - 1) // 2 - k for k, size in zip(tap, kernel.shape, strict=True)]
        result = result + kernel[tap] * translate(values, back)[starts]
    return result


def commutes(
    values: Array, kernel: Array, shift: int | Sequence[int], *, stride: int | Sequence[int] = 1
) -> bool:
    """Whether both sides of T_δ(A ⋆ W) = T_{s·δ}(A) ⋆ W agree in every sample, exactly.

    Integers are compared as they are, without rounding; floats to the last bit.

    >>> commutes(np.arange(12).reshape(3, 4), np.array([[1, -2], [3, 5]]), (-1, 7))
    True
    """
    shifts = _per_axis(shift)
    strides = _per_axis(stride)
    strides = strides * len(shifts) if len(strides) == 1 else strides
    after = translate(circular_conv(values, kernel, stride=stride), shifts)
    moved = [by * step for by, step in zip(shifts, strides, strict=True)]
    return np.array_equal(after, circular_conv(translate(values, moved), kernel, stride=stride))


def _per_axis(value: int | Sequence[int]) -> tuple[int, ...]:
    return (int(value),) if isinstance(value, (int, np.integer)) else tuple(map(int, value))


def _last_axes(values: Array, count: int) -> range:
    if not 0 < count <= values.ndim:
        raise UsageError(f"An array of {values.ndim} axes has no last {count} axes.")
    return range(values.ndim - count, values.ndim)
