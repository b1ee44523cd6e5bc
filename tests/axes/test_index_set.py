"""IndexSet against Python's sets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.axes import EMPTY, IndexSet
from tests.strategies import index_sets, integers, large_index_sets, some_index_sets

any_sets = index_sets | large_index_sets()


@given(st.sets(integers))
def test_a_set_holds_what_it_was_made_of(members):
    indices = IndexSet.of(members)
    assert list(indices) == sorted(members)
    assert indices.count == len(indices) == len(members)
    assert bool(indices) == bool(members)
    assert all((index in indices) == (index in members) for index in range(-70, 70))


@given(large_index_sets())
def test_a_large_set_survives_the_round_trip(indices):
    assert IndexSet.of(list(indices)) == indices
    assert list(indices) == sorted(set(indices))


@given(integers, integers, st.integers(1, 9))
def test_range_holds_what_pythons_range_holds(start, stop, step):
    assert list(IndexSet.range(start, stop, step)) == list(range(start, stop, step))


@given(st.integers(-40, 40), st.integers(0, 1 << 40), st.integers(0, 8))
def test_sets_with_equal_members_are_equal_and_hash_equal(base, bits, zeros):
    one, two = IndexSet(base, bits << zeros), IndexSet(base + zeros, bits)
    assert one == two
    assert hash(one) == hash(two)


@given(index_sets, index_sets)
def test_sets_with_different_members_are_unequal(one, two):
    assert (one == two) == (set(one) == set(two))


@given(some_index_sets)
def test_first_last_extent_and_holes_are_those_of_the_members(indices):
    members = set(indices)
    assert (indices.first, indices.last) == (min(members), max(members))
    span = set(range(min(members), max(members) + 1))
    assert indices.extent == len(span)
    assert set(indices.holes) == span - members
    assert indices.is_contiguous == (span == members)


@pytest.mark.parametrize("end", ["first", "last"])
def test_the_empty_set_has_no_ends_and_says_so(end):
    with pytest.raises(ValueError, match=f"An empty IndexSet has no {end} index."):
        getattr(EMPTY, end)


def test_the_empty_set_is_contiguous_and_has_no_holes():
    assert EMPTY.is_contiguous
    assert (EMPTY.extent, EMPTY.count, EMPTY.holes) == (0, 0, EMPTY)


def test_negative_bits_and_steps_that_do_not_advance_are_refused():
    with pytest.raises(ValueError, match="non-negative"):
        IndexSet(0, -1)
    with pytest.raises(ValueError, match="positive, got 0"):
        IndexSet.range(0, 4, 0)


@given(any_sets)
def test_runs_are_maximal_ordered_and_cover_the_set(indices):
    runs = list(indices.runs())
    assert [i for start, stop in runs for i in range(start, stop)] == list(indices)
    assert all(start < stop for start, stop in runs)
    assert all(left[1] < right[0] for left, right in pairwise(runs))


@given(any_sets, any_sets)
def test_the_set_algebra_is_that_of_sets(one, two):
    left, right = set(one), set(two)
    assert set(one | two) == left | right
    assert set(one & two) == left & right
    assert set(one - two) == left - right
    assert one.issubset(two) == left.issubset(right)
    assert one.isdisjoint(two) == left.isdisjoint(right)


@given(any_sets, st.data())
def test_a_part_of_a_set_is_a_subset_of_it(indices, data):
    part = IndexSet.of(data.draw(st.sets(st.sampled_from(list(indices) or [0]))) & set(indices))
    assert part.issubset(indices)
    assert (part | indices) == indices


@given(any_sets, integers)
def test_shift_translates_every_member(indices, by):
    assert set(indices.shift(by)) == {index + by for index in indices}


@given(any_sets, st.integers(-6, 6))
def test_scale_multiplies_every_member(indices, factor):
    assert set(indices.scale(factor)) == {factor * index for index in indices}


@given(any_sets, st.integers(1, 7), integers)
def test_quotients_undo_scale_and_shift(indices, step, remainder):
    expected = {(i - remainder) // step for i in indices if (i - remainder) % step == 0}
    assert set(indices.quotients(step, remainder)) == expected


@given(any_sets, st.integers(1, 20), st.integers(0, 90))
def test_dealt_sets_are_quotients_and_interleave_to_what_they_were(indices, step, size):
    parts = indices.dealt(step)
    assert parts == tuple(indices.quotients(step, remainder) for remainder in range(step))
    assert IndexSet.interleaved(parts, size) == indices.clip(size)


@given(index_sets, integers, st.integers(0, 9), st.integers(1, 9), st.integers(1, 4))
def test_minkowski_with_a_comb_holds_every_sum(indices, start, count, gap, width):
    comb = IndexSet.of(start + k * (width + gap) + w for k in range(count) for w in range(width))
    sums = {one + two for one in indices for two in comb}
    assert set(indices.minkowski(comb)) == set(comb.minkowski(indices)) == sums


@given(any_sets, index_sets)
def test_minkowski_holds_every_sum(one, two):
    sums = {a + b for a in one for b in two}
    assert set(one.minkowski(two)) == sums
    assert one.minkowski(two) == two.minkowski(one)


@given(index_sets, st.integers(0, 60))
def test_clip_keeps_what_lies_in_the_operand(indices, size):
    assert set(indices.clip(size)) == {index for index in indices if 0 <= index < size}


@given(any_sets, st.integers(1, 30))
def test_modulo_wraps_every_member(indices, size):
    assert set(indices.modulo(size)) == {index % size for index in indices}


@given(st.lists(st.sampled_from([0, 1, 5, 63, 64, 70, 200]), min_size=1))
def test_numpy_integers_are_as_good_as_pythons(members):
    indices = IndexSet.of(np.array(members))
    assert indices == IndexSet.of(members)
    assert type(indices.base) is int
    assert all(index in indices for index in np.array(members))


@pytest.mark.parametrize("other", [None, "0", 0.0, (0,)])
def test_what_is_no_integer_is_in_no_set(other):
    assert other not in IndexSet.range(-1, 2)


def test_the_print_names_runs_and_single_indices():
    assert repr(IndexSet.of([-4, 0, 1, 2, 9])) == "IndexSet{-4, 0..2, 9}"
    assert repr(EMPTY) == "IndexSet{}"
