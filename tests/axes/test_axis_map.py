"""AxisMap against its definition, written out index by index."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.axes.axis_map import IDENTITY
from tests.strategies import axis_maps, index_sets, integers, pairs_of_equal_rate, windows

SPAN = range(-40, 40)
"""Longer than twice any common period that the strategies can draw."""


def rows(axis_map: AxisMap) -> list[set[int]]:
    return [set(axis_map(index)) for index in SPAN]


@given(st.integers(-4, 4), st.lists(index_sets, min_size=1, max_size=6), integers)
def test_a_map_reads_what_its_definition_says(advance, offsets, index):
    quotient, phase = divmod(index, len(offsets))
    expected = {quotient * advance + offset for offset in offsets[phase]}
    assert set(AxisMap(advance, tuple(offsets))(index)) == expected


def test_a_map_without_offset_sets_is_refused():
    with pytest.raises(ValueError, match="at least one offset set"):
        AxisMap(1, ())


# -------------------------------------------------------------------- canonical form


@given(axis_maps(), st.integers(1, 4))
def test_a_map_written_with_a_longer_period_is_the_same_map(axis_map, turns):
    longer = AxisMap(axis_map.advance * turns, axis_map.phases(axis_map.period * turns))
    assert longer == axis_map
    assert hash(longer) == hash(axis_map)
    assert longer.period == axis_map.period


@given(axis_maps(), axis_maps())
def test_maps_are_equal_exactly_when_they_read_the_same(one, two):
    assert (one == two) == (rows(one) == rows(two))


@given(axis_maps(max_period=6))
def test_no_period_smaller_than_the_one_kept_would_do(axis_map):
    for period in range(1, axis_map.period):
        steps = {
            axis_map(i + period).first - axis_map(i).first
            for i in SPAN
            if axis_map(i) and axis_map(i + period)
        }
        assert not any(
            all(axis_map(i + period) == axis_map(i).shift(step) for i in SPAN) for step in steps
        )


@pytest.mark.parametrize("advance", [-2, 1, 2])
def test_maps_that_read_nothing_anywhere_are_one_map(advance):
    nothing = AxisMap(advance, (IndexSet(),))
    assert nothing == AxisMap.constant(IndexSet())
    assert nothing.start is None
    assert (nothing.extent, nothing.count) == (0, 0)


@given(axis_maps())
def test_the_properties_are_those_of_the_rows(axis_map):
    read = [axis_map(index) for index in SPAN]
    assert axis_map.extent == max(row.extent for row in read)
    assert axis_map.count == max(row.count for row in read)
    assert axis_map.is_single == all(row.count <= 1 for row in read)
    assert axis_map.is_identity == all(set(row) == {i} for i, row in zip(SPAN, read, strict=True))
    assert axis_map.start == (axis_map(0).first if axis_map(0) else None)
    assert axis_map.rate == Fraction(axis_map.advance, axis_map.period)


# -------------------------------------------------------------------- constructors


@given(windows(), integers)
def test_window_reads_the_taps_of_a_convolution(geometry, index):
    k, s, d, p = geometry.values()
    expected = {index * s + tap * d - p for tap in range(k)}
    assert set(AxisMap.window(k, stride=s, dilation=d, padding=p)(index)) == expected


@given(windows())
def test_transposed_reads_what_a_scatter_loop_writes(geometry):
    k, s, d, p = geometry.values()
    axis_map = AxisMap.transposed(k, stride=s, dilation=d, padding=p)
    inputs = range(-60, 60)
    read: dict[int, set[int]] = {}
    for index in inputs:
        for tap in range(k):
            read.setdefault(index * s + tap * d - p, set()).add(index)
    assert all(set(axis_map(output)) == read.get(output, set()) for output in range(-20, 20))


@given(st.integers(-4, 4), integers, integers)
def test_affine_reads_one_index(step, start, index):
    assert set(AxisMap.affine(step, start)(index)) == {step * index + start}


@given(index_sets, integers)
def test_constant_reads_the_same_everywhere(indices, index):
    assert AxisMap.constant(indices)(index) == indices


# -------------------------------------------------------------------- algebra


def composed(outer: AxisMap, inner: AxisMap, index: int) -> set[int]:
    return {far for near in outer(index) for far in inner(near)}


@given(axis_maps(), axis_maps())
def test_then_reads_through_both_maps(outer, inner):
    both = outer.then(inner)
    assert rows(both) == [composed(outer, inner, index) for index in SPAN]


@given(axis_maps(), st.sets(st.integers(-50, 50), min_size=33), axis_maps())
def test_then_reads_through_wide_maps(outer, wide, inner):
    outer = AxisMap(outer.advance, (*outer.offsets, IndexSet.of(wide)))
    both = outer.then(inner)
    assert all(set(both(i)) == composed(outer, inner, i) for i in range(-8, 8))


@given(axis_maps(max_period=3), axis_maps(max_period=3), axis_maps(max_period=3))
def test_then_is_associative_with_the_identity_as_its_unit(one, two, three):
    assert one.then(two).then(three) == one.then(two.then(three))
    assert one.then(IDENTITY) == IDENTITY.then(one) == one


@given(pairs_of_equal_rate())
def test_union_reads_what_either_map_reads(pair):
    one, two = pair
    both = one.union(two)
    assert both is not None
    assert rows(both) == [a | b for a, b in zip(rows(one), rows(two), strict=True)]
    assert both == two.union(one)


@given(axis_maps(), axis_maps())
def test_union_is_none_exactly_where_the_rates_of_two_maps_differ(one, two):
    assume(any(one.offsets) and any(two.offsets))
    assert (one.union(two) is None) == (one.rate != two.rate)


@given(axis_maps())
def test_a_map_that_reads_nothing_adds_nothing_to_a_union(axis_map):
    nothing = AxisMap.constant(IndexSet())
    assert axis_map.union(nothing) == nothing.union(axis_map) == axis_map


@given(pairs_of_equal_rate() | st.tuples(axis_maps(), axis_maps()))
def test_covers_says_whether_every_row_is_a_subset(pair):
    one, two = pair
    # Maps of different rates drift apart: far enough out, no row covers a non-empty one.
    far = range(-400, 400)
    assert one.covers(two) == all(set(two(i)) <= set(one(i)) for i in far)


@given(pairs_of_equal_rate())
def test_a_union_covers_its_parts(pair):
    one, two = pair
    both = one.union(two)
    assert both is not None
    assert both.covers(one)
    assert both.covers(two)


@given(axis_maps(), index_sets)
def test_pull_gathers_the_rows(axis_map, outputs):
    assert set(axis_map.pull(outputs)) == {i for output in outputs for i in axis_map(output)}


@given(axis_maps(), index_sets, st.integers(0, 30))
def test_push_finds_the_rows_that_touch(axis_map, inputs, size):
    expected = {i for i in range(size) if set(axis_map(i)) & set(inputs)}
    assert set(axis_map.push(inputs, size)) == expected


@given(axis_maps(), st.integers(0, 12))
def test_reach_spans_everything_read(axis_map, size):
    read = {i for output in range(size) for i in axis_map(output)}
    assert axis_map.reach(size) == (range(min(read), max(read) + 1) if read else range(0))


def test_two_neighbours_are_not_a_single_index():
    assert not AxisMap.window(2).is_single
    assert not AxisMap(1, (IndexSet.of([0]), IndexSet.of([0, 1]))).is_single
    assert AxisMap(1, (IndexSet.of([0]), IndexSet())).is_single


# -------------------------------------------------------------------- the closed form


@given(st.lists(windows(), min_size=1, max_size=8))
def test_a_plain_chain_has_the_closed_form_of_araujo_et_al(layers):
    """Distill 2019, Eqs. 2 and 5, with k replaced by d·(k − 1) + 1."""
    chain, extent, stride, start = IDENTITY, 1, 1, 0
    for layer in layers:
        chain = AxisMap.window(**layer).then(chain)
        extent += layer["dilation"] * (layer["kernel_size"] - 1) * stride
        start -= layer["padding"] * stride
        stride *= layer["stride"]
    assert (chain.extent, chain.start) == (extent, start)
    assert (chain.rate, chain.period) == (stride, 1)


def test_ten_strided_layers_have_numbers_beyond_sixty_four_bits():
    chain = IDENTITY
    for _ in range(10):
        chain = AxisMap.window(1, stride=100, padding=1).then(chain)
    assert chain.rate == 100**10
    assert chain(10**9) == IndexSet.of([10**29 - sum(100**n for n in range(10))])


@pytest.mark.parametrize(
    ("axis_map", "text"),
    [
        (IDENTITY, "i -> 1i+{0}"),
        (AxisMap.window(3, stride=2, padding=1), "i -> 2i+{-1..1}"),
        (AxisMap.transposed(3, stride=2), "2q+r -> 1q+{-1..0} | {0}"),
    ],
)
def test_the_print_is_the_definition(axis_map, text):
    assert str(axis_map) == text


def phases(count: int) -> AxisMap:
    """Phase r of so many reads index r², so that no shorter period exists."""
    return AxisMap(count * count, tuple(IndexSet.of([r * r]) for r in range(count)))


@pytest.mark.parametrize(
    "axis_map", [IDENTITY, AxisMap.window(3, stride=2), AxisMap.transposed(3, stride=2)]
)
def test_the_repr_is_the_construction(axis_map):
    sets = ", ".join(map(repr, axis_map.offsets)) + ("," if axis_map.period == 1 else "")
    assert repr(axis_map) == f"AxisMap(advance={axis_map.advance}, offsets=({sets}))"


@pytest.mark.parametrize(("count", "left_out"), [(31, False), (32, False), (33, True)])
def test_of_more_than_32_phases_the_prints_show_the_first_and_how_many_there_are(count, left_out):
    one = phases(count)
    shown = [f"{{{r * r}}}" for r in range(min(count, 32))]
    text = f"{count}q+r -> {count * count}q+{' | '.join(shown)}"
    assert str(one) == text + (f" | … {count} phases" if left_out else "")
    sets = ", ".join(f"IndexSet{each}" for each in shown)
    text = f"AxisMap(advance={count * count}, offsets=({sets}"
    assert repr(one) == text + (f", … {count} phases))" if left_out else "))")


def test_a_u_net_has_the_period_of_its_deepest_map():
    """Down by max-pool 2 four times, up by transposed convolution 2 four times."""
    down = [AxisMap.window(3, padding=1), AxisMap.window(2, stride=2)] * 4
    up = [AxisMap.transposed(2, stride=2), AxisMap.window(3, padding=1)] * 4
    chain = IDENTITY
    for layer in [*down, *up]:
        chain = layer.then(chain)
    assert (chain.rate, chain.period) == (1, 16)
    assert all(a.first <= b.first for a, b in pairwise(map(chain, range(32))))
