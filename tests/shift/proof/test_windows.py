"""Windows that are cropped, read, cut, joined and put side by side, against windows written out.

Written out, a window is what stands at each position after a shift: an element of its signal, named
by its number, where the window is clean and the shift is one that it is known to move at; elsewhere
something that stands nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from fractions import Fraction
from itertools import product

import pytest

from fieldwise.axes import AxisMap, Border, IndexSet
from fieldwise.shift.proof.signal import (
    BreaksError,
    Fault,
    Moving,
    Same,
    SignalDigit,
    Still,
    cut,
    merged,
    stretched,
)
from fieldwise.shift.proof.windows import combined_window, resized, side_by_side

Content = Callable[[int, int], Hashable]
"""What stands at a position after a shift."""

DIRTY = (("dirty", Fault("dirty")),)
SHORT = (("short", Fault("short")),)
SHIFTS = 12
RATES = (Fraction(1), Fraction(-1), Fraction(1, 2))


def told(condition: str, new: Moving) -> Fault:
    return Fault(condition)


def content(window: SignalDigit) -> Content:
    """What a digit holds."""
    if isinstance(window, Same):
        return lambda position, shift: "the same"
    if isinstance(window, Still):
        return lambda position, shift: ("still", position)
    assert isinstance(window, Moving)

    def held(position: int, shift: int) -> Hashable:
        if position not in window.clean or shift % window.period:
            return ("neither", window.origin, window.at, position, shift)
        place = window.at + position - window.step(shift)
        return (window.origin, place if window.turn is None else place % window.turn)

    return held


def both(one: Content, two: Content) -> Content:
    return lambda position, shift: (one(position, shift), two(position, shift))


def beside(one: Content, two: Content, size: int) -> Content:
    return lambda position, shift: (
        one(position, shift) if position < size else two(position - size, shift)
    )


def reading(held: Content, places: Callable[[int], Iterable[int]]) -> Content:
    """What stands where each position reads what stands at these places."""
    return lambda position, shift: tuple(held(place, shift) for place in places(position))


def around(index: AxisMap, size: int) -> Callable[[int], Iterable[int]]:
    return lambda position: [place % size for place in index(position)]


def check_moves(found: Moving, held: Content) -> None:
    """What is said of a window is true of what stands there, and each condition has a fault."""
    for shift in range(0, SHIFTS, found.period):
        for position in found.clean:
            place = position - found.step(shift)
            turn = found.turn or 10**9
            for before in range(place % turn, found.size, turn):
                if before in found.clean and (found.turn or before == place):
                    assert held(position, shift) == held(before, 0), (shift, position, before)
    assert {condition for condition, _ in found.faults} == set(found.conditions)


def moves_earlier(found: Moving, held: Content) -> bool:
    """Whether a whole window moves already at a smaller shift than said."""
    before = [held(position, 0) for position in range(found.size)]
    for shift in range(1, found.period):
        after = [held(position, shift) for position in range(found.size)]
        if any(after == before[-by:] + before[:-by] for by in range(found.size)):
            return True
    return False


def windows(size: int, origin: str) -> Iterator[Moving]:
    """Windows of one size: whole ones, parts of a longer signal, endless ones, and padded ones."""
    everywhere = IndexSet.range(0, size)
    for rate, grain in product(RATES, (1, 3)):
        for turn, at in ((size, 1), (2 * size, 0), (2 * size, size), (None, 0)):
            for clean in (everywhere, IndexSet.range(1, size)):
                faults = DIRTY * (clean != everywhere) + SHORT * (turn == 2 * size)
                yield Moving(size, rate, turn, clean, (origin,), at, grain, faults)


def test_two_windows_that_meet_move_as_both_of_them_do_and_no_later():
    """Of whatever rates; where they have none in common for good, they do not meet."""
    for one, two in product(windows(4, "one"), [*windows(4, "one"), *windows(4, "two")]):
        if one.rate != two.rate and not (one.whole and two.whole):
            with pytest.raises(BreaksError, match="it joins signals that move by"):
                combined_window(one, two, ("met",), told)
            continue
        found, held = combined_window(one, two, ("met",), told), both(content(one), content(two))
        check_moves(found, held)
        assert not found.whole or not moves_earlier(found, held), (one, two, found)


MAPS = [
    AxisMap(advance, tuple(IndexSet.of(start + by for by in taps) for start in starts))
    for advance in (1, 2)
    for taps in ((0,), (0, 1), (0, 2))
    for starts in ((0,), (-1,), (0, 0), (0, 1))
]
BACKWARDS = [index.then(AxisMap.affine(-1, 5)) for index in MAPS]


def test_what_is_read_of_a_window_moves_as_the_window_does():
    """Kernels, strides, dilations and flips, with whatever stands beyond the edge."""
    for window, index in product(windows(6, "x"), [*MAPS, *BACKWARDS]):
        for border, after in product((Border.DROP, Border.WRAP), (6,)):
            found = stretched(window, index, border, after, ("read",), told)
            places = index if border is Border.DROP else around(index, 6)
            check_moves(found, reading(content(window), places))


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (1, 4), (0, 3), (2, 3)])
def test_a_crop_of_a_window_is_a_window_onto_the_same_signal(start, stop):
    for window in windows(4, "x"):
        found = resized(window, start, stop, told)
        assert isinstance(found, Moving)
        inside, held = content(window), content(found)
        for position in found.clean:
            assert held(position, 0) == inside(start + position, 0)
        check_moves(found, reading(inside, lambda position: [start + position]))


def test_a_window_in_blocks_moves_by_whole_blocks_and_is_itself_again():
    for window in windows(6, "x"):
        lead = cut(window, 2, ("cut",), told)
        check_moves(lead, reading(content(window), lambda block: [2 * block, 2 * block + 1]))
        again = merged((lead, Still(2)))
        assert isinstance(again, Moving)
        check_moves(again, content(window))


def pieces() -> Iterator[tuple[Moving, Moving]]:
    """Neighbours of one size or two, of one signal or two, with a gap between them or none."""
    for rate, turn, grain in product((Fraction(1), Fraction(-1)), (4, 8, None), (1, 2)):
        left = Moving(4, rate, turn, IndexSet.range(0, 4), ("x",), grain=grain)
        for size, at, origin, other, clean in product(
            (4, 2), (4, 5, 8, 0), ("x", "y"), (1, 3), (0, 1)
        ):
            right = Moving(
                size, rate, turn, IndexSet.range(clean, size), (origin,), at, other,
                DIRTY * clean,
            )  # fmt: skip
            yield left, right


def test_neighbours_are_one_window_where_one_signal_goes_on():
    """As many positions as before hold what they held; one window exactly where it is one."""
    for left, right in pieces():
        found = side_by_side([(left,), (right,)], told)
        goes_on = (right.at - 4) % left.turn == 0 if left.turn else right.at == 4
        assert (len(found) == 1) == (goes_on and left.origin == right.origin), (left, right)
        if len(found) > 1:
            continue
        (joined,) = found[0]
        assert isinstance(joined, Moving)
        assert joined.clean == left.clean | right.clean.shift(4)
        check_moves(joined, beside(content(left), content(right), 4))


def test_rows_are_below_one_another_where_all_of_them_move_alike():
    """Rows of a window, then further rows of it; not rows that stay, nor shorter ones."""
    row = Moving(4, Fraction(1), 4, IndexSet.range(0, 4), ("x",))
    padded = Moving(4, Fraction(1), 4, IndexSet.range(1, 4), ("y",), faults=DIRTY)
    slow = Moving(4, Fraction(1, 2), 4, IndexSet.range(0, 4), ("z",))
    assert side_by_side([(Still(2), row), (Still(3), row)], told) == ((Still(5), row),)
    assert side_by_side([(Same(2), row, Still(3)), (Still(3), row, Still(3))], told) == (
        (Still(5), row, Still(3)),
    )
    ((lead, both),) = side_by_side([(Still(2), row), (Still(3), padded)], told)
    assert lead == Still(5)
    assert isinstance(both, Moving)
    assert (both.clean, both.faults) == (padded.clean, DIRTY)
    for parts in (
        [(Still(2), row), (Still(2), Still(4))],
        [(Still(2), row), (Still(2), slow)],
        [(Still(2), row), (Still(2), row, Still(1))],
        [(Still(2), row), (Still(8),)],
        [(row, Still(2)), (Still(2), row)],
    ):
        assert len(side_by_side(parts, told)) == 2, parts


def test_pieces_of_several_signals_may_make_one_that_repeats():
    """So no fault of theirs is known; one piece beside what stays has nothing to repeat."""
    one, two = (
        Moving(4, Fraction(1), 8, IndexSet.range(0, 4), (name,), faults=SHORT) for name in "xy"
    )
    whole = Moving(4, Fraction(1), 4, IndexSet.range(0, 4), ("z",))
    for parts, known in (
        ([(one,), (two,)], False),
        ([(one,), (Still(1),), (two,)], False),
        ([(one,), (Still(1),)], True),
        ([(one,), (whole,)], True),
        ([(one,), (whole,), (two,)], False),
    ):
        found = side_by_side(parts, told)
        assert len(found) == len(parts)
        leads = [part[0] for part in found if isinstance(part[0], Moving)]
        assert {fault.known for lead in leads for _, fault in lead.faults} == {known}


@pytest.mark.parametrize(
    ("at", "turn", "origin", "known"),
    [
        (4, 8, "x", False),
        (2, 8, "x", True),
        (0, 8, "x", True),
        (4, 8, "y", True),
        (4, 6, "x", True),
    ],
)
def test_pieces_that_fold_the_axis_may_repeat_where_they_meet(at, turn, origin, known):
    """Halves of one signal, one on the other; not quarters apart, and not of another signal."""
    one = Moving(4, Fraction(1), turn, IndexSet.range(0, 4), ("x",), faults=SHORT)
    two = Moving(
        4, Fraction(1), turn, IndexSet.range(0, 4), (origin,), at=at, grain=2, faults=SHORT
    )
    assert [fault.known for _, fault in combined_window(one, two, ("met",), told).faults] == [known]


def test_what_is_doubted_of_one_of_two_windows_is_doubted_where_they_meet():
    doubted = (("short", Fault("folded", known=False)),)
    one = Moving(4, Fraction(1), 8, IndexSet.range(0, 4), ("x",), faults=SHORT)
    two = Moving(4, Fraction(1), 8, IndexSet.range(0, 4), ("y",), faults=doubted)
    found = combined_window(one, two, ("met",), told)
    assert {fault.why: fault.known for _, fault in found.faults} == {
        "short": False, "folded": False
    }  # fmt: skip


def test_wrapping_what_is_not_whole_spoils_it_for_every_reason_that_it_is_not():
    """What was padded and then cropped is told of both, although it has its length again."""
    window = Moving(6, Fraction(1), 8, IndexSet.range(1, 6), ("x",), faults=DIRTY + SHORT)
    wrapped = stretched(window, AxisMap.affine(1, -1), Border.WRAP, 8, ("y",), told)
    assert wrapped.conditions == ("dirty",)
    assert wrapped.faults == (*DIRTY, ("dirty", Fault("short")))


def test_an_error_says_the_reasons_that_it_carries():
    assert str(BreaksError(Fault("zero padding"), Fault("a crop"))) == "zero padding; a crop"
