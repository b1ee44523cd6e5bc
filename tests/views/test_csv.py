"""The CSV lines: one per layer, columns per input dimension."""

from __future__ import annotations

import csv

from fieldwise.views import csv as view
from tests.views.reports import CROSSED, GLOBAL, HOLED, LONE, OPAQUE, PIECED, PLAIN, UNITS


def lines(*rows, units=None):
    return list(csv.DictReader(view.render(rows, units=units).splitlines()))


def test_every_layer_is_one_line_with_columns_per_input_dimension():
    (line,) = lines(PLAIN)
    assert line["name"] == "conv1"
    assert line["shape"] == "1x8x32x32"
    assert (line["extent_2"], line["start_3"], line["stride_2"]) == ("3", "-1", "1")
    assert (line["full_2"], line["exact"], line["why"]) == ("false", "true", "")


def test_fractions_are_written_as_such():
    assert lines(CROSSED)[0]["stride_2"] == "1/2"


def test_a_full_axis_has_empty_cells_and_names_its_maker():
    (line,) = lines(GLOBAL)
    assert (line["extent_2"], line["full_2"], line["full_by_2"]) == ("", "true", "se.mean")
    assert line["local_extent_2"] == "5"


def test_columns_that_only_some_layers_have_are_empty_for_the_others():
    first, second = lines(PLAIN, GLOBAL)
    assert first["local_extent_2"] == ""
    assert second["local_extent_2"] == "5"


def test_an_upper_bound_says_why():
    assert lines(OPAQUE)[0]["why"] == "grid_sample reads where data says"


def test_units_bring_their_regions():
    first, second = lines(PLAIN, HOLED, units=UNITS)
    assert (first["unit"], first["lo_2"], first["hi_3"]) == ("3x4", "2", "5")
    assert (second["region_count"], second["lo_2"]) == ("0", "")


def test_every_kind_of_units_is_a_line_under_the_name_of_its_layer():
    head, first, second = lines(PIECED)
    assert {line["name"] for line in (head, first, second)} == {"head"}
    assert [line["units"] for line in (head, first, second)] == [
        "",
        "0..15 x 0..7",
        "16..19 x 0..7",
    ]
    assert (head["extent_2"], head["least_2"], head["stride_2"]) == ("911", "95", "")
    assert (second["extent_2"], second["start_2"], second["why"]) == ("911", "-440", "a bound")
    assert lines(LONE)[0]["of_unit"] == "4x5"
