"""Part 1: translations and circular convolutions commute, exactly."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.errors import UsageError
from fieldwise.shift import circular_conv, commutes, translate

WIDE = st.integers(-(10**6), 10**6)


@st.composite
def cases(draw: st.DrawFn, *, strided: bool = False):
    """Integer values on up to three axes, a kernel of any size, a shift and a stride."""
    axes, channels = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    strides = [draw(st.integers(1, 3)) if strided else 1 for _ in range(axes)]
    sizes = [draw(st.integers(1, 4)) * by for by in strides]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.integers(-99, 99, [channels, *sizes])
    taps = [draw(st.integers(1, 6)) for _ in range(axes)]
    kernel = rng.integers(-99, 99, [channels, *taps])
    return values, kernel, [draw(st.integers(-30, 30)) for _ in range(axes)], strides


@given(WIDE, WIDE, st.integers(1, 10**6))
def test_a_sum_may_be_reduced_before_or_after_it_is_taken(a, b, size):
    assert (a % size + b) % size == (a + b) % size


@given(WIDE, st.integers(1, 1000), st.integers(1, 10**6))
def test_a_common_factor_may_be_taken_out_of_a_modulo(a, factor, size):
    assert (a * factor) % (size * factor) == (a % size) * factor


@given(WIDE, st.integers(1, 50), WIDE, st.integers(1, 10**6))
def test_the_index_of_the_proof_may_be_reduced_early(m, tau, by, size):
    early = ((m + tau - 1) % size - by) % size
    assert early == (m + tau - 1 - by) % size == ((m - by) % size + (tau - 1)) % size


@given(cases())
def test_translating_a_convolution_is_convolving_what_is_translated(case):
    values, kernel, shift, _ = case
    assert commutes(values, kernel, shift)


@given(cases(strided=True))
def test_a_stride_multiplies_the_shift(case):
    values, kernel, shift, strides = case
    assert commutes(values, kernel, shift, stride=strides)


@given(cases(strided=True))
def test_the_convolution_is_the_sum_of_the_formula(case):
    values, kernel, _, strides = case
    found = circular_conv(values, kernel, stride=strides)
    for place in product(*map(range, found.shape)):
        total = 0
        for channel, *taps in product(*map(range, kernel.shape)):
            read = [
                (by * m + tap) % size
                for by, m, tap, size in zip(strides, place, taps, values.shape[1:], strict=True)
            ]
            total += int(values[channel, *read]) * int(kernel[channel, *taps])
        assert found[place] == total


@given(cases())
def test_translations_form_a_group(case):
    values, _, shift, _ = case
    there = translate(values, shift)
    assert np.array_equal(translate(there, [-by for by in shift]), values)
    assert np.array_equal(translate(values, values.shape[1:]), values)
    assert np.array_equal(there, np.roll(values, shift, range(1, values.ndim)))


def test_the_convolution_is_that_of_torch_with_circular_padding_behind():
    rng = np.random.default_rng(0)
    values, kernel = rng.normal(size=(3, 8, 9)), rng.normal(size=(3, 3, 5))
    padded = torch.nn.functional.pad(torch.from_numpy(values)[None], (0, 4, 0, 2), mode="circular")
    wanted = torch.nn.functional.conv2d(padded, torch.from_numpy(kernel)[None])
    assert np.allclose(circular_conv(values, kernel), wanted[0, 0].numpy())


def test_zero_padding_does_not_commute():
    """The control: the same check can fail."""
    values, kernel = np.arange(1, 6), np.array([1, 2, 3])
    assert not np.array_equal(
        translate(np.convolve(values, kernel, "same"), 1),
        np.convolve(translate(values, 1), kernel, "same"),
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: translate(np.arange(3), (1, 2)), "An array of 1 axes has no last 2 axes."),
        (
            lambda: circular_conv(np.ones((1, 5)), np.ones((1, 3)), stride=2),
            "The stride 2 does not divide the axis of 5 samples",
        ),
        (
            lambda: circular_conv(np.ones((1, 4)), np.ones((1, 3)), stride=(2, 2)),
            "takes 1 strides, not 2",
        ),
        (lambda: circular_conv(np.ones((2, 4)), np.ones((1, 3))), "as many channels, in front"),
    ],
)
def test_what_cannot_be_done_is_said(call, text):
    with pytest.raises(UsageError, match=text):
        call()
