"""The samples under a position: those that share area with its cell, by intervals of fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.tile.files.calibration import OutputGrid
from fieldwise.tile.files.cells import Cells, any_under, under

HALF = Fraction(1, 2)
STEPS = st.sampled_from([Fraction(n, d) for n in (1, 2, 3, 4, 5) for d in (1, 2, 3)])
STARTS = st.integers(-6, 9).map(lambda n: Fraction(n, 4))


@given(step=STEPS, start=STARTS, position=st.integers(0, 9))
def test_they_share_more_than_a_border_with_its_cell(step, start, position):
    size = 60
    ((lo, hi),) = Cells(OutputGrid(step, start), size).spans(position, position + 1)
    place = start + step * position
    sharing = [
        sample for sample in range(-9, size + 9)
        if max(place - step / 2, sample - HALF) < min(place + step / 2, sample + HALF)
    ]  # fmt: skip
    inside = [sample for sample in sharing if 0 <= sample < size]
    assert list(range(lo, hi)) == (inside or [0])


@given(
    steps=st.tuples(STEPS, STEPS), starts=st.tuples(STARTS, STARTS),
    box=st.tuples(*[st.tuples(st.integers(0, 5), st.integers(1, 5))] * 2), seed=st.integers(0, 9),
)  # fmt: skip
def test_a_position_is_marked_where_a_sample_under_it_is(steps, starts, box, seed):
    marked = np.random.default_rng(seed).random((30, 25)) > 0.7
    cells = [
        Cells(OutputGrid(step, start), size)
        for step, start, size in zip(steps, starts, marked.shape, strict=True)
    ]
    box = [(lo, lo + n) for lo, n in box]
    region = tuple(slice(*ends) for ends in under(cells, box))
    found = any_under(cells, box, marked[region])
    for y, rows in enumerate(cells[0].spans(*box[0])):
        for x, columns in enumerate(cells[1].spans(*box[1])):
            assert found[y, x] == marked[slice(*rows), slice(*columns)].any()
