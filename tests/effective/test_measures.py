"""Squares, widths and deviations of a map, against counting by hand."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest

from fieldwise.effective.measures import (
    deviations,
    logarithmic,
    published_squares,
    squares,
    width,
)

SHARES = (0.2, 0.3, 0.5, 0.99)


def within(shape, centre, side):
    """The positions of a square of this side around a centre, within the map."""
    half = (side - 1) / 2
    ranges = [
        [place for place in range(size) if abs(place - c) <= half]
        for size, c in zip(shape, centre, strict=True)
    ]
    return list(itertools.product(*ranges))


@pytest.mark.parametrize("shape", [(19,), (12, 17), (5, 6, 4)])
def test_the_square_is_the_smallest_that_holds_more_than_the_share(shape):
    """Around samples and between them, near borders too."""
    dice = np.random.default_rng(len(shape))
    for _ in range(20):
        values = dice.random(shape) ** 4
        half = int(dice.integers(2)) / 2
        centre = [int(dice.integers(size - 1)) + half for size in shape]
        for square in squares(values, centre, SHARES):
            assert square.side is not None
            held = [
                sum(values[place] for place in within(shape, centre, side))
                for side in (square.side, square.side - 2)
            ]
            assert held[0] > square.share * values.sum() >= held[1] - 1e-12
            assert square.ratio == min(1, square.side ** len(shape) / prod(shape))


def test_no_square_holds_a_share_of_nothing():
    """A map of zeros has no square, no deviation, and no logarithm but itself."""
    nothing = np.zeros((4, 4))
    assert all(square.side is None for square in squares(nothing, (1, 1), SHARES))
    assert all(square.side is None for square in published_squares(nothing, SHARES))
    assert np.isnan(deviations(nothing)).all()
    assert not logarithmic(nothing).any()


def test_published_squares_are_those_of_the_published_loop():
    """The loop of the paper's repository, written down from its description."""
    dice = np.random.default_rng(0)
    for shape in [(20, 20), (21, 25), (8, 8)]:
        values = dice.random(shape)
        middle = [size // 2 for size in shape]
        for square in published_squares(values, SHARES):
            sides = (
                2 * n + 1
                for n in range(1, shape[0] // 2)
                if values[
                    tuple(slice(max(m - n, 0), m + n + 1) for m in middle)
                ].sum() / values.sum() > square.share
            )  # fmt: skip
            assert square.side == next(sides, None)


def test_a_gaussian_is_as_wide_as_two_and_a_half_deviations_each_way():
    """exp(−r²/2σ²) falls to 4.55 % at r = 2.486 σ: a disc, whose area's root is its side."""
    places = np.arange(-60, 61)
    for sigma in (4, 9):
        line = np.exp(-(places**2) / (2 * sigma**2))
        found = np.outer(line, line)
        assert width(found, (60, 60)) == pytest.approx(2.486 * sigma * np.sqrt(np.pi), rel=0.02)
        assert deviations(found) == pytest.approx((sigma, sigma), rel=1e-6)
