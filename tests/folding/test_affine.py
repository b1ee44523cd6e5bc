"""Folding against the definitions of convolution and BatchNorm, in exact rational arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.folding.affine import Array, batchnorm_affine, fold_affine, fold_affine_before

Index = tuple[int, ...]


@dataclass(frozen=True)
class Geometry:
    """A convolution, per spatial axis."""

    kernel: Index
    stride: Index
    dilation: Index
    padding: Index
    groups: int
    transposed: bool

    @property
    def rank(self) -> int:
        return len(self.kernel)


def output_size(geometry: Geometry, size: Index) -> Index:
    axes = zip(
        size, geometry.kernel, geometry.stride, geometry.dilation, geometry.padding, strict=True
    )
    if geometry.transposed:
        return tuple((n - 1) * s + d * (k - 1) + 1 - 2 * p for n, k, s, d, p in axes)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, d, p in axes)


def contributions(geometry: Geometry, size: Index) -> Iterator[tuple[Index, Index, Index]]:
    """(output position, tap, input position) of every product that the definition sums."""
    for out in product(*map(range, output_size(geometry, size))):
        for tap in product(*map(range, geometry.kernel)):
            read = source(geometry, out, tap)
            if read and all(0 <= i < n for i, n in zip(read, size, strict=True)):
                yield out, tap, read


def source(geometry: Geometry, out: Index, tap: Index) -> Index | None:
    axes = zip(out, tap, geometry.stride, geometry.dilation, geometry.padding, strict=True)
    if not geometry.transposed:
        return tuple(o * s + d * t - p for o, t, s, d, p in axes)
    scaled = [(o + p - d * t, s) for o, t, s, d, p in axes]
    return tuple(n // s for n, s in scaled) if not any(n % s for n, s in scaled) else None


def convolution(geometry: Geometry, x: Array, weight: Array, bias: Array | None) -> Array:
    """By definition, one sum per output; weights are laid out as torch does."""
    groups = geometry.groups
    inputs = x.shape[0] // groups
    outputs = (weight.shape[1] if geometry.transposed else weight.shape[0] // groups) * groups
    result = np.full((outputs, *output_size(geometry, x.shape[1:])), Fraction(0), dtype=object)
    for out, tap, read in contributions(geometry, x.shape[1:]):
        for o, i in product(range(outputs), range(inputs)):
            group, within = divmod(o, outputs // groups)
            channel = group * inputs + i
            row = (channel, within) if geometry.transposed else (o, i)
            result[(o, *out)] += weight[row + tap] * x[(channel, *read)]
    return result if bias is None else result + per_channel(bias, result)


def batch_norm(
    z: Array, gamma: Array, beta: Array, mean: Array, sigma: Array
) -> NDArray[np.object_]:
    """γ (z − μ) / σ + β, by definition."""
    gamma, beta, mean, sigma = (per_channel(each, z) for each in (gamma, beta, mean, sigma))
    return gamma * (z - mean) / sigma + beta


def per_channel(values: Array, like: Array) -> Array:
    return values.reshape(-1, *[1] * (like.ndim - 1))


# ------------------------------------------------------------------------- drawing cases


def rationals(rng: np.random.Generator, *shape: int, least: int = -6) -> Array:
    """Small fractions."""
    values = [
        Fraction(int(rng.integers(least, 7)), int(rng.integers(1, 5))) for _ in range(prod(shape))
    ]
    return np.array(values, dtype=object).reshape(shape)


def weights(rng: np.random.Generator, geometry: Geometry, before: int, after: int) -> Array:
    rows = (before, after) if geometry.transposed else (after, before)
    return rationals(rng, rows[0], rows[1] // geometry.groups, *geometry.kernel)


GEOMETRIES = {
    "1-D": Geometry((3,), (1,), (1,), (0,), 1, False),
    "1-D, strided, dilated, padded": Geometry((3,), (2,), (2,), (1,), 1, False),
    "1-D, two groups": Geometry((2,), (1,), (1,), (1,), 2, False),
    "1-D, depthwise": Geometry((3,), (1,), (1,), (1,), 4, False),
    "2-D": Geometry((2, 3), (1, 2), (1, 1), (1, 0), 1, False),
    "2-D, two groups": Geometry((2, 2), (2, 1), (1, 2), (0, 1), 2, False),
    "2-D, pointwise": Geometry((1, 1), (1, 1), (1, 1), (0, 0), 1, False),
    "3-D, two groups": Geometry((2, 1, 2), (1, 1, 2), (1, 1, 1), (0, 0, 1), 2, False),
    "transposed 1-D": Geometry((3,), (2,), (1,), (1,), 1, True),
    "transposed 1-D, two groups": Geometry((2,), (2,), (2,), (0,), 2, True),
    "transposed 2-D, two groups": Geometry((2, 3), (2, 1), (1, 1), (0, 1), 2, True),
    "transposed 2-D, depthwise": Geometry((2, 2), (1, 2), (1, 1), (0, 0), 4, True),
    "transposed 3-D": Geometry((1, 2, 2), (1, 2, 1), (1, 1, 1), (0, 1, 0), 1, True),
}
SIZES = {1: (6,), 2: (4, 3), 3: (3, 2, 3)}
CHANNELS = [(4, 8), (4, 4), (8, 4)]


@pytest.mark.parametrize("channels", CHANNELS, ids=["widening", "square", "narrowing"])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
def test_batchnorm_after_a_convolution_folds_exactly(geometry, channels, with_bias):
    rng = np.random.default_rng(0)
    before, after = channels
    x = rationals(rng, before, *SIZES[geometry.rank])
    weight = weights(rng, geometry, before, after)
    bias = rationals(rng, after) if with_bias else None
    gamma, beta, mean = (rationals(rng, after) for _ in range(3))
    sigma, eps = rationals(rng, after, least=1), Fraction(1, 1000)
    scale, shift = batchnorm_affine(gamma, beta, mean, sigma * sigma - eps, eps)

    folded = fold_affine(
        weight, bias, scale, shift, groups=geometry.groups, transposed=geometry.transposed
    )

    expected = batch_norm(convolution(geometry, x, weight, bias), gamma, beta, mean, sigma)
    assert (convolution(geometry, x, *folded) == expected).all()


UNPADDED = {
    name: Geometry(g.kernel, g.stride, g.dilation, (0,) * g.rank, g.groups, False)
    for name, g in GEOMETRIES.items()
    if not g.transposed
} | {
    f"transposed {rank}-D, {groups} groups": Geometry(
        (2,) * rank, (1,) * rank, (2,) * rank, (2,) * rank, groups, True
    )
    for rank, groups in ((1, 1), (1, 2), (2, 2), (2, 4))
}


@pytest.mark.parametrize("channels", CHANNELS, ids=["widening", "square", "narrowing"])
@pytest.mark.parametrize("geometry", UNPADDED.values(), ids=UNPADDED)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
def test_an_affine_before_an_unpadded_convolution_folds_exactly(geometry, channels, with_bias):
    rng = np.random.default_rng(1)
    before, after = channels
    x = rationals(rng, before, *(size + 2 for size in SIZES[geometry.rank]))
    weight = weights(rng, geometry, before, after)
    bias = rationals(rng, after) if with_bias else None
    scale, shift = rationals(rng, before), rationals(rng, before)

    folded = fold_affine_before(
        weight, bias, scale, shift, groups=geometry.groups, transposed=geometry.transposed
    )

    moved = per_channel(scale, x) * x + per_channel(shift, x)
    assert (convolution(geometry, x, *folded) == convolution(geometry, moved, weight, bias)).all()


@pytest.mark.parametrize(
    "geometry", [g for g in GEOMETRIES.values() if any(g.padding)], ids=lambda g: str(g.kernel)
)
def test_a_scale_alone_moves_through_zero_padding(geometry):
    rng = np.random.default_rng(2)
    x = rationals(rng, 4, *SIZES[geometry.rank])
    weight, scale = weights(rng, geometry, 4, 4), rationals(rng, 4)
    zero = np.full(4, Fraction(0), dtype=object)

    folded = fold_affine_before(
        weight, None, scale, zero, groups=geometry.groups, transposed=geometry.transposed
    )

    expected = convolution(geometry, per_channel(scale, x) * x, weight, None)
    assert (convolution(geometry, x, *folded) == expected).all()


@pytest.mark.parametrize("transposed", [False, True], ids=["linear", "matrix on the right"])
def test_a_linear_layer_is_a_convolution_without_axes(transposed):
    rng = np.random.default_rng(3)
    x, bias = rationals(rng, 3), rationals(rng, 5)
    weight = rationals(rng, 3, 5) if transposed else rationals(rng, 5, 3)

    def apply(vector: Array, matrix: Array, added: Array) -> Array:
        return (vector @ matrix if transposed else matrix @ vector) + added

    after, before = (rationals(rng, 2, 5), rationals(rng, 2, 3))
    folded_after = fold_affine(weight, bias, *after, transposed=transposed)
    folded_before = fold_affine_before(weight, bias, *before, transposed=transposed)

    assert (apply(x, *folded_after) == after[0] * apply(x, weight, bias) + after[1]).all()
    assert (apply(x, *folded_before) == apply(before[0] * x + before[1], weight, bias)).all()


def test_two_affines_fold_one_after_the_other():
    rng = np.random.default_rng(4)
    weight, bias = rationals(rng, 4, 3, 2), rationals(rng, 4)
    first, second = rationals(rng, 2, 4), rationals(rng, 2, 4)
    joined = (second[0] * first[0], second[0] * first[1] + second[1])

    stepwise = fold_affine(*fold_affine(weight, bias, *first), *second)
    at_once = fold_affine(weight, bias, *joined)

    assert all((one == two).all() for one, two in zip(stepwise, at_once, strict=True))


# -------------------------------------------------------------------------------- BatchNorm


def test_the_affine_of_batchnorm_is_its_definition():
    rng = np.random.default_rng(5)
    gamma, beta, mean, z = (rationals(rng, 7) for _ in range(4))
    sigma = rationals(rng, 7, least=1)
    scale, shift = batchnorm_affine(gamma, beta, mean, sigma * sigma, Fraction(0))
    assert (scale * z + shift == gamma * (z - mean) / sigma + beta).all()


def test_without_learned_parameters_gamma_is_one_and_beta_zero():
    mean, var = np.array([3.0, -1.0]), np.array([3.0, 8.0])
    scale, shift = batchnorm_affine(None, None, mean, var, 1.0)
    assert (scale.tolist(), shift.tolist()) == ([0.5, 1 / 3], [-1.5, 1 / 3])


def test_an_irrational_sigma_is_refused_in_exact_arithmetic():
    two = np.array([Fraction(2)])
    with pytest.raises(UsageError, match="eps = 2 has no rational square root; choose a square"):
        batchnorm_affine(two, two, two, two, Fraction(0))


def test_numbers_that_are_not_rational_may_stand_in_an_object_array():
    one = np.array([1.0], dtype=object)
    assert batchnorm_affine(one, one, one, np.array([3.0], dtype=object), 1.0)[0] == 0.5


# ------------------------------------------------------------------------- floats and torch


def test_large_mean_and_bias_cancel_in_float64():
    """mean = bias = 1e4 with variance 1e-3: the folded bias is α + Γb = β + Γ (b − μ)."""
    mean = bias = np.array([1e4])
    scale, shift = batchnorm_affine(np.ones(1), np.ones(1), mean, np.array([1e-3]), 0.0)
    _, folded = fold_affine(np.ones((1, 1)), bias, scale, shift)
    assert abs(folded[0] - 1.0) < 1e-9


@st.composite
def torch_cases(draw: st.DrawFn) -> tuple[Geometry, int, int, int]:
    rank = draw(st.integers(1, 3))
    axis = st.integers(1, 2)

    def per_axis(of: st.SearchStrategy[int]) -> Index:
        return tuple(draw(st.lists(of, min_size=rank, max_size=rank)))

    groups = draw(st.sampled_from([1, 2, 3]))
    geometry = Geometry(
        per_axis(st.integers(1, 3)),
        per_axis(axis),
        per_axis(axis),
        per_axis(st.integers(0, 1)),
        groups,
        draw(st.booleans()),
    )
    return geometry, groups * draw(axis), groups * draw(axis), draw(st.integers(0, 2**31))


@settings(max_examples=60)
@given(torch_cases())
def test_torch_tensors_fold_like_arrays(case):
    geometry, before, after, seed = case
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    rows = (before, after) if geometry.transposed else (after, before)
    weight = draw(rows[0], rows[1] // geometry.groups, *geometry.kernel)
    x, bias, gamma, beta, mean = (
        draw(2, before, *[6] * geometry.rank),
        *(draw(after) for _ in range(4)),
    )
    var = draw(after).square() + 0.1
    affine = batchnorm_affine(gamma, beta, mean, var, 1e-5)
    folded = fold_affine(
        weight, bias, *affine, groups=geometry.groups, transposed=geometry.transposed
    )

    run = torch_convolution(geometry)
    expected = F.batch_norm(run(x, weight, bias), mean, var, gamma, beta, eps=1e-5)
    torch.testing.assert_close(run(x, *folded), expected, rtol=1e-12, atol=1e-12)


def torch_convolution(geometry: Geometry) -> Callable[..., torch.Tensor]:
    kind = "conv_transpose" if geometry.transposed else "conv"
    function = getattr(F, f"{kind}{geometry.rank}d")
    return lambda x, weight, bias: function(
        x,
        weight,
        bias,
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
        groups=geometry.groups,
    )


# -------------------------------------------------------------------------------- refusals


def test_a_scale_of_other_channels_is_refused_with_both_numbers():
    message = r"The scale has shape \(3,\), but a weight of shape \(4, 2, 3\) makes 4 channels"
    with pytest.raises(UsageError, match=message):
        fold_affine(np.ones((4, 2, 3)), None, np.ones(3), np.ones(4))
    with pytest.raises(UsageError, match=r"shift has shape \(4,\).* reads 2 channels"):
        fold_affine_before(np.ones((4, 2, 3)), None, np.ones(2), np.ones(4))
    with pytest.raises(UsageError, match=r"shift has shape \(3,\).* makes 4 channels"):
        fold_affine(np.ones((4, 2, 3)), None, np.ones(4), np.ones(3))
    with pytest.raises(UsageError, match=r"bias has shape \(2,\).* makes 4 channels"):
        fold_affine(np.ones((4, 2, 3)), np.ones(2), np.ones(4), np.ones(4))
    with pytest.raises(UsageError, match=r"; give one scale per channel, and check groups and t"):
        fold_affine_before(np.ones((4, 2, 3)), None, np.ones(4), np.ones(2))


def test_the_channels_of_grouped_weights_are_counted_over_all_groups():
    with pytest.raises(UsageError, match=r"makes 6 channels; .* check groups and transposed"):
        fold_affine(np.ones((4, 3, 5)), None, np.ones(3), np.ones(3), groups=2, transposed=True)


def test_groups_that_do_not_divide_the_rows_are_refused():
    with pytest.raises(UsageError, match="3 groups do not divide the 4 rows"):
        fold_affine(np.ones((4, 3, 5)), None, np.ones(4), np.ones(4), groups=3)
