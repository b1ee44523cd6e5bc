"""Reaches are the hulls of index maps, checked row by row."""

from __future__ import annotations

from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.tile.bands.buffers import _runs
from fieldwise.tile.bands.follow import AxisPlace, Regroup
from fieldwise.tile.bands.reach import RowReach, land
from fieldwise.tile.errors import Blocked


@st.composite
def windows(draw: st.DrawFn) -> AxisMap:
    make = draw(st.sampled_from([AxisMap.window, AxisMap.transposed]))
    return make(
        draw(st.integers(1, 5)), stride=draw(st.integers(1, 4)), dilation=draw(st.integers(1, 3)),
        padding=draw(st.integers(0, 3)),
    )  # fmt: skip


@given(windows(), st.sampled_from(Border), st.integers(4, 20), st.integers(1, 25), st.data())
def test_a_span_holds_exactly_the_hull_of_what_is_read_now_or_must_be_kept(
    index, border, size, count, data
):
    reach = RowReach.of(index, border, size=size, count=count)
    lo = data.draw(st.integers(0, count - 1))
    hi = data.draw(st.integers(lo + 1, count))
    read = border.land(index.pull(IndexSet.range(lo, hi)), size)
    start, stop = reach.span(lo, hi)
    assert not read or (start <= read.first and read.last < stop)
    later = border.land(index.pull(IndexSet.range(lo, count)), size)
    assert not later or reach.floor(lo, size) <= later.first


@given(windows(), st.sampled_from(Border), st.integers(8, 20), st.integers(1, 25), st.data())
def test_ready_rows_read_only_what_is_there_and_the_next_one_reads_up_to_what_is_not(
    index, border, size, count, data
):
    reach = RowReach.of(index, border, size=size, count=count)
    available = data.draw(st.integers(0, size))
    rows = reach.ready(available, complete=available == size)
    read = border.land(index.pull(IndexSet.range(0, rows)), size)
    assert read.issubset(IndexSet.range(0, available))
    if border is Border.DROP and rows < count and index.period == 1:
        hull = index.pull(IndexSet(rows, 1)).last + 1
        assert min(hull, size) > available


@given(st.integers(-30, 30), st.integers(1, 20), st.sampled_from(Border), st.integers(2, 9))
def test_border_rows_are_read_in_the_order_of_the_border(start, length, border, size):
    mirrored = border in (Border.REFLECT, Border.SYMMETRIC)
    if border is Border.DROP or (mirrored and not -size < start < start + length < 2 * size):
        return
    found = [
        row
        for lo, hi, backward in _runs(start, start + length, border, size)
        for row in (range(hi - 1, lo - 1, -1) if backward else range(lo, hi))
    ]
    wanted = [border.land(IndexSet(row, 1), size).first for row in range(start, start + length)]
    assert found == wanted


@given(
    st.booleans(), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3),
    st.integers(30, 60),
)  # fmt: skip
def test_rows_promised_with_an_open_end_exist_at_every_length(
    transposed, kernel, stride, padding, cut, known
):
    """A convolution whose last rows are cut off, as causal networks do it, seen at one length."""

    def rows(size: int) -> int:
        if transposed:
            return (size - 1) * stride - 2 * padding + kernel - cut
        return (size + 2 * padding - kernel) // stride + 1 - cut

    make = AxisMap.transposed if transposed else AxisMap.window
    index = make(kernel, stride=stride, padding=padding)
    count = rows(known)
    reach = RowReach.of(index, Border.DROP, size=known, count=count, cuts=transposed or cut > 0)
    reach = reach.opened()
    for size in range(8, 80):
        assert reach.certain(size) <= max(rows(size), 0)


def test_a_map_that_goes_backwards_holds_its_operand_whole():
    flip = RowReach.of(AxisMap.affine(-1, 9), Border.DROP, size=10, count=10)
    assert flip.holds_whole
    assert flip.ready(9, complete=False) == 0
    assert flip.floor(3, 10) == 0


def test_circular_padding_holds_its_operand_whole_and_same_padding_does_not():
    index = AxisMap.window(3, padding=1)
    assert RowReach.of(index, Border.WRAP, size=9, count=9).holds_whole
    assert not RowReach.of(index, Border.REFLECT, size=9, count=9).holds_whole


def test_what_depends_on_the_length_cannot_be_opened():
    with pytest.raises(Blocked, match="depends on the total length"):
        RowReach.of(Table.of([[0], [1, 2]]), Border.DROP, size=3, count=2).opened()


def test_both_ends_of_a_mirrored_interval_land_inside():
    assert land(-3, 12, Border.REFLECT, 10) == (0, 10)
    assert land(9, 12, Border.SYMMETRIC, 10) == (8, 10)
    assert land(-4, -1, Border.CLAMP, 10) == (0, 1)


@pytest.mark.parametrize(
    ("before", "after", "dim"),
    [((1, 6, 4), (1, 24), 1), ((2, 24), (2, 4, 6), 1), ((6, 4), (8, 3), 0)],
)
def test_a_regrouped_row_reads_the_rows_that_hold_its_elements(before, after, dim):
    group = Regroup.of(before, after, AxisPlace(dim))
    rows = group.map()
    for row in range(group.after.rows(after)):
        held = {e // group.inner for e in range(row * group.outer, (row + 1) * group.outer)}
        assert set(rows(row)) == held


@pytest.mark.parametrize(
    ("before", "after", "axis", "found"),
    [
        ((1, 3, 6, 4), (1, 3, 24), AxisPlace(3), AxisPlace(2, 6)),
        ((2, 8, 3, 5), (16, 15), AxisPlace(1), AxisPlace(0, 2)),
        ((16, 15), (2, 8, 3, 5), AxisPlace(0, 2), AxisPlace(1)),
        ((2, 3, 8, 5), (6, 40), AxisPlace(2), AxisPlace(1)),
        ((4, 12, 5), (2, 24, 5), AxisPlace(0, 2), AxisPlace(1)),
        ((2, 24, 5), (4, 12, 5), AxisPlace(1, 2), AxisPlace(1)),
        ((2, 6, 4), (4, 12), AxisPlace(1), AxisPlace(0, 2)),
        ((2, 6, 4), (48,), AxisPlace(1), AxisPlace(0, 2)),
    ],
)
def test_a_reshaped_axis_is_where_its_elements_are(before, after, axis, found):
    group = Regroup.of(before, after, axis)
    assert group.after == found
    numbers = torch.arange(prod(before))
    for row in range(found.rows(after)):
        held = set(found.cut(numbers.reshape(after), row, row + 1).flatten().tolist())
        read = group.map()(row)
        given = axis.cut(numbers.reshape(before), read.first, read.last + 1).flatten().tolist()
        assert held <= set(given)


def test_a_reshape_that_mixes_the_axis_with_what_is_before_it_is_refused():
    with pytest.raises(Blocked, match="mixes the rows of the streamed axis"):
        Regroup.of((2, 3), (3, 2), AxisPlace(1))
