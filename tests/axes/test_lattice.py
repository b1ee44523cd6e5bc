"""Lattice against residues, written out over more than a common period."""

from __future__ import annotations

from itertools import chain, combinations

import pytest

from fieldwise.axes import IndexSet
from fieldwise.axes.lattice import ALL as EVERYTHING
from fieldwise.axes.lattice import Lattice

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
        assert (lattice == EVERYTHING) == (len(held) == len(SPAN))


@pytest.mark.parametrize("modulus", [7, 8, 9, 12, 30])
def test_every_multiple_of_a_modulus_is_reduced_to_it(modulus):
    for few in (1, 2, 3):
        written = IndexSet.range(0, few * modulus, modulus)
        assert Lattice(few * modulus, written) == Lattice(modulus, IndexSet.of([0]))


def test_moved_and_scaled_lattices_hold_the_moved_and_scaled_indices():
    for lattice in SOME:
        held = members(lattice)
        for by in range(-5, 6):
            assert members(lattice.shift(by)) == {i for i in SPAN if (i - by) % 60 in held}
        for factor in (-3, -1, 2):
            scaled = lattice.scale(factor)
            assert all((i in scaled) == (i % factor == 0 and i // factor in lattice) for i in SPAN)


def test_quotients_are_the_turns_at_which_an_index_is_held():
    for lattice in SOME:
        for step in (1, 2, 3, 5):
            for remainder in range(-3, 4):
                found = lattice.quotients(step, remainder)
                assert all((q in found) == (q * step + remainder in lattice) for q in SPAN)


def test_sums_of_two_lattices_go_by_the_common_measure():
    for one in SOME:
        for two in SOME:
            sums = {(a + b) % 60 for a in members(one) for b in members(two)}
            assert {i for i in range(60) if i in one.plus(two)} == sums


def test_between_two_indices_are_those_there():
    for lattice in SOME:
        for low, high in ((0, 0), (0, 12), (-7, 5), (3, 4), (5, 2)):
            assert set(lattice.between(low, high)) == members(lattice) & set(range(low, high))
