"""Lattice against residues, written out over more than a common period."""

from __future__ import annotations

from itertools import chain, combinations

import pytest

from fieldwise.axes import FULL, AxisMap, IndexSet, Lattice

SPAN = range(-60, 60)
MODULI = range(1, 7)


def residues_of(modulus: int) -> list[IndexSet]:
    """Every set of residues but the empty one."""
    counts = range(1, modulus + 1)
    every = chain.from_iterable(combinations(range(modulus), count) for count in counts)
    return [IndexSet.of(chosen) for chosen in every]


def members(lattice: Lattice) -> set[int]:
    return {index for index in SPAN if index % lattice.modulus in lattice.residues}


ALL = [(modulus, residues) for modulus in MODULI for residues in residues_of(modulus)]
SOME = [Lattice(modulus, residues) for modulus, residues in ALL if modulus < 5]


def test_a_lattice_holds_what_was_written_at_the_least_modulus():
    for modulus, residues in ALL:
        lattice = Lattice(modulus, residues)
        held = {index for index in SPAN if index % modulus in residues}
        assert members(lattice) == held
        for smaller in range(1, lattice.modulus):
            assert any((index in held) != (index % smaller in held) for index in range(60))
        assert (lattice == FULL) == (len(held) == len(SPAN))


@pytest.mark.parametrize("modulus", [7, 8, 9, 12, 30])
def test_every_multiple_of_a_modulus_is_reduced_to_it(modulus: int):
    for few in (1, 2, 3):
        written = IndexSet.range(0, few * modulus, modulus)
        assert Lattice(few * modulus, written) == Lattice(modulus, IndexSet.of([0]))


def test_union_and_order_are_those_of_sets():
    for one in SOME:
        for two in SOME:
            assert members(one.union(two)) == members(one) | members(two)
            assert one.covers(two) == (members(two) <= members(one))


def test_a_lattice_covers_a_map_whose_every_read_it_holds():
    maps = [
        AxisMap(advance, (first, second))
        for advance in (-4, -1, 0, 2, 3, 6)
        for first in (IndexSet(), IndexSet.of([0]), IndexSet.of([1, 3]))
        for second in (IndexSet.of([0]), IndexSet.of([2]), IndexSet.of([5]))
    ]
    for lattice in SOME:
        for one in maps:
            read = {index for output in range(24) for index in one(output)}
            holds = all(index % lattice.modulus in lattice.residues for index in read)
            assert lattice.covers(one) == holds, (lattice, one)


def test_within_a_size_are_its_indices_there():
    for lattice in SOME:
        for size in (0, 1, 2, 5, 12):
            assert set(lattice.within(size)) == members(lattice) & set(range(size))


def test_what_all_units_read_is_a_lattice_unless_the_map_stands_still():
    for advance in (-6, -2, -1, 1, 3, 4):
        for offsets in ((IndexSet.of([0]),), (IndexSet.of([0, 1]), IndexSet.of([5]))):
            one = AxisMap(advance, offsets)
            read = {index for output in range(-200, 200) for index in one(output)}
            swept = Lattice.swept(one)
            assert isinstance(swept, Lattice)
            assert members(swept) == read & set(SPAN)
    still = AxisMap(0, (IndexSet.of([0]), IndexSet.of([3])))
    assert Lattice.swept(still) == AxisMap.constant(IndexSet.of([0, 3]))
