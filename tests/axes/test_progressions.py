"""Rows as few regular maps, against the rows themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.axes import AxisMap, IndexSet, Tailed, since, until
from fieldwise.axes.progressions import progressions
from fieldwise.testing.strategies import axis_maps
from tests.strategies import index_sets

COUNT = 24


def reads(laws, output, size):
    read = [law(output) for law, outputs in laws if output in outputs]
    finite = [one.clip(size) if isinstance(one, Tailed) else one for one in read]
    return set().union(*finite)


@given(st.dictionaries(st.integers(0, 9), index_sets, max_size=8))
def test_the_maps_read_what_the_rows_hold(rows):
    rows = {output: rows[output].clip(16) for output in sorted(rows)}
    laws = progressions(rows, 16)
    for output in rows if laws is not None else ():
        assert reads(laws, output, 16) == set(rows[output])
    assert all(outputs.issubset(IndexSet.of(rows)) for _, outputs in laws or ())


@given(axis_maps(max_period=4))
def test_the_rows_of_a_regular_map_are_that_map_again(index):
    rows = {output: index(output) for output in range(COUNT)}
    laws = progressions(rows, 1000)
    if laws is None:  # maps that stay, or read nothing, or have phases of several kinds
        assert index.advance == 0 or not all(index.offsets)
    elif len(laws) == 1:
        assert laws[0] == (index, IndexSet.range(0, COUNT))


@given(st.integers(1, 4), st.sampled_from([1, -1]), st.integers(-2, 2))
def test_what_is_carried_on_from_row_to_row_is_all_of_the_past_or_of_the_future(step, way, start):
    size = step * COUNT
    tail = until(start) if way > 0 else since(start)
    law = AxisMap(step, (tail.scale(step),))
    rows = {output: law(output).clip(size) for output in range(COUNT)}
    assert progressions(rows, size) == [(law, IndexSet.range(0, COUNT))]


def test_a_state_that_runs_backwards_over_rows_in_reverse_never_ends_either():
    rows = {output: IndexSet.range(9 - output, 10) for output in range(10)}
    assert progressions(rows, 10) == [(AxisMap(-1, (since(9),)), IndexSet.range(0, 10))]


def test_three_rows_that_grow_may_be_a_window_that_looks_beyond_the_border():
    assert progressions({t: IndexSet.range(0, t + 1) for t in range(3)}, 3) is None


@pytest.mark.parametrize(
    "rows",
    [
        {},
        {3: IndexSet.of([5])},
        {0: IndexSet.of([0]), 1: IndexSet.of([7]), 2: IndexSet.of([1]), 3: IndexSet.of([3])},
        {t: IndexSet.of([4]) for t in range(9)},
    ],
)
def test_rows_that_follow_nothing_are_no_progression(rows):
    assert progressions(rows, 16) is None
