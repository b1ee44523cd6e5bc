"""The algebra of folding: an affine map per channel, taken into the weights of its neighbour.

After a linear op with weights W and bias b (Λ = ΓW, β = Γb + α):

    Γ(W ⋆ x + b) + α  =  (ΓW) ⋆ x + (Γb + α)

before one, wherever every output reads every tap (nothing is padded):

    W ⋆ (Γx + α) + b  =  (WΓ) ⋆ x + (b + Σ W α)        the sum runs over inputs and taps

Only operators that NumPy arrays, object arrays of ``fractions.Fraction`` and torch tensors share
are used, and the precision is that of what is given: pass float64 and round the result once.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError

Array = NDArray[Any]


def batchnorm_affine(
    gamma: Array | None, beta: Array | None, mean: Array, var: Array, eps: float | Fraction
) -> tuple[Array, Array]:
    """Scale Γ = γ/σ and shift α = β − Γμ of an evaluated BatchNorm, where σ = √(var + ε).

    All arrays have shape (channels,); γ = None stands for ones and β = None for zeros
    (affine=False).  In exact rational arithmetic var + ε must be the square of a rational.
    Raises UsageError where it is not.  Source: Ioffe and Szegedy (2015), algorithm 2.

    >>> batchnorm_affine(np.array([2.0]), np.array([1.0]), np.array([3.0]), np.array([15.0]), 1.0)
    (array([0.5]), array([-0.5]))
    >>> half = np.array([Fraction(1, 2)])
    >>> batchnorm_affine(half, None, half, np.array([Fraction(2)]), Fraction(1, 4))
    (array([Fraction(1, 3)], dtype=object), array([Fraction(-1, 6)], dtype=object))
    """
    sigma = _root(var + eps)
    scale = 1 / sigma if gamma is None else gamma / sigma
    shift = -scale * mean if beta is None else beta - scale * mean
    return scale, shift


def fold_affine(
    weight: Array,
    bias: Array | None,
    scale: Array,
    shift: Array,
    *,
    groups: int = 1,
    transposed: bool = False,
) -> tuple[Array, Array]:
    """The weight and bias of 'op, then scale and shift': Λ_j = Γ_jj W_j, β_j = Γ_jj b_j + α_j.

    weight:       (out, in/groups, *kernel), of a linear layer (out, in); with ``transposed``
                  (in, out/groups, *kernel), of a matrix on the right (in, out)
    bias:         (out,), or None for no bias
    scale, shift: (out,)

    Raises UsageError where scale or shift have another number of channels.

    >>> weight = np.array([[[1.0, 2.0]], [[3.0, 4.0]]])
    >>> folded = fold_affine(weight, None, np.array([10.0, 1.0]), np.array([5.0, 6.0]))
    >>> folded[0].tolist(), folded[1].tolist()
    ([[[10.0, 20.0]], [[3.0, 4.0]]], [5.0, 6.0])
    """
    _check_groups(weight, groups)
    out = weight.shape[1] * groups if transposed else weight.shape[0]
    _check_channels(weight, out, "makes", scale=scale, shift=shift, bias=bias)
    if transposed:
        folded = _times_second(weight, scale, groups)
    else:
        folded = weight * _per_row(scale, weight)
    return folded, shift if bias is None else scale * bias + shift


def fold_affine_before(
    weight: Array,
    bias: Array | None,
    scale: Array,
    shift: Array,
    *,
    groups: int = 1,
    transposed: bool = False,
) -> tuple[Array, Array]:
    """The weight and bias of 'scale and shift, then op': W_ji Γ_ii and b_j + Σ W_ji α_i.

    weight, bias: as for ``fold_affine``
    scale, shift: (in,)

    Right where every output reads all taps: a convolution that pads nothing (or pads with what
    the shift makes of it), a transposed one of stride 1 and padding dilation · (kernel − 1).
    Elsewhere only a zero shift may pass.
    Raises UsageError where scale or shift have another number of channels.

    >>> weight = np.array([[[1.0, 2.0]], [[3.0, 4.0]]])
    >>> folded = fold_affine_before(weight, None, np.array([10.0]), np.array([1.0]))
    >>> folded[0].tolist(), folded[1].tolist()
    ([[[10.0, 20.0]], [[30.0, 40.0]]], [3.0, 7.0])
    """
    _check_groups(weight, groups)
    before = weight.shape[0] if transposed else weight.shape[1] * groups
    _check_channels(weight, before, "reads", scale=scale, shift=shift)
    if transposed:
        scaled, shifted = (weight * _per_row(factor, weight) for factor in (scale, shift))
        inputs = shifted.reshape((groups, -1, *weight.shape[1:]))
        added = inputs.sum(axis=(1, *range(3, inputs.ndim))).reshape(-1)
    else:
        scaled, shifted = (_times_second(weight, factor, groups) for factor in (scale, shift))
        added = shifted.sum(axis=tuple(range(1, weight.ndim)))
    return scaled, added if bias is None else bias + added


def _per_row(factor: Array, weight: Array) -> Array:
    """One factor per index of the weight's first dimension, ready to broadcast."""
    return factor.reshape((-1, *[1] * (weight.ndim - 1)))


def _times_second(weight: Array, factor: Array, groups: int) -> Array:
    """One factor per (group, index of the second dimension), each group in its own rows."""
    split = weight.reshape((groups, -1, *weight.shape[1:]))
    factors = factor.reshape((groups, 1, -1, *[1] * (weight.ndim - 2)))
    return (split * factors).reshape(weight.shape)


def _check_groups(weight: Array, groups: int) -> None:
    if weight.shape[0] % groups:
        raise UsageError(
            f"{groups} groups do not divide the {weight.shape[0]} rows of a weight of shape "
            f"{tuple(weight.shape)}; give the groups of the layer that the weight comes from."
        )


def _check_channels(weight: Array, channels: int, verb: str, **given: Array | None) -> None:
    for name, array in given.items():
        if array is not None and tuple(array.shape) != (channels,):
            raise UsageError(
                f"The {name} has shape {tuple(array.shape)}, but a weight of shape "
                f"{tuple(weight.shape)} {verb} {channels} channels; give one {name} per channel, "
                "and check groups and transposed."
            )


def _root(square: Array) -> Array:
    """Element by element; exact for rationals."""
    if square.dtype == object:
        return np.array([_rational_root(value) for value in square.flat], dtype=object)
    return square**0.5


def _rational_root(square: float | Fraction) -> float | Fraction:
    if not isinstance(square, (int, Fraction)):
        return sqrt(square)
    root = Fraction(isqrt(square.numerator), isqrt(square.denominator))
    if root * root != square:
        raise UsageError(
            f"var + eps = {square} has no rational square root; choose a square, or use floats."
        )
    return root
