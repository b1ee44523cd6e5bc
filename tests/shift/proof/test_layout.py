"""Layouts that are reshaped, cropped and joined, against values whose elements are written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import prod

import numpy as np
import pytest

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.graph.ir import Along
from fieldwise.shift.proof.combine import joined, reshaped
from fieldwise.shift.proof.layout import (
    Dim,
    Explainer,
    Layout,
    as_window,
    cropped,
    length,
    movers,
    period_of,
    read_along,
    regular,
    size_of,
    stays,
    uniform,
)
from fieldwise.shift.proof.signal import (
    BreaksError,
    DigitGroup,
    Fault,
    Moving,
    Same,
    SignalDigit,
    Spectrum,
    Still,
)

EXPLAINER = Explainer("op", lambda condition, *_: Fault(condition))
Shape = tuple[int, ...]


def explain(condition: str, window: Moving) -> Fault:
    return Fault(condition)


def whole(size: int, step: int = 1) -> Moving:
    return Moving(size, Fraction(step), size, IndexSet.range(0, size), ("x", size))


def written_out(layout: Layout, shift: int) -> np.ndarray:
    """What stands at each place after a shift: of every digit what it holds, and where it is."""
    lines = [
        [held for part in dim for held in _held(part, n, shift)] for n, dim in enumerate(layout)
    ]
    found = np.empty([len(line) for line in lines], dtype=object)
    for place in np.ndindex(found.shape):
        found[place] = tuple(line[i] for line, i in zip(lines, place, strict=True))
    return found


def _held(part: DigitGroup, dim: int, shift: int) -> Iterator[tuple[object, ...]]:
    for places in product(*(range(digit.size) for digit in part)):
        yield (dim, *(_in_digit(d, i, shift) for d, i in zip(part, places, strict=True)))


def _in_digit(digit: SignalDigit, place: int, shift: int) -> object:
    if isinstance(digit, Moving):
        assert digit.whole
        return (place - digit.step(shift)) % digit.size
    return place if isinstance(digit, Still) else "the same"


def check_says(layout: Layout, before: np.ndarray, after: np.ndarray, shift: int) -> None:
    """The shift rolls every digit that moves, and nothing varies along one that is uniform."""
    assert tuple(map(size_of, layout)) == before.shape
    for dim, parts in enumerate(layout):
        lines, start = [], 0
        for part in parts:
            sizes = [digit.size for digit in part]
            places = np.arange(start, start + prod(sizes)).reshape(sizes)
            for axis, digit in enumerate(part):
                if isinstance(digit, Moving):
                    places = np.roll(places, digit.step(shift), axis)
                elif isinstance(digit, Same):
                    one = np.take(before, np.take(places, [0], axis).reshape(-1), dim)
                    for index in range(digit.size):
                        other = np.take(before, np.take(places, [index], axis).reshape(-1), dim)
                        assert (one == other).all()
            lines += places.reshape(-1).tolist()
            start += prod(sizes)
        before = np.take(before, lines, dim)
    assert (before == after).all()


def _dims(size: int) -> list[Dim]:
    """Ways in which a dimension of this size may be one digit or two."""
    found: list[Dim] = [((Same(size),),), ((Still(size),),), ((whole(size),),)]
    for lead in (n for n in range(2, size) if size % n == 0):
        tail = size // lead
        found += [
            ((Still(lead), whole(tail)),), ((whole(lead), Still(tail)),),
            ((whole(lead), Same(tail)),), ((Same(lead), Still(tail)),),
        ]  # fmt: skip
    return found


SHAPES: tuple[Shape, ...] = (
    (12,), (12, 1), (1, 12), (2, 6), (6, 2), (3, 4), (4, 3), (2, 1, 6), (2, 2, 3), (2, 3, 2),
    (3, 2, 2),
)  # fmt: skip


@pytest.mark.parametrize("before", [(2, 6), (4, 3), (12,), (6, 1, 2)])
def test_a_reshape_of_a_layout_says_what_is_so(before):
    """Of values with at most one dimension that moves; most are followed."""
    followed = refused = 0
    for layout in product(*(_dims(size) if size > 1 else [uniform(1)] for size in before)):
        if len(list(movers(layout))) > 1:
            continue
        for after in SHAPES:
            try:
                found = reshaped(layout, before, after, EXPLAINER)
            except BreaksError:
                refused += 1
                continue
            followed += 1
            for shift in range(0, 12, period_of(found)):
                held = [written_out(layout, by).reshape(after) for by in (0, shift)]
                check_says(found, *held, shift)
    assert followed > refused


@pytest.mark.parametrize("size", [4, 6])
def test_two_dimensions_that_are_joined_are_what_both_of_them_are(size):
    followed = refused = 0
    for one, two in product(_dims(size), _dims(size)):
        try:
            found = joined(one, two, EXPLAINER, 0)
        except BreaksError:
            refused += 1
            continue
        followed += 1
        for shift in range(0, 12, period_of((found,))):
            before, after = (
                np.array(
                    [
                        str(pair)
                        for pair in zip(*(written_out((d,), by) for d in (one, two)), strict=True)
                    ]
                )
                for by in (0, shift)
            )
            check_says((found,), before, after, shift)
    assert followed > refused


def test_a_crop_of_a_dimension_holds_what_stood_there():
    """Whole rows of digits, or single positions; of several parts each as far as it is inside."""
    token: DigitGroup = (Same(1),)
    for dim in [
        *_dims(6),
        *((token, *dim) for dim in _dims(6)),
        *((*dim, token) for dim in _dims(6)),
    ]:
        numbers = [number for part in dim for number in range(length(part))]
        for start, stop in ((0, 2), (1, 4), (2, 6), (3, size_of(dim)), (0, size_of(dim))):
            try:
                found = cropped(dim, start, stop, explain)
            except BreaksError:
                continue
            assert size_of(found) == stop - start
            for part in found:
                tail = length(part[1:])
                if isinstance(lead := part[0], Moving):
                    first = lead.at * tail
                    assert numbers[start : start + length(part)] == [
                        *range(first, first + length(part))
                    ]
                start += length(part)


def test_of_several_parts_the_longest_that_moves_is_the_window():
    """The rest is dirty, for the reason of the op, or since there are several signals."""
    token: DigitGroup = (Still(2),)
    one = as_window((token, (whole(6),)), explain)
    assert isinstance(one, Moving)
    assert (one.size, one.at, one.clean) == (8, -2, IndexSet.range(2, 8))
    assert [fault for _, fault in one.faults] == [Fault("dirty"), Fault("long")]
    two = as_window(((whole(4),), token, (whole(6),)), explain)
    assert isinstance(two, Moving)
    assert (two.size, two.at, two.clean) == (12, -6, IndexSet.range(6, 12))
    assert [(f.why, f.known) for _, f in two.faults] == [
        ("it reads across pieces of several signals", False)
    ]
    assert as_window((token, (Same(3),)), explain) == Still(5)


TAPS = ((0,), (1,), (0, 1), (-1, 2), ())


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_table_is_the_regular_map_that_has_its_rows(is_whole):
    """On a whole window up to turns of it: a table that wraps around is regular there."""
    size = 8
    window = whole(size) if is_whole else Moving(size, Fraction(1), None, IndexSet(0, 1), ("x",))
    for advance, rows in product((1, -1, 2, 3), product(TAPS, TAPS[:3] + TAPS[-1:])):
        index = AxisMap(advance, tuple(IndexSet.of(taps) for taps in rows))
        if not index.offsets[0]:
            continue
        for turn in (None, size) if is_whole else (None,):
            wanted = [index(place) for place in range(8)]
            table = Table(tuple(row if turn is None else row.modulo(turn) for row in wanted))
            found, border = regular(table, window, Border.DROP)
            assert border is (Border.WRAP if is_whole else Border.DROP)
            for place, row in enumerate(wanted):
                same = found(place) == row
                assert same or (is_whole and found(place).modulo(size) == row.modulo(size))
    for rows in ((0, 1, 3, 2, 5, 4), (0, 2, 3, 4, 5, 6), (0, 1, 2, 2, 4, 4)):
        with pytest.raises(BreaksError, match="no regular order"):
            regular(Table(tuple(IndexSet(row, 1) for row in rows)), window, Border.DROP)


def test_one_position_alone_does_not_vary():
    assert stays(1) == uniform(1)
    assert stays(2) != uniform(2)


def test_what_is_read_as_it_is_keeps_all_its_parts():
    dim: Dim = ((whole(4), Still(2)), (Same(3),), (whole(5),))
    along = Along(1, AxisMap.window(1))
    assert read_along(dim, along, size_of(dim), EXPLAINER, averages=False) is dim


def test_frequencies_beside_others_are_mixed_by_whatever_reads_them_elsewhere():
    frequencies = Spectrum(4, Fraction(1), 4)
    behind = Along(0, AxisMap.window(1, padding=-1))
    alone = read_along(((frequencies,),), behind, 3, EXPLAINER, averages=False)
    assert alone == ((replace(frequencies, size=3, first=1),),)
    for dim in (((frequencies,), (frequencies,)), ((frequencies, Still(2)),)):
        with pytest.raises(BreaksError, match="mixes frequencies"):
            read_along(dim, behind, size_of(dim) - 1, EXPLAINER, averages=False)


def test_a_table_may_be_regular_in_halves():
    rows = (0, 3, 1, 2, 8, 11, 9, 10)
    window = replace(whole(12), turn=None)
    index, border = regular(Table(tuple(IndexSet(row, 1) for row in rows)), window, Border.DROP)
    assert (index.period, index.advance, border) == (4, 8, Border.DROP)


def test_digits_of_one_position_before_others_are_no_end_of_a_reshape():
    layout = (((Still(1), whole(8)),),)
    ((first,), (second,)) = reshaped(layout, (8,), (2, 4), EXPLAINER)
    assert [digit.size for digit in (*first, *second)] == [2, 4]
    assert isinstance(first[0], Moving)
