"""Windows onto a moving signal: digits that become one, and which faults they get."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from fieldwise.axes import IndexSet
from fieldwise.shift.proof.signal import (
    Condition,
    Fault,
    Moving,
    Same,
    Spectrum,
    Still,
    merged,
    with_faults,
)
from fieldwise.shift.proof.windows import doubted

FULL = Moving(8, Fraction(1), 8, IndexSet.range(0, 8), ("x",))
PADDED = replace(
    FULL, clean=IndexSet.range(1, 7), faults=(("dirty", Fault("zero padding", "pad circularly")),)
)


def explain(condition: Condition, new: Moving) -> Fault:
    return Fault(f"{new.size} of {new.turn} are {condition}")


@pytest.mark.parametrize(
    ("digits", "whole"),
    [
        ((Same(2), Same(3)), Same(6)),
        ((Still(2), Still(3)), Still(6)),
        ((Still(2), Same(3)), Still(6)),
        ((Same(2), Still(3)), Still(6)),
        ((Same(1), Still(3)), Still(3)),
        ((Same(1), Same(1)), Same(1)),
    ],
)
def test_digits_that_do_not_move_are_alike_only_where_all_of_them_are(digits, whole):
    assert merged(digits) == whole


def test_digits_are_one_where_the_leading_one_alone_moves():
    found = merged((FULL, Still(2)))
    assert isinstance(found, Moving)
    assert (found.size, found.rate, found.turn, found.grain) == (16, 2, 16, 2)
    assert found.clean == IndexSet.range(0, 16)
    assert merged((Still(2), FULL)) is None
    assert merged((FULL, FULL)) is None


def test_the_clean_positions_of_digits_are_those_of_the_leading_one():
    found = merged((PADDED, Same(3)))
    assert isinstance(found, Moving)
    assert found.clean == IndexSet.range(3, 21)


def test_a_condition_that_was_there_keeps_its_faults():
    assert with_faults(replace(PADDED, faults=()), [PADDED], explain).faults == PADDED.faults


def test_a_new_condition_is_told_of_by_the_faults_that_are_there():
    cropped = replace(PADDED, size=6, clean=IndexSet.range(0, 6), faults=())
    ((_, fault),) = PADDED.faults
    assert with_faults(cropped, [PADDED], explain).faults == (("short", fault),)
    assert with_faults(cropped, [FULL], explain).faults == (("short", Fault("6 of 8 are short")),)


def test_a_window_that_is_too_long_is_told_of_by_itself_and_tells_of_nothing_else():
    longer = replace(FULL, size=12, clean=IndexSet.range(0, 12))
    mine = (("long", Fault("12 of 8 are long")),)
    assert with_faults(longer, [PADDED], explain).faults == mine
    cropped = replace(FULL, size=6, clean=IndexSet.range(0, 6))
    short = (("short", Fault("6 of 8 are short")),)
    assert with_faults(cropped, [replace(longer, faults=mine)], explain).faults == short


def test_what_is_doubted_has_the_faults_of_before_and_none_is_known():
    mine = replace(PADDED, size=6, faults=(*PADDED.faults, ("short", Fault("a crop"))))
    found = doubted(mine)
    assert [condition for condition, _ in found.faults] == ["dirty", "short"]
    assert [fault.why for _, fault in found.faults] == ["zero padding", "a crop"]
    assert all(fault.known for _, fault in mine.faults)
    assert not any(fault.known for _, fault in found.faults)


@pytest.mark.parametrize(("first", "is_in_order"), [(0, True), (8, True), (-8, True), (4, False)])
def test_frequencies_stand_in_order_up_to_whole_turns(first, is_in_order):
    spectrum = Spectrum(8, Fraction(1), 8, first=first)
    assert spectrum.in_order is is_in_order
    assert spectrum.picked(range(8)).in_order is is_in_order
    assert not spectrum.picked(range(7, -1, -1)).in_order
