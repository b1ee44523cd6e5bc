"""What a NIfTI header says of its voxels stands in the result's, held against nibabel's maps."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fieldwise.tile.files import NewFile, OutputGrid, SampleStep, calibration_of, open_source
from fieldwise.tile.files.calibration import Calibration

nib = pytest.importorskip("nibabel")
apply_affine = pytest.importorskip("nibabel.affines").apply_affine

THIRD, HALF = Fraction(1, 3), Fraction(1, 2)
GRIDS = {
    "Z": OutputGrid(Fraction(2), HALF),
    "Y": OutputGrid(Fraction(1), Fraction(0)),
    "X": OutputGrid(4 * THIRD, -THIRD),
}


def turned() -> np.ndarray:
    """An oblique map: rotated about all axes, voxels of 0.7 x 1.25 x 3 mm."""
    turn = nib.eulerangles.euler2mat(0.3, -0.2, 0.5)
    return nib.affines.from_matvec(turn @ np.diag([0.7, 1.25, 3.0]), [-90.5, 12.25, 7])


def volume(path: Path, *, sform: int = 1, qform: int = 2, units: tuple[str, str] = ("mm", "sec")):
    image = nib.Nifti1Image(np.zeros((12, 10, 8, 3), "f4"), turned())
    image.header.set_sform(turned(), sform)
    image.header.set_qform(turned(), qform)
    image.header.set_zooms((0.7, 1.25, 3.0, 2.5))
    image.header.set_xyzt_units(*units)
    nib.save(image, path)
    return calibration_of(open_source(path), "DHWT")


def written(path: Path, about: Calibration, shape: tuple[int, ...], axes: str) -> NewFile:
    file = NewFile.of(path, shape, np.dtype("f4"), axes).saying(about)
    file.create()
    return file


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("codes", [(1, 2), (4, 0), (0, 1)])
def test_a_voxel_of_the_result_lies_where_nibabel_puts_its_place_in_the_input(
    tmp_path, codes, name
):
    about = volume(tmp_path / name, sform=codes[0], qform=codes[1])
    kept, lost = about.on({**GRIDS, "T": OutputGrid(Fraction(1))})
    assert lost == ()
    file = written(tmp_path / "out.nii", kept, (6, 10, 9, 2), "DHWT")
    assert file.lost == ()
    found, given = nib.load(tmp_path / "out.nii"), nib.load(tmp_path / name)
    voxels = np.argwhere(np.ones((6, 10, 9)))
    places = np.stack(
        [float(GRIDS[axis].start) + float(GRIDS[axis].step) * voxels[:, n]
         for n, axis in enumerate("ZYX")], axis=1,
    )  # fmt: skip
    wanted = apply_affine(given.affine, places)
    np.testing.assert_allclose(apply_affine(found.affine, voxels), wanted, atol=2e-5)
    for form, code in zip(("sform", "qform"), codes, strict=True):
        matrix, kept_code = getattr(found.header, f"get_{form}")(coded=True)
        assert kept_code == code
        if code:
            np.testing.assert_allclose(apply_affine(matrix, voxels), wanted, atol=2e-5)
    sizes = (1.4, 1.25, 4.0, 2.5)
    np.testing.assert_allclose(found.header.get_zooms(), sizes, rtol=1e-6)
    assert found.header.get_xyzt_units() == ("mm", "sec")


def test_sizes_are_exact_and_read_in_their_unit(tmp_path):
    about = volume(tmp_path / "a.nii", units=("micron", "msec"))
    assert about.steps["Z"] == SampleStep(Fraction(7, 10), "micrometer")
    assert str(about) == ("Z 0.7 µm, Y 1.25 µm, X 3 µm, T 2.5 ms; affine sform and qform")


def test_the_same_file_is_read_and_written_without_a_change(tmp_path):
    about = volume(tmp_path / "a.nii", units=("unknown", "unknown"))
    written(tmp_path / "out.nii", about, (12, 10, 8, 3), "DHWT")
    again = calibration_of(open_source(tmp_path / "out.nii"), "DHWT")
    assert again.steps == about.steps
    assert again.affines[0] == about.affines[0]
    units = nib.load(tmp_path / "out.nii").header.get_xyzt_units()
    assert units == ("unknown", "unknown")


def test_lengths_of_other_files_become_millimetres(tmp_path):
    steps = {"Z": SampleStep(Fraction(2), "micrometer"), "Y": SampleStep(Fraction(1), "centimeter")}
    file = written(tmp_path / "out.nii", Calibration(steps), (5, 6, 7), "DHW")
    assert file.lost == ()
    header = nib.load(tmp_path / "out.nii").header
    np.testing.assert_allclose(header.get_zooms(), (0.002, 10, 1), rtol=1e-6)
    assert header.get_xyzt_units() == ("mm", "unknown")


@pytest.mark.parametrize(
    ("name", "axes", "said"),
    [
        ("out.nii", "CDHW", "affine sform: it is of the axes Z Y X, not of CDHW"),
        ("out.ome.zarr", "CDHW", "affine sform and qform: name the result .nii"),
        ("out.tif", "CDHW", "affine sform and qform: name the result .nii"),
        ("out.npy", "CDHW", "affine sform and qform: name the result .nii"),
        ("out.h5", "CDHW", "affine sform and qform: name the result .nii"),
    ],
)
def test_a_map_that_a_file_cannot_hold_is_said(tmp_path, name, axes, said):
    about, _ = volume(tmp_path / "a.nii").on(GRIDS)
    file = NewFile.of(tmp_path / name, (2, 6, 10, 9), np.dtype("f4"), axes).saying(about)
    assert said in file.lost


@pytest.mark.parametrize(
    ("about", "axes", "said"),
    [
        ({"Z": SampleStep(Fraction(1), "second")}, "DHW",
         "Z 1 s: the first three axes of a NIfTI file have metres, millimetres or micrometres"),
        ({"T": SampleStep(Fraction(1), "hour")}, "DHWT",
         "T 1 h: the fourth axis of a NIfTI file has seconds, milliseconds or microseconds"),
        ({"T": SampleStep(Fraction(1), "second")}, "DHWCT",
         "T 1 s: a NIfTI file has units for four axes"),
        ({"X": SampleStep(Fraction(1), "meter", Fraction(5))}, "DHW",
         "origin 5 of X: NIfTI has an affine map in its place, which the input has not; zarr "
         "named .ome.zarr holds origins"),
    ],
)  # fmt: skip
def test_a_step_that_the_header_cannot_hold_is_said(tmp_path, about, axes, said):
    file = NewFile.of(tmp_path / "a.nii", (4,) * len(axes), np.dtype("f4"), axes)
    assert file.saying(Calibration(about)).lost == (said,)


def test_what_else_is_not_of_volumes_is_said(tmp_path):
    about = Calibration(nodata="-1", attributes={"title": 1})
    file = NewFile.of(tmp_path / "a.nii", (4, 4, 4), np.dtype("f4"), "DHW").saying(about)
    assert file.lost == (
        "nodata -1: NIfTI has no word for it", "attributes title: NIfTI holds none",
    )  # fmt: skip


def test_a_map_along_which_results_have_no_place_is_lost_in_a_sentence(tmp_path):
    about = volume(tmp_path / "a.nii")
    kept, lost = about.on({**GRIDS, "X": None, "T": OutputGrid(Fraction(1))})
    assert kept.affines == ()
    assert "affine sform: results have no regular place along X" in lost
