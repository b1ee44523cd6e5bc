"""Matches against plain lists: two positions are paired only where they hold the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.graph.ir import Along
from fieldwise.tile.crops.match import Match, carried, single, split

Cell = object


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Match, list[Cell], list[Cell]]:
    """A match, and a crop and a whole that it is true of: what is not paired differs."""
    whole = draw(st.integers(1, 14))
    ends = sorted(draw(st.lists(st.integers(0, whole), min_size=2, max_size=4, unique=True)))
    segments = [(ends[0], ends[1])] if len(ends) < 4 else [(0, ends[1]), (ends[2], whole)]
    match = Match.cut(segments, whole)
    spoilt = IndexSet.of(draw(st.lists(st.integers(0, 14), max_size=3)))
    match = Match.of(match.crop, whole, {d: good - spoilt for d, good in match.pairs or ()})
    image = [("whole", j) for j in range(whole)]
    crop: list[Cell] = [("crop", i) for i in range(match.crop)]
    for distance, good in match.pairs or ():
        for i in good:
            crop[i] = image[i + distance]
    return match, crop, image


@st.composite
def maps(draw: st.DrawFn) -> AxisMap:
    kind = draw(st.sampled_from(["window", "transposed", "affine"]))
    if kind == "affine":
        return AxisMap.affine(draw(st.sampled_from([-2, -1, 1, 2])), draw(st.integers(-3, 12)))
    make = AxisMap.window if kind == "window" else AxisMap.transposed
    return make(
        draw(st.integers(1, 4)), stride=draw(st.integers(1, 3)),
        dilation=draw(st.integers(1, 2)), padding=draw(st.integers(0, 3)),
    )  # fmt: skip


def applied(index: AxisMap | Table, border: Border, cells: list[Cell], count: int) -> list[Cell]:
    """What a generic op makes of a list: per result, its taps in order and what each lands on.

    A tap that is dropped counts as its distance from the end that it fell off.
    """
    size = len(cells)

    def landed(tap: int) -> Cell:
        if 0 <= tap < size:
            return cells[tap]
        if border is Border.DROP:
            return ("before", tap) if tap < 0 else ("behind", tap - size)
        return cells[border.land(IndexSet(tap, 1), size).first]

    return [tuple(landed(tap) for tap in index(i)) for i in range(count)]


@given(cuts(), maps(), st.sampled_from(list(Border)), st.integers(1, 12), st.integers(1, 12))
def test_what_is_carried_through_a_map_is_the_same_in_both(cut, index, border, crop, whole):
    match, cells, image = cut
    if border is not Border.DROP and (not cells or not image):
        return
    found = carried(match, (Along(0, index, border), Along(0, index, border)), (crop, whole))
    if index.is_identity and (match.crop, match.whole) == (crop, whole):
        assert found is match
        return
    one, two = applied(index, border, cells, crop), applied(index, border, image, whole)
    for distance, good in found.pairs or ():
        assert all(one[i] == two[i + distance] for i in good)


@given(cuts(), st.integers(0, 3), st.integers(0, 3), st.integers(1, 3))
def test_paddings_that_differ_shift_what_is_paired(cut, before, behind, stride):
    """TensorFlow's SAME pads by the size: then the maps of crop and whole differ."""
    match, cells, image = cut
    pair = (
        AxisMap.window(3, stride=stride, padding=before),
        AxisMap.window(3, stride=stride, padding=behind),
    )
    sizes = (len(cells) // stride + 1, len(image) // stride + 1)
    found = carried(match, (Along(0, pair[0]), Along(0, pair[1])), sizes)
    one = applied(pair[0], Border.DROP, cells, sizes[0])
    two = applied(pair[1], Border.DROP, image, sizes[1])
    for distance, good in found.pairs or ():
        assert all(one[i] == two[i + distance] for i in good)


@given(cuts(), st.data())
def test_a_table_is_matched_row_by_row(cut, data):
    match, cells, image = cut
    rows = st.lists(st.lists(st.integers(0, len(image) - 1), max_size=3), min_size=1, max_size=6)
    whole = Table.of(data.draw(rows))
    crop = Table.of([[max(0, j - 2) for j in row] for row in whole.rows])
    if not cells:
        return
    found = carried(match, (Along(0, crop), Along(0, whole)), (len(crop.rows), len(whole.rows)))
    one = applied(crop, Border.DROP, cells, len(crop.rows))
    two = applied(whole, Border.DROP, image, len(whole.rows))
    for distance, good in found.pairs or ():
        assert all(one[i] == two[i + distance] for i in good)


@given(cuts(), st.integers(1, 4))
def test_splitting_and_joining_a_digit_keeps_only_whole_leading_positions(cut, width):
    match, _, _ = cut
    long = single((match, Match.same(width)))
    assert all(long.holds(i * width + k, (i + d) * width + k)
               for d, good in match.pairs or () for i in good for k in range(width))  # fmt: skip
    again = split(long, match.crop, match.whole, width)
    assert again == match


def test_a_crop_around_the_ends_has_two_distances():
    match = Match.cut([(0, 8), (24, 30)], 30)
    assert match.pairs == ((0, IndexSet.range(0, 8)), (16, IndexSet.range(8, 14)))


def test_circular_padding_finds_the_other_end_in_such_a_crop():
    match = Match.cut([(0, 8), (24, 30)], 30)
    conv = Along(0, AxisMap.window(3, padding=1), Border.WRAP)
    assert carried(match, (conv, conv), (14, 30)).pairs == (
        (0, IndexSet.range(0, 7)),
        (16, IndexSet.range(9, 14)),
    )


def test_a_stride_that_a_crop_is_off_pairs_nothing():
    conv = Along(0, AxisMap.window(3, stride=2, padding=1))
    assert carried(Match.cut([(5, 12)], 20), (conv, conv), (4, 10)).pairs == ()
