"""What an HDF5 file says of an array beside its values: read, scaled and written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fieldwise.tile.files import NewFile, OutputGrid, SampleStep, calibration_of, open_source
from fieldwise.tile.files.calibration import Calibration
from fieldwise.tile.files.georeference import Georeference

h5py = pytest.importorskip("h5py")

SHAPE = (6, 10, 12)
UM = "micrometer"


def stored(path: Path, **attributes: object) -> Path:
    with h5py.File(path, "w") as file:
        made = file.create_dataset("raw", data=np.zeros(SHAPE, "f4"))
        made.attrs.update(attributes)
    return path


def scaled(path: Path, places: dict[int, np.ndarray], units: str = "um") -> Path:
    """With a scale along some axes."""
    stored(path)
    with h5py.File(path, "a") as file:
        for axis, values in places.items():
            name = ("depth", "lat", "lon")[axis]
            scale = file.create_dataset(name, data=values)
            scale.attrs["units"] = units
            scale.make_scale(name)
            file["raw"].dims[axis].attach_scale(scale)
    return path


def about(path: Path) -> Calibration:
    found = calibration_of(open_source(path), "DHW")
    assert found is not None
    return found


def test_element_size_um_is_of_planes_rows_and_columns(tmp_path):
    found = about(stored(tmp_path / "a.h5", element_size_um=[2.0, 0.65, 0.7], title="scan", run=3))
    assert found.steps == {
        "Z": SampleStep(Fraction(2), UM), "Y": SampleStep(Fraction(13, 20), UM),
        "X": SampleStep(Fraction(7, 10), UM),
    }  # fmt: skip
    assert found.attributes == {"title": "scan", "run": 3}


def test_scales_that_are_regular_are_steps_and_name_the_axes(tmp_path):
    single = (1 + 0.7 * np.arange(12)).astype("f4")
    places = {0: np.arange(6) * 2.0, 1: 0.1 + 0.3 * np.arange(10), 2: single}
    source = open_source(scaled(tmp_path / "a.h5", places))
    assert source.axes == "ZYX"
    assert source.note is None
    assert about(tmp_path / "a.h5").steps == {
        "Z": SampleStep(Fraction(2), UM), "Y": SampleStep(Fraction(3, 10), UM, Fraction(1, 10)),
        "X": SampleStep(Fraction(7, 10), UM, Fraction(1)),
    }  # fmt: skip
    assert about(tmp_path / "a.h5").names == {"Z": "depth", "Y": "lat", "X": "lon"}


@pytest.mark.parametrize(
    "places",
    [np.arange(6) ** 2.0, np.arange(6)[::-1], np.full(6, np.nan), np.zeros(6), np.arange(5),
     np.arange(6) + 1j],
)  # fmt: skip
def test_scales_that_are_no_steps_are_said(tmp_path, places):
    source = open_source(scaled(tmp_path / "a.h5", {0: places}))
    assert source.note == f"{str(tmp_path / 'a.h5')!r} has scales that are not taken over: depth"


@pytest.mark.parametrize(
    "value", [[0.0, 1, 1], [np.nan, 1, 1], [-1.0, 1, 1], [1.0, 1], "x", [[1.0, 1, 1]], 5.0]
)
def test_sizes_that_are_none_are_not_taken(tmp_path, value):
    assert open_source(stored(tmp_path / "a.h5", element_size_um=value)).about.steps == {}


def test_a_result_says_it_on_its_own_grid_and_is_read_back(tmp_path):
    given = about(stored(tmp_path / "a.h5", element_size_um=[2.0, 0.65, 0.7], title="scan"))
    grids = {"Z": OutputGrid(Fraction(1)), "Y": OutputGrid(Fraction(2), Fraction(1, 2)),
             "X": OutputGrid(Fraction(2))}  # fmt: skip
    kept, lost = given.on(grids)
    assert lost == ()
    file = NewFile.of(tmp_path / "out.h5", (6, 5, 6), np.dtype("f4"), "DHW").saying(kept)
    assert file.lost == ()
    first = file.create().frame()
    assert file.create().frame() == first
    again = open_source(tmp_path / "out.h5")
    assert again.axes == "DHW"
    assert again.about.steps == kept.steps
    assert again.about.attributes == {"title": "scan"}
    with h5py.File(tmp_path / "out.h5") as opened:
        np.testing.assert_allclose(opened["data"].attrs["element_size_um"], [2, 1.3, 1.4])
        places = opened["data"].dims[1][0]
        np.testing.assert_allclose(places[:], 0.325 + 1.3 * np.arange(5))
        assert places.attrs["units"] == UM


def test_what_an_attribute_does_not_hold_is_said(tmp_path):
    zero = (Fraction(0), Fraction(0), Fraction(0))
    given = Calibration(
        attributes={"tree": {"a": 1}, "scale_factor": 2, "list": [1, 2]}, nodata="-1",
        place=Georeference(zero, zero),
    )  # fmt: skip
    file = NewFile.of(tmp_path / "o.h5", (4, 4), np.dtype("f4"), "YX").saying(given)
    assert file.lost == (
        "georeference: HDF5 has no word for it; name the result .tif",
        "attributes scale_factor: they speak of the input's values",
        "attributes tree: an HDF5 attribute holds numbers and texts",
    )
    file.create()
    with h5py.File(tmp_path / "o.h5") as opened:
        assert opened["data"].attrs["nodata"] == "-1"
        assert list(opened["data"].attrs["list"]) == [1, 2]
