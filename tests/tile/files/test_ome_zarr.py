"""OME-Zarr groups and plain arrays: what is read of them, and what stands in a result."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from fieldwise.errors import UsageError
from fieldwise.tile.files import NewFile, calibration_of, open_source
from fieldwise.tile.files.calibration import Calibration, SampleStep
from fieldwise.tile.files.pyramid import halved
from tests.tile.jobs.cases import content, image

VALUES = image(2, 60, 50)
AXES = [
    {"name": "c", "type": "channel"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]


def transforms(scale: float, origin: float) -> list[dict[str, Any]]:
    return [
        {"type": "scale", "scale": [1.0, scale, scale]},
        {"type": "translation", "translation": [0.0, origin, origin]},
    ]


def said(**more: object) -> dict[str, Any]:
    """Two levels, and a transformation of both, in the style of bioformats2raw."""
    datasets = [
        {"path": str(n), "coordinateTransformations": transforms(0.65 * 2**n, 0.325 * n)}
        for n in range(2)
    ]
    both = [{"type": "scale", "scale": [1.0, 2.0, 2.0]}]
    one = {"axes": AXES, "datasets": datasets, "coordinateTransformations": both, **more}
    return {"multiscales": [one], "omero": {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}}


def ome_04(path: Path) -> Path:
    group = zarr.open_group(str(path / "a.zarr"), mode="w", zarr_format=2)
    group.attrs.update(said(version="0.4"))
    return _levels(group, path / "a.zarr")


def ome_05(path: Path) -> Path:
    group = zarr.open_group(str(path / "b.zarr"), mode="w", zarr_format=3)
    group.attrs.update({"ome": {"version": "0.5", **said()}})
    return _levels(group, path / "b.zarr")


def _levels(group: zarr.Group, path: Path) -> Path:
    group.create_array("0", data=VALUES)
    group.create_array("1", data=VALUES[:, ::2, ::2])
    return path


def um(size: str, origin: str = "0") -> SampleStep:
    return SampleStep(Fraction(size), "micrometer", Fraction(origin))


@pytest.mark.parametrize("written", [ome_04, ome_05])
def test_a_group_is_its_largest_level_with_all_transformations(written, tmp_path):
    source = open_source(written(tmp_path))
    np.testing.assert_array_equal(source[(slice(None),) * 3], VALUES)
    assert source.axes == "CYX"
    about = calibration_of(source)
    assert about.steps == {"Y": um("1.3"), "X": um("1.3")}
    assert about.channels == ("DAPI", "GFP")
    assert source.note.endswith(
        "is an image of 2 levels, of which '0' is read; --level 1 is the next one"
    )


@pytest.mark.parametrize("written", [ome_04, ome_05])
@pytest.mark.parametrize("how", ["path", "level"])
def test_another_level_is_named_by_its_path_or_its_number(written, how, tmp_path):
    path = written(tmp_path)
    source = open_source(path / "1") if how == "path" else open_source(path, level=1)
    assert source.shape == (2, 30, 25)
    assert source.axes == "CYX"
    assert calibration_of(source).steps == {"Y": um("2.6", "0.65"), "X": um("2.6", "0.65")}


def test_a_level_that_is_not_there_and_a_file_without_levels_are_a_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"has levels 0 to 1, and --level is 2\.$"):
        open_source(ome_05(tmp_path), level=2)
    np.save(tmp_path / "a.npy", VALUES)
    with pytest.raises(UsageError, match=r"a\.npy' is none\.$"):
        open_source(tmp_path / "a.npy", level=0)


def test_the_identity_of_a_level_is_its_own(tmp_path):
    path = ome_05(tmp_path)
    before = open_source(path).identity()
    zarr.open_array(str(path / "1"), mode="r+")[0, 0, 0] = 7
    assert open_source(path).identity() == before
    zarr.open_array(str(path / "0"), mode="r+")[0, 0, 0] = 7
    assert open_source(path).identity() != before


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        (
            {"plate": {"wells": [{"path": "A/1"}, {"path": "A/2"}]}},
            r"is a plate, whose wells hold images; name one of them: \S+A/1/0, \S+A/2/0\.$",
        ),
        ({"well": {"images": [{"path": "0"}]}}, r"is a well of a plate; name .*zarr/0\.$"),
        ({"labels": ["cells"]}, r"holds labels; name one of them: .*zarr/cells\.$"),
        (
            {"bioformats2raw.layout": 3},
            r"holds images of one file; name one of them: \S+zarr/0, \S+zarr/1\.$",
        ),
    ],
)
def test_a_group_of_images_names_them(attributes, told, tmp_path):
    group = zarr.open_group(str(tmp_path / "p.zarr"), mode="w", zarr_format=2)
    group.attrs.update(attributes)
    for name in ("0", "1", "OME"):
        group.create_group(name)
    with pytest.raises(UsageError, match=told):
        open_source(tmp_path / "p.zarr")


def test_the_only_image_of_a_file_is_opened(tmp_path):
    ome_04(tmp_path)
    group = zarr.open_group(str(tmp_path / "p.zarr"), mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    (tmp_path / "a.zarr").rename(tmp_path / "p.zarr" / "0")
    assert open_source(tmp_path / "p.zarr").axes == "CYX"


@pytest.mark.parametrize(
    "wrong",
    [
        {"axes": 3},
        {"datasets": []},
        {"datasets": [{}]},
    ],
)
def test_multiscales_that_make_no_sense_are_one_sentence(wrong, tmp_path):
    path = ome_05(tmp_path)
    zarr.open_group(str(path), mode="r+").attrs["ome"] = {"version": "0.5", **said(**wrong)}
    with pytest.raises(UsageError, match=r"cannot be read as OME-Zarr: its multiscales"):
        open_source(path)


@pytest.mark.parametrize(
    "wrong",
    [
        [{"type": "scale", "scale": [1.0]}],
        [{"type": "affine", "affine": []}],
        [{"type": "scale", "scale": [1.0, "a", 1.0]}],
    ],
)
def test_a_transformation_that_cannot_be_read_is_left_out_and_that_is_said(wrong, tmp_path):
    path = ome_05(tmp_path)
    attributes = {"version": "0.5", **said(coordinateTransformations=wrong)}
    zarr.open_group(str(path), mode="r+").attrs["ome"] = attributes
    source = open_source(path)
    assert calibration_of(source) is None
    assert "its calibration is left out, since it cannot be read" in source.note


def test_names_of_dimensions_are_axes_and_stay_with_the_attributes(tmp_path):
    """As xarray writes: _ARRAY_DIMENSIONS in version 2, dimension_names in version 3."""
    names, attributes = ["time", "lat", "lon"], {"title": "sea", "scale_factor": 0.1}
    two = zarr.create_array(str(tmp_path / "v2.zarr"), data=VALUES, zarr_format=2)
    two.attrs.update({**attributes, "_ARRAY_DIMENSIONS": names})
    three = zarr.create_array(str(tmp_path / "v3.zarr"), data=VALUES, dimension_names=names)
    three.attrs.update(attributes)
    for name in ("v2.zarr", "v3.zarr"):
        source = open_source(tmp_path / name)
        assert source.axes == "TYX"
        file = NewFile.of(tmp_path / f"out{name}", (2, 60, 50), np.dtype("f4"), "TYX")
        file = file.saying(calibration_of(source))
        assert file.lost == ("attributes scale_factor: they speak of the input's values",)
        file.create()
        made = zarr.open_array(str(file.path), mode="r")
        assert made.metadata.dimension_names == tuple(names)
        assert dict(made.attrs) == {"title": "sea"}


def made(path: Path, values: np.ndarray, axes: str, about: Calibration, **more: Any) -> NewFile:
    file = NewFile.of(path, values.shape, values.dtype, axes)
    object.__setattr__(file, "pyramid", more.get("pyramid", False))
    file = file.saying(about)
    sink = file.create()
    sink.write((0,) * values.ndim, values)
    sink.flush()
    file.finish()
    assert file.reopen().frame() == sink.frame()
    return file


def test_an_ome_zarr_result_says_steps_and_origins(tmp_path):
    steps = {"Y": um("1.3", "2.6"), "X": um("1.3", "-1"), "T": SampleStep(Fraction(3), "second")}
    about = Calibration(steps, attributes={"lab": "x"})
    file = made(tmp_path / "o.ome.zarr", image(2, 3, 40, 30), "TCYX", about)
    assert file.lost == ()
    source = open_source(file.path)
    np.testing.assert_array_equal(source[(slice(None),) * 4], image(2, 3, 40, 30))
    assert calibration_of(source).steps == steps
    told = json.loads((file.path / "zarr.json").read_text())["attributes"]
    assert told["lab"] == "x"
    assert told["ome"]["version"] == "0.5"
    assert [axis["name"] for axis in told["ome"]["multiscales"][0]["axes"]] == list("tcyx")


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_levels_lie_where_they_say(dtype, tmp_path):
    """The values of a level are those of a plane at its places: means keep a linear one."""
    rows, columns = np.meshgrid(np.arange(1300), np.arange(700), indexing="ij")
    values = ((rows + 3 * columns) % 251 if dtype == "uint8" else rows + 3 * columns).astype(dtype)
    about = Calibration({"Y": um("1"), "X": um("1")})
    file = made(tmp_path / "o.ome.zarr", values, "YX", about, pyramid=True)
    for level in (1, 2):
        source = open_source(file.path, level=level)
        found = source[(slice(None), slice(None))]
        step = calibration_of(source).steps["Y"]
        assert step.size == 2**level
        assert found.shape == (1300 >> level, 700 >> level)
        y, x = (float(step.origin) + float(step.size) * np.arange(n) for n in found.shape)
        wanted = y[:, None] + 3 * x[None]
        np.testing.assert_array_equal(found, wanted % 251 if dtype == "uint8" else wanted)
    assert not (file.path / "3").exists()


def test_levels_that_are_filled_stay_and_missing_chunks_are_made_again(tmp_path):
    values = image(1100, 300)
    file = made(tmp_path / "o.ome.zarr", values, "YX", Calibration(), pyramid=True)
    before = content(file.path)
    chunk = next(
        iter(sorted(path for path in (file.path / "1" / "c").rglob("*") if path.is_file()))
    )
    chunk.unlink()
    file.finish()
    assert content(file.path) == before


def test_a_level_of_odd_size_ends_with_what_is_left():
    np.testing.assert_array_equal(halved(np.array([[1.0, 3], [5, 7], [9, 9]]), (0, 1)), [[4], [9]])


def test_axes_that_no_image_has_are_refused_with_a_name_that_goes(tmp_path):
    file = NewFile.of(tmp_path / "o.ome.zarr", (9, 9, 2), np.dtype("f4"), "YXC")
    with pytest.raises(UsageError, match=r"the result has YXC; name it o\.zarr\.$"):
        file.saying(Calibration({"Y": um("1")}))
    with pytest.raises(UsageError, match=r"the result has YXC; name it o\.zarr\.$"):
        file.create()


def test_a_plain_array_has_no_steps_and_says_which_name_has(tmp_path):
    file = made(tmp_path / "o.zarr", image(40, 30), "YX", Calibration({"Y": um("1.3")}))
    assert file.lost == ("Y 1.3 µm: name the result .ome.zarr to keep them",)


def test_other_tools_read_the_result(tmp_path):
    models = pytest.importorskip("ome_zarr_models")
    about = Calibration({"Y": um("1.3", "2.6"), "X": um("1.3")})
    file = made(tmp_path / "o.ome.zarr", image(1100, 300), "YX", about, pyramid=True)
    found = models.open_ome_zarr(zarr.open_group(str(file.path), mode="r"))
    assert len(found.ome_attributes.multiscales[0].datasets) == 3
