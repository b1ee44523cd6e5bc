"""GeoTIFF's tags: what is read is where pixels lie, and what is written says the same."""

from __future__ import annotations

from fractions import Fraction

import pytest

from fieldwise.tile.files.geotiff import DOUBLES, KEYS, MATRIX, SCALE, TEXT, TIES
from fieldwise.tile.files.geotiff import georeference_of as read
from fieldwise.tile.files.geotiff import tags_of as written

AREA = (1, 1, 0, 2, 1024, 0, 1, 1, 1025, 0, 1, 1)
POINT = (1, 1, 0, 2, 1024, 0, 1, 1, 1025, 0, 1, 2)
NORTH_UP = {SCALE: (10.0, 10.0, 0.0), TIES: (0.0, 0.0, 0.0, 500000.0, 5200000.0, 0.0)}


def test_pixels_that_are_areas_are_counted_from_a_corner_and_points_from_a_centre():
    assert read({**NORTH_UP, KEYS: AREA}).at(Fraction(0), Fraction(0)) == (500005, 5199995)
    assert read(NORTH_UP).at(Fraction(0), Fraction(0)) == (500005, 5199995)
    assert read({**NORTH_UP, KEYS: POINT}).at(Fraction(0), Fraction(0)) == (500000, 5200000)


def test_a_tie_point_may_be_any_pixel():
    tags = {**NORTH_UP, TIES: (3.0, 4.0, 0.0, 30.0, 40.0, 0.0), KEYS: POINT}
    assert read(tags).at(Fraction(3), Fraction(4)) == (30, 40)
    assert read(tags).at(Fraction(4), Fraction(6)) == (40, 20)


@pytest.mark.parametrize("keys", [AREA, POINT])
@pytest.mark.parametrize(
    "tags",
    [
        NORTH_UP,
        {MATRIX: (10.0, 1.0, 0.0, 5.0, 2.0, -10.0, 0.0, 7.0, *[0.0] * 7, 1.0)},
        {TIES: (0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 9.0, 0.0, 0.0, 4.0, 5.0, 6.0)},
    ],
    ids=["north up", "turned", "ground control points"],
)
def test_what_is_written_is_what_was_read(tags, keys):
    given = {**tags, KEYS: keys, DOUBLES: (6378137.0,), TEXT: "WGS 84|"}
    assert {code: value for code, _, _, value, _ in written(read(given))} == given


@pytest.mark.parametrize(
    "tags",
    [
        {SCALE: (1.0, float("nan"), 0.0), TIES: NORTH_UP[TIES]},
        {SCALE: (0.0, 1.0, 0.0), TIES: NORTH_UP[TIES]},
        {MATRIX: (1.0, 2.0)},
        {TIES: (1.0, 2.0, 3.0)},
        {KEYS: ("a",)},
    ],
)
def test_tags_that_make_no_sense_raise_one_kind_of_error(tags):
    with pytest.raises(ValueError, match=r"tag|Model"):
        read(tags)


def test_a_page_without_such_tags_has_no_place():
    assert read({}) is None
