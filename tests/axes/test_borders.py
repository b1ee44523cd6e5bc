"""Border against NumPy's padding of an axis that holds its own indices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.axes import Border, IndexSet
from tests.strategies import borders, index_sets

PADDING = 75
MODES = {
    Border.WRAP: "wrap",
    Border.REFLECT: "reflect",
    Border.SYMMETRIC: "symmetric",
    Border.CLAMP: "edge",
}
sizes = st.integers(1, 12)
sizes_and_samples = sizes.flatmap(
    lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1)).map(IndexSet.of))
)


def landing(border: Border, index: int, size: int) -> set[int]:
    """Where one index lands; the padding reaches far beyond the axis."""
    if border is Border.DROP:
        return {index} & set(range(size))
    padded = np.pad(np.arange(size), PADDING, mode=MODES[border])
    return {int(padded[index + PADDING])}


def test_the_words_for_borders_are_those_of_a_graphs_text():
    words = [border.value for border in Border]
    assert words == ["drop", "wrap", "reflect", "symmetric", "clamp"]


@pytest.mark.parametrize("border", Border)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_single_index_lands_where_numpy_pads_from(border, size):
    for index in range(-PADDING, size + PADDING):
        assert set(border.land(IndexSet.of([index]), size)) == landing(border, index, size)


@given(borders, index_sets, sizes)
def test_a_set_lands_where_its_members_land(border, indices, size):
    expected = {sample for index in indices for sample in landing(border, index, size)}
    assert set(border.land(indices, size)) == expected


@given(borders, sizes_and_samples, st.integers(-60, 60), st.integers(0, 80))
def test_sources_are_the_indices_that_land_on_the_samples(border, case, start, length):
    size, samples = case
    reach = range(start, min(start + length, size + PADDING))
    expected = {index for index in reach if landing(border, index, size) & set(samples)}
    assert set(border.sources(samples, size, reach)) == expected


@pytest.mark.parametrize("border", Border)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("start", [-PADDING, -3, 0, 2])
def test_every_single_sample_is_read_by_the_indices_that_land_on_it(border, size, start):
    for reach in (range(start, stop) for stop in (start, 0, size, size + PADDING)):
        for sample in range(size):
            found = border.sources(IndexSet.of([sample]), size, reach)
            assert set(found) == {i for i in reach if landing(border, i, size) == {sample}}


@given(borders, index_sets)
def test_nothing_lands_on_an_empty_axis(border, indices):
    assert not border.land(indices, 0)
    assert not border.sources(indices, 0, range(-5, 5))


@given(borders, index_sets, sizes)
def test_samples_outside_the_axis_have_no_sources_of_their_own(border, samples, size):
    reach = range(-20, 30)
    assert border.sources(samples, size, reach) == border.sources(samples.clip(size), size, reach)
