"""The axis algebra against the integer set library, which decides the same over all of ℤ."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from operator import and_, or_

import islpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwise.axes import AxisMap, Border, IndexSet, Region
from fieldwise.axes.digits import subindex, substituted, summed_out
from fieldwise.axes.lattice import Lattice
from fieldwise.axes.tailed import issubset, minkowski, tailed
from tests.axes import isl
from tests.strategies import (
    axis_maps,
    borders,
    index_sets,
    integers,
    pairs_of_equal_rate,
    regions,
    shapes,
)

SMALL = range(-3, 4)
"""Advances of the small scope; its periods are 1 to 3 and its offsets −2 to 2."""

twofold = settings(max_examples=2 * settings().max_examples)


def subsets(most: int) -> list[IndexSet]:
    """All sets of at most so many offsets from −2 to 2."""
    return [
        IndexSet.of(chosen)
        for count in range(most + 1)
        for chosen in combinations(range(-2, 3), count)
    ]


def single_reads() -> Iterator[AxisMap]:
    """Every map of the small scope in which one phase reads one index and the others nothing.

    Every map of the scope is a union of such, and composition distributes over unions.
    """
    for period in (1, 2, 3):
        for phase, advance, offset in product(range(period), SMALL, range(-2, 3)):
            sets = [IndexSet.of([offset]) if k == phase else IndexSet() for k in range(period)]
            yield AxisMap(advance, tuple(sets))


# -------------------------------------------------------------------- composition


def test_all_compositions_of_single_reads_in_the_small_scope_are_those_of_isl():
    maps = [(one, isl.of(one)) for one in single_reads()]
    assert len(maps) == 210
    for (outer, outer_isl), (inner, inner_isl) in product(maps, repeat=2):
        composed = isl.of(outer.then(inner))
        assert composed.is_equal(outer_isl.apply_range(inner_isl)), (str(outer), str(inner))


@twofold
@given(axis_maps(max_period=5), axis_maps(max_period=5))
def test_composition_is_that_of_isl(outer, inner):
    composed = outer.then(inner)
    expected = isl.of(outer).apply_range(isl.of(inner))
    assert isl.equal(isl.of(composed), expected, composed.period)


@given(st.lists(axis_maps(max_period=3), min_size=3, max_size=5))
def test_a_chain_of_maps_is_that_of_isl(chain):
    composed, relation = chain[0], isl.of(chain[0])
    for one in chain[1:]:
        composed, relation = composed.then(one), relation.apply_range(isl.of(one))
    assert isl.equal(isl.of(composed), relation, composed.period)


# -------------------------------------------------------------------- canonical form


def check_period(advance: int, offsets: tuple[IndexSet, ...]) -> None:
    """The map is the written relation, and isl knows no smaller period of it."""
    written, kept = isl.axis_map(advance, offsets), AxisMap(advance, offsets)
    assert isl.of(kept).is_equal(written), (advance, offsets)
    for period in range(1, kept.period):
        step, rest = divmod(kept.advance * period, kept.period)
        assert rest or not isl.repeats(written, step, period), (advance, offsets, period)


def all_maps(most: int) -> Iterator[tuple[int, tuple[IndexSet, ...]]]:
    """Advances and offset sets of the small scope, each set with at most so many members."""
    for period in (1, 2, 3):
        yield from product(SMALL, product(subsets(most), repeat=period))


def test_the_least_period_in_the_small_scope_is_that_of_isl():
    for advance, offsets in all_maps(1):
        check_period(advance, offsets)


@pytest.mark.slow
def test_the_least_period_of_every_map_in_the_small_scope_is_that_of_isl():
    for advance, offsets in all_maps(5):
        check_period(advance, offsets)


@given(axis_maps(max_period=6), st.integers(1, 3))
def test_the_least_period_is_that_of_isl(one, turns):
    check_period(one.advance * turns, one.phases(one.period * turns))


@twofold
@given(axis_maps(), axis_maps())
def test_maps_are_equal_exactly_when_isl_says_so(one, two):
    assert (one == two) == isl.of(one).is_equal(isl.of(two))


# -------------------------------------------------------------------- union and order


@twofold
@given(pairs_of_equal_rate())
def test_union_at_equal_rates_is_that_of_isl(pair):
    one, two = pair
    union = one.union(two)
    assert union is not None
    assert isl.of(union).is_equal(isl.of(one).union(isl.of(two)))


@twofold
@given(st.one_of(st.tuples(axis_maps(), axis_maps()), pairs_of_equal_rate()))
def test_covers_is_inclusion_in_isl(pair):
    one, two = pair
    assert one.covers(two) == isl.of(two).is_subset(isl.of(one))


@given(axis_maps(), axis_maps())
def test_where_union_gives_none_no_period_of_isl_exists(one, two):
    if one.union(two) is None:
        both = isl.of(one).union(isl.of(two))
        for period in range(1, 13):
            for rate in (one.rate, two.rate):
                if (rate * period).denominator == 1:
                    assert not isl.repeats(both, int(rate * period), period)


# -------------------------------------------------------------------- pull and push


@twofold
@given(axis_maps(max_period=5), index_sets)
def test_pull_is_the_image_in_isl(one, outputs):
    image = isl.index_set(outputs).apply(isl.of(one))
    assert isl.index_set(one.pull(outputs)).is_equal(image)


@twofold
@given(axis_maps(max_period=5), index_sets, st.integers(0, 30))
def test_push_is_the_preimage_in_isl(one, inputs, size):
    preimage = isl.index_set(inputs).apply(isl.of(one).reverse())
    known = islpy.Set(f"{{ [i] : 0 <= i < {size} }}")
    assert isl.index_set(one.push(inputs, size)).is_equal(preimage.intersect(known))


@given(index_sets, index_sets, st.integers(-4, 4), st.integers(1, 6), integers)
def test_set_arithmetic_is_that_of_isl(one, two, factor, step, remainder):
    a, b = isl.index_set(one), isl.index_set(two)
    add = islpy.Map("{ [a, b] -> [a + b] }")
    assert isl.index_set(one | two).is_equal(a.union(b))
    assert isl.index_set(one & two).is_equal(a.intersect(b))
    assert isl.index_set(one - two).is_equal(a.subtract(b))
    assert isl.index_set(one.minkowski(two)).is_equal(a.flat_product(b).apply(add))
    for ours, formula in [
        (one.scale(factor), f"{{ [i] -> [{factor} i] }}"),
        (one.quotients(step, remainder), f"{{ [i] -> [q] : i = {step} q + {remainder} }}"),
        (one.modulo(step), f"{{ [i] -> [m] : exists q : i = {step} q + m and 0 <= m < {step} }}"),
    ]:
        assert isl.index_set(ours).is_equal(a.apply(islpy.Map(formula)))


# -------------------------------------------------------------------- borders and lattices


@pytest.mark.parametrize("kind", Border)
@pytest.mark.parametrize("size", range(1, 7))
def test_a_border_lands_each_index_where_isl_does(kind, size):
    relation = isl.border(kind, size)
    for index in range(-3 * size - 4, 4 * size + 4):
        one = IndexSet.of([index])
        image = isl.index_set(one).apply(relation)
        assert isl.index_set(kind.land(one, size)).is_equal(image), index


@given(borders, st.integers(1, 9), index_sets, index_sets, st.integers(-20, 20), st.integers(0, 40))
def test_borders_are_those_of_isl(kind, size, indices, samples, start, length):
    relation, reach = isl.border(kind, size), range(start, start + length)
    landed = isl.index_set(indices).apply(relation)
    assert isl.index_set(kind.land(indices, size)).is_equal(landed)
    sources = isl.index_set(samples).apply(relation.reverse())
    window = isl.index_set(IndexSet.range(reach.start, reach.stop))
    found = isl.index_set(kind.sources(samples, size, reach))
    assert found.is_equal(sources.intersect(window))


@given(axis_maps())
def test_what_all_units_read_together_is_the_range_in_isl(one):
    assert isl.any_set(one.swept()).is_equal(isl.of(one).range())


lattices = st.builds(
    lambda modulus, residues: Lattice(modulus, residues.modulo(modulus)),
    st.integers(1, 12),
    index_sets,
)
few_residues = st.builds(
    lambda modulus, residues: Lattice(modulus, residues.modulo(modulus)),
    st.integers(1, 6),
    index_sets,
)
any_sets = st.builds(
    lambda left, low, window, size, right: tailed(
        left, low, window.between(low, low + size), low + size, right
    ),
    few_residues,
    st.integers(-8, 8),
    index_sets,
    st.integers(0, 12),
    few_residues,
)


@given(lattices, lattices, st.integers(-20, 20), st.integers(0, 40))
def test_lattices_are_sets_of_isl(one, two, low, size):
    mine, theirs = isl.lattice(one), isl.lattice(two)
    for how, wanted in ((or_, mine.union(theirs)), (and_, mine.intersect(theirs))):
        assert isl.lattice(one.combined(two, how)).is_equal(wanted)
    assert isl.lattice(one.plus(two)).is_equal(isl.sums(mine, theirs))
    inside = islpy.Set(f"{{ [i] : {low} <= i < {low + size} }}")
    assert isl.index_set(one.between(low, low + size)).is_equal(mine.intersect(inside))


@given(any_sets, any_sets, st.integers(-9, 9), st.integers(1, 5))
def test_sets_that_never_end_are_sets_of_isl(one, two, by, step):
    mine, theirs = isl.any_set(one), isl.any_set(two)
    assert isl.any_set(one | two).is_equal(mine.union(theirs))
    assert isl.any_set(one & two).is_equal(mine.intersect(theirs))
    assert isl.any_set(one - two).is_equal(mine.subtract(theirs))
    assert issubset(one, two) == mine.is_subset(theirs)
    assert (one == two) == mine.is_equal(theirs)
    assert isl.any_set(one.shift(by)).is_equal(mine.apply(isl.affine(1, by)))
    assert isl.any_set(one.scale(by)).is_equal(mine.apply(isl.affine(by, 0)))
    assert isl.any_set(one.quotients(step, by)).is_equal(mine.apply(isl.affine(step, by).reverse()))
    assert isl.any_set(minkowski(one, two)).is_equal(isl.sums(mine, theirs))


# -------------------------------------------------------------------- digits


def names(rank: int) -> list[str]:
    return [f"d{dim}" for dim in range(rank)]


def written(terms: list[str]) -> str:
    return f"[{', '.join(terms)}]"


def number(sizes: tuple[int, ...]) -> islpy.Map:
    """{ digits → the index that they write }; the leading digit has no bound."""
    place = "0"
    for name, size in zip(names(len(sizes)), sizes, strict=True):
        place = f"{size} * ({place}) + {name}"
    bounds = [f"0 <= d{k} < {size}" for k, size in enumerate(sizes) if k]
    return islpy.Map(
        f"{{ {written(names(len(sizes)))} -> [{place}] : {' and '.join(bounds) or '1 = 1'} }}"
    )


digit_sizes = st.lists(st.integers(1, 4), min_size=2, max_size=3).map(tuple)


@given(digit_sizes, st.data())
def test_the_index_over_kept_digits_is_that_of_isl(sizes, data):
    positions = st.sampled_from(range(len(sizes)))
    keep = tuple(sorted(data.draw(st.sets(positions, min_size=1))))
    kept = islpy.Map(f"{{ {written(names(len(sizes)))} -> {written([f'd{k}' for k in keep])} }}")
    over = number(tuple(sizes[k] for k in keep))
    expected = number(sizes).reverse().apply_range(kept).apply_range(over)
    found = subindex(sizes, keep)
    assert isl.equal(isl.of(found), expected, found.period)


@given(digit_sizes, index_sets, st.data())
def test_a_digit_read_at_all_its_values_is_summed_out_as_in_isl(sizes, values, data):
    position = data.draw(st.integers(1, len(sizes) - 1))
    values = data.draw(st.sampled_from([None, values.modulo(sizes[position])]))
    others = sizes[:position] + sizes[position + 1 :]
    terms = names(len(others))
    terms.insert(position, "v")
    known = IndexSet.range(0, sizes[position]) if values is None else values
    inserted = islpy.Map(
        f"{{ {written(names(len(others)))} -> {written(terms)} : {isl.among('v', known)} }}"
    )
    expected = number(others).reverse().apply_range(inserted).apply_range(number(sizes))
    found = summed_out(sizes, position, values)
    assert isl.equal(isl.of(found), expected, found.period)


@given(digit_sizes, axis_maps(max_period=3), borders, st.integers(1, 5), st.data())
def test_a_digit_read_through_a_map_is_substituted_as_in_isl(sizes, index, kind, after, data):
    position = data.draw(st.integers(0, len(sizes) - 1))
    found, sized = substituted(sizes, position, index, kind, after, None)
    assert not sized
    read = isl.of(index)
    if position:
        read = read.apply_range(isl.border(kind, sizes[position]))
    before = (*sizes[:position], after, *sizes[position + 1 :])
    expected = number(before).reverse().apply_range(in_place(read, len(sizes), position))
    assert isl.equal(isl.of(found), expected.apply_range(number(sizes)), found.period)


def in_place(read: islpy.Map, rank: int, position: int) -> islpy.Map:
    """The map that reads one of several dimensions and leaves the others."""
    whole = islpy.Map("{ [] -> [] }")
    for dim in range(rank):
        one = read if dim == position else islpy.Map("{ [i] -> [i] }")
        whole = whole.flat_product(one)
    return whole


# -------------------------------------------------------------------- regions


@given(shapes, st.data())
def test_regions_are_sets_of_isl(shape, data):
    one, two = data.draw(regions(shape)), data.draw(regions(shape))
    mine, theirs = (isl.region(each, len(shape)) for each in (one, two))
    assert isl.region(one | two, len(shape)).is_equal(mine.union(theirs))
    assert isl.region(one & two, len(shape)).is_equal(mine.intersect(theirs))
    assert one.issubset(two) == mine.is_subset(theirs)
    apart = [isl.region(Region((each,)), len(shape)) for each in one.disjoint()]
    assert all(a.is_disjoint(b) for a, b in combinations(apart, 2))
    assert isl.region(Region(one.disjoint()), len(shape)).is_equal(mine)


REGROUPINGS = [
    ((6,), (2, 3)),
    ((2, 3, 2), (4, 3)),
    ((2, 3), (3, 2)),
    ((2, 2, 3), (12,)),
    ((4, 3), (2, 6)),
]


@pytest.mark.parametrize(("before", "after"), REGROUPINGS)
@given(data=st.data())
def test_a_region_is_reshaped_as_in_isl(before, after, data):
    one = data.draw(regions(before))
    places = isl.region(one, len(before)).apply(isl.row_major(before))
    expected = places.apply(isl.row_major(after).reverse())
    assert isl.region(one.reshape(before, after), len(after)).is_equal(expected)
