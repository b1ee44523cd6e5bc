"""A calibration on another grid: steps and places by fractions; what is missing is said."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.tile.files import NewFile
from fieldwise.tile.files.calibration import (
    Calibration,
    OutputGrid,
    SampleStep,
    calibration_of,
)
from fieldwise.tile.files.georeference import Georeference

SIZES = st.fractions(min_value=Fraction(1, 1000), max_value=1000)
PLACES = st.fractions(min_value=-1000, max_value=1000)
GRIDS = st.builds(OutputGrid, SIZES, PLACES)
POSITION = st.integers(0, 500)


@given(SIZES, PLACES, GRIDS, POSITION)
def test_a_position_lies_where_the_sample_at_its_grid_point_lies(size, origin, grid, position):
    """The stupid oracle: the place of a sample, at a fraction of an index."""
    about = Calibration({"Y": SampleStep(size, "micrometer", origin)})
    found, lost = about.on({"Y": grid})
    step = found.steps["Y"]
    at = grid.start + grid.step * position
    assert step.origin + step.size * position == origin + size * at
    assert lost == ()


@given(
    st.tuples(PLACES, PLACES, PLACES),
    st.tuples(PLACES, PLACES, PLACES),
    GRIDS,
    GRIDS,
    POSITION,
    POSITION,
)
def test_a_georeference_moves_with_the_grid(x, y, columns, rows, column, row):
    place = Georeference(x, y)
    (found, _) = Calibration(place=place).on({"X": columns, "Y": rows})
    at = (columns.start + columns.step * column, rows.start + rows.step * row)
    assert found.place.at(Fraction(column), Fraction(row)) == place.at(*at)


def test_ground_control_points_move_with_the_grid():
    tie = tuple(map(Fraction, (10, 20, 0, 7, 8, 9)))
    place = Georeference(None, None, (tie,))
    found, _ = Calibration(place=place).on(
        {"X": OutputGrid(Fraction(2), Fraction(1)), "Y": OutputGrid(Fraction(4))}
    )
    assert found.place.ties == ((Fraction(9, 2), Fraction(5), *tie[2:]),)


def test_what_a_result_has_not_is_a_sentence_each():
    place = Georeference((Fraction(1),) * 3, (Fraction(1),) * 3)
    step = SampleStep(Fraction(2), "micrometer")
    about = Calibration({"Y": step, "X": step, "Z": step}, ("DAPI", "GFP"), place, "-9999")
    found, lost = about.on({"Y": None, "X": OutputGrid(Fraction(1))})
    assert found == Calibration({"X": step})
    assert lost == (
        "Y 2 µm: results have no regular place along Y",
        "georeference: results have no regular place along Y and X",
        "channels DAPI, GFP: they name the input's channels, not the result's",
        "nodata -9999: no value of the result stands for it",
    )


def test_a_grid_that_runs_against_the_axis_or_has_no_start_keeps_no_false_origin():
    about = Calibration({"Y": SampleStep(Fraction(2), "micrometer")})
    against, lost = about.on({"Y": OutputGrid(Fraction(-1), Fraction(9))})
    assert not against
    assert lost == ("Y 2 µm: results run against the axis",)
    somewhere, _ = about.on({"Y": OutputGrid(Fraction(2), None)})
    assert somewhere.steps["Y"] == SampleStep(Fraction(4), "micrometer", None)


def test_a_source_that_says_nothing_has_no_calibration():
    class Source:
        about = Calibration()

    assert calibration_of(Source()) is None
    assert calibration_of(object()) is None


class Named:
    """A file whose axes have letters of its own."""

    axes = "TYX"
    about = Calibration(
        {"T": SampleStep(Fraction(2), "second"), "Y": SampleStep(Fraction(1, 2), "meter")},
        names={"T": "time"},
    )


def test_steps_follow_the_places_of_axes_whatever_letters_they_are_read_by():
    found = calibration_of(Named(), "DHW")
    assert found.steps == {"Z": Named.about.steps["T"], "Y": Named.about.steps["Y"]}
    assert found.names == {"Z": "time"}
    assert calibration_of(Named(), "TYX") == Named.about == calibration_of(Named())


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
@pytest.mark.parametrize(("letter", "unit"), [("Z", "second"), ("T", "micrometer")])
def test_ome_is_not_given_seconds_in_space_nor_metres_in_time(tmp_path, name, letter, unit):
    steps = {letter: SampleStep(Fraction(2), unit), "Y": SampleStep(Fraction(1, 2), "micrometer")}
    file = NewFile.of(tmp_path / name, (3, 8, 9), np.dtype("uint8"), f"{letter}YX")
    file = file.saying(Calibration(steps))
    assert file.about.steps == {"Y": steps["Y"]}
    assert [one.partition(": OME gives")[0] for one in file.lost] == [f"{letter} {steps[letter]}"]
