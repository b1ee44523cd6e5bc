"""Region against sets of index tuples."""

from __future__ import annotations

import random
from itertools import combinations, pairwise, permutations, product
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.axes import IndexSet, Region
from fieldwise.axes.region import groups_of
from tests.strategies import regions, shapes

one_region = shapes.flatmap(lambda shape: st.tuples(st.just(shape), regions(shape)))
two_regions = shapes.flatmap(lambda shape: st.tuples(regions(shape), regions(shape)))


def members(region: Region) -> set[tuple[int, ...]]:
    return {index for sides in region.products for index in product(*sides)}


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], Region]:
    """A region, its shape, and another shape of as many elements, ones included."""
    factors = draw(st.lists(st.sampled_from([1, 1, 2, 2, 3]), max_size=5))

    def grouped() -> tuple[int, ...]:
        cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=3)))
        bounds = [0, *cuts, len(factors)]
        return tuple(prod(factors[a:b]) for a, b in pairwise(bounds))

    before = grouped()
    factors = draw(st.permutations(factors))
    return before, grouped(), draw(regions(before))


@given(shapes.flatmap(lambda shape: st.lists(regions(shape), max_size=3)))
def test_of_keeps_every_member_of_every_product(parts):
    every = [sides for part in parts for sides in part.products]
    assert members(Region.of(every)) == {index for part in parts for index in members(part)}


@given(one_region)
def test_the_products_are_an_antichain_without_mergeable_pairs(case):
    _, region = case
    for one, two in combinations(region.products, 2):
        assert not all(a.issubset(b) for a, b in zip(one, two, strict=True))
        assert not all(b.issubset(a) for a, b in zip(one, two, strict=True))
        assert sum(a != b for a, b in zip(one, two, strict=True)) > 1
    assert all(all(sides) for sides in region.products)


@given(two_regions)
def test_union_intersection_and_order_are_those_of_sets(pair):
    one, two = pair
    left, right = members(one), members(two)
    assert members(one | two) == left | right
    assert members(one & two) == left & right
    assert one.issubset(two) == (left <= right)
    assert (one & two).issubset(one)
    assert one.issubset(one | two)


@given(one_region)
def test_count_is_the_number_of_members(case):
    _, region = case
    assert region.count == len(members(region))
    assert bool(region) == bool(members(region))


@given(one_region)
def test_disjoint_products_share_nothing_and_miss_nothing(case):
    _, region = case
    pieces = [set(product(*sides)) for sides in region.disjoint()]
    assert sum(map(len, pieces)) == len(set().union(*pieces))
    assert set().union(*pieces) == members(region)


@given(one_region)
def test_the_hull_holds_the_indices_of_each_dimension(case):
    shape, region = case
    if not region:
        with pytest.raises(ValueError, match="An empty Region has no hull"):
            region.hull()
        return
    for dim in range(len(shape)):
        assert set(region.hull()[dim]) == {index[dim] for index in members(region)}


@given(one_region, st.data())
def test_project_forgets_dimensions_and_reorders_the_rest(case, data):
    shape, region = case
    dims = data.draw(st.permutations(range(len(shape))))
    dims = dims[: data.draw(st.integers(0, len(dims)))]
    expected = {tuple(index[dim] for dim in dims) for index in members(region)}
    assert members(region.project(dims)) == expected


@given(shapes)
def test_the_whole_of_a_shape_is_every_index(shape):
    assert members(Region.whole(shape)) == set(np.ndindex(*shape))


def test_the_whole_of_a_scalar_is_one_element():
    assert Region.whole(()).count == 1
    assert Region.whole((3, 0)).count == 0


@given(reshapes())
def test_reshape_addresses_the_same_elements(case):
    before, after, region = case
    flat = {int(np.ravel_multi_index(index, before)) for index in members(region)}
    expected = {tuple(map(int, np.unravel_index(at, after))) for at in flat}
    assert members(region.reshape(before, after)) == expected


@given(reshapes())
def test_reshaping_there_and_back_loses_nothing(case):
    before, after, region = case
    there_and_back = region.reshape(before, after).reshape(after, before)
    assert members(there_and_back) == members(region)


@given(reshapes())
def test_groups_cover_both_shapes_with_equal_products(case):
    before, after, _ = case
    groups = groups_of(before, after)
    assert [dim for old, _ in groups for dim in old] == list(range(len(before)))
    assert [dim for _, new in groups for dim in new] == list(range(len(after)))
    for old, new in groups:
        assert prod(before[dim] for dim in old) == prod(after[dim] for dim in new)


def test_shapes_of_different_sizes_have_no_groups():
    with pytest.raises(ValueError, match=r"Shapes \(2, 3\) and \(5,\) differ"):
        groups_of((2, 3), (5,))


@pytest.mark.parametrize(("before", "after"), [((0, 3), (3, 0)), ((2, 0), (0,)), ((0,), (4, 0, 2))])
def test_shapes_without_elements_reshape_to_nothing(before, after):
    assert Region.whole(before).reshape(before, after) == Region()


def test_a_cross_is_two_products_and_keeps_its_corners_out():
    line, dot = IndexSet.range(0, 7), IndexSet.of([3])
    cross = Region.of([(dot, line), (line, dot)])
    assert len(cross.products) == 2
    assert cross.count == 13
    assert (0, 0) not in members(cross)


def test_many_products_are_reduced_as_few_are():
    """Beyond 64 products covers and joins are looked up: the same union, as an antichain."""
    dice = random.Random(0)
    for width in (1, 3, 9):
        products = [
            tuple(
                IndexSet.of(dice.sample(range(12), dice.randint(1, width if dim else 2)))
                for dim in range(3)
            )
            for _ in range(200)
        ]
        region = Region.of(products)
        wanted = {index for one in products for index in product(*one)}
        assert {i for p in region.products for i in product(*p)} == wanted
        for one, two in permutations(region.products, 2):
            assert not all(a.issubset(b) for a, b in zip(one, two, strict=True))
            assert sum(a != b for a, b in zip(one, two, strict=True)) != 1
