"""The JSON document: the schema that scripts rely on."""

from __future__ import annotations

import json

from fieldwise.views import field_json
from fieldwise.views import json as writer
from tests.views.reports import (
    CROSSED,
    CUT,
    GLOBAL,
    HOLED,
    JOINED,
    LONE,
    OPAQUE,
    PHASED,
    PIECED,
    PLAIN,
    UNITS,
    report,
)


def document(*rows, units=None):
    return json.loads(writer.text(field_json.data(report(*rows), rows, model="net", units=units)))


def layer(row, **more):
    return document(row, **more)["layers"][0]


def test_a_plain_layer_has_exactly_the_keys_of_the_schema():
    assert document(PLAIN) == {
        "schema": 1,
        "model": "net",
        "input": {"shape": [1, 3, 64, 64]},
        "layers": [
            {
                "name": "conv1",
                "names": ["conv1"],
                "op": "conv",
                "shape": [1, 8, 32, 32],
                "extent": [3, 3],
                "count": [3, 3],
                "stride": [1, 1],
                "start": [-1, -1],
                "centre": [0, 0],
                "period": [1, 1],
                "full": [False, False],
                "products": 1,
                "exact": True,
                "why": None,
            }
        ],
    }


def test_a_stride_that_is_not_whole_is_a_string():
    assert layer(CROSSED)["stride"] == ["1/2", "1/2"]


def test_all_names_of_a_value_are_listed_that_of_the_entry_first():
    found = layer(CROSSED)
    assert found["names"] == [found["name"], "block"]


def test_numbers_are_null_on_a_full_axis_and_the_local_field_stands_beside_them():
    found = layer(GLOBAL)
    assert found["extent"] == found["stride"] == found["period"] == [None, None]
    assert found["full"] == [True, True]
    assert found["full_by"] == ["se.mean", "se.mean"]
    assert found["local"]["extent"] == [5, 5]


def test_what_makes_a_row_unusual_is_said():
    assert layer(OPAQUE)["why"] == "grid_sample reads where data says"
    assert layer(JOINED)["misaligned"] == "join"
    assert layer(JOINED)["at_this_size"] is True


def test_a_field_cut_off_by_the_input_is_there_beside_the_whole_one():
    assert (layer(CUT)["extent"], layer(CUT)["clipped"]) == ([97, 97], [64, 64])


def test_the_context_of_every_phase_is_there_where_phases_differ():
    assert layer(PHASED)["context"] == [[[1, 1], ["3/2", "3/2"]], []]


def test_a_unit_brings_its_region_with_inclusive_ends():
    found = layer(PLAIN, units=UNITS)
    assert found["unit"] == [3, 4]
    assert found["region"] == {
        "lo": [2, 3],
        "hi": [4, 5],
        "count": 9,
        "products": [[[2, 4, 3], [3, 5, 3]]],
    }


def test_a_unit_that_sees_nothing_has_no_ends():
    assert layer(HOLED, units=UNITS)["region"] == {
        "lo": None,
        "hi": None,
        "count": 0,
        "products": [],
    }


def test_a_map_without_the_unit_has_no_region():
    found = layer(CROSSED, units=UNITS)
    assert (found["unit"], found["region"]) == (None, None)


def test_every_kind_of_units_is_an_entry_of_its_own():
    found = layer(PIECED)
    assert (found["extent"], found["least"], found["stride"]) == ([911, 7], [95, None], [None, 8])
    first, second = found["pieces"]
    assert first["units"] == [[[0, 15]], [[0, 7]]]
    assert (second["extent"], second["start"], second["exact"]) == ([911, 7], [-440, 0], False)
    assert "of_unit" not in found
    assert layer(LONE)["of_unit"] == [4, 5]
