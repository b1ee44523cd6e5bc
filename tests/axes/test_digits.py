"""Digits against row-major indices written out one by one."""

from __future__ import annotations

from itertools import combinations, pairwise, product
from math import prod

import numpy as np
import pytest

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.axes.digits import regroup, subindex, substituted, summed_out

SIZES = [(3, 2), (2, 3), (4, 1, 3), (2, 3, 2)]
Digits = tuple[int, ...]


def digits_of(index: int, sizes: Digits) -> Digits:
    """The leading digit has no bound, as the index of a feature map has none."""
    lead, rest = divmod(index, prod(sizes[1:]))
    return (lead, *map(int, np.unravel_index(rest, sizes[1:])))


def index_of(digits: Digits, sizes: Digits) -> int:
    index = digits[0]
    for digit, size in zip(digits[1:], sizes[1:], strict=True):
        index = index * size + digit
    return index


def some_indices(sizes: Digits) -> range:
    return range(-prod(sizes), 2 * prod(sizes))


def changed(digits: Digits, position: int, value: int) -> Digits:
    return (*digits[:position], value, *digits[position + 1 :])


@pytest.mark.parametrize("sizes", SIZES)
def test_the_index_over_some_digits_is_written_by_these_digits(sizes):
    for count in range(1, len(sizes) + 1):
        for keep in combinations(range(len(sizes)), count):
            found, kept = subindex(sizes, keep), tuple(sizes[k] for k in keep)
            for index in some_indices(sizes):
                digits = digits_of(index, sizes)
                expected = index_of(tuple(digits[k] for k in keep), kept)
                assert set(found(index)) == {expected}, (keep, index)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("values", [None, IndexSet(), IndexSet.of([0]), IndexSet.of([1])])
def test_a_digit_that_is_summed_out_is_read_at_each_of_its_values(sizes, values):
    for position in range(1, len(sizes)):
        found = summed_out(sizes, position, values)
        others = sizes[:position] + sizes[position + 1 :]
        for index in some_indices(others):
            digits = digits_of(index, others)
            read = range(sizes[position]) if values is None else values
            expected = {
                index_of((*digits[:position], value, *digits[position:]), sizes) for value in read
            }
            assert set(found(index)) == expected, (position, index)


MAPS = [
    AxisMap.window(3, padding=1),
    AxisMap.affine(-1, 2),
    AxisMap.transposed(3, stride=2, padding=1),
    Table.of([[0], [], [1, 2], [5], [-1]]),
]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("index_map", MAPS, ids=str)
@pytest.mark.parametrize("border", [Border.DROP, Border.WRAP, Border.REFLECT])
@pytest.mark.parametrize("limits", [None, IndexSet.of([0, 2])], ids=["all", "some"])
def test_a_digit_that_is_read_through_a_map_leaves_the_others(sizes, index_map, border, limits):
    after = 5
    for position, size in enumerate(sizes):
        found, is_sized = substituted(sizes, position, index_map, border, after, limits)
        before = changed(sizes, position, after)
        is_regular = isinstance(index_map, AxisMap) and limits is None
        assert is_sized == (position == 0 and not is_regular)
        for index in range(prod(before)) if is_sized else some_indices(before):
            digits = digits_of(index, before)
            read = index_map(digits[position])
            if position or is_sized:
                read = border.land(read, size)
            allowed = set(read) if limits is None else set(read) & set(limits)
            expected = {index_of(changed(digits, position, value), sizes) for value in allowed}
            assert set(found(index)) == expected, (position, index)


# -------------------------------------------------------------------- regrouping

SHAPES = [shape for rank in range(4) for shape in product((1, 2, 3, 4, 6), repeat=rank)]
PAIRS = [(a, b) for a, b in product(SHAPES, repeat=2) if prod(a) == prod(b) <= 24]


def borders_of(sizes: Digits) -> set[int]:
    """The place values of a row-major index."""
    return {prod(sizes[k:]) for k in range(len(sizes) + 1)}


def test_digits_are_cut_where_the_borders_of_both_shapes_divide_each_other():
    for digits, dims in PAIRS:
        places = sorted(borders_of(digits) | borders_of(dims))
        found = regroup(digits, dims)
        if any(large % small for small, large in pairwise(places)):
            assert found is None, (digits, dims)
            continue
        assert found is not None, (digits, dims)
        parts = [part for dim in found for part in dim]
        assert tuple(prod(size for _, size in dim) for dim in found) == dims
        assert sorted(borders_of(tuple(size for _, size in parts))) == places
        assert [number for number, _ in parts] == sorted(number for number, _ in parts)
        for number, size in enumerate(digits):
            assert prod(part for digit, part in parts if digit == number) == size


def test_shapes_without_elements_are_not_regrouped():
    assert regroup([0, 3], [3, 0]) is None
    assert regroup([3, 0], [0]) is None
