"""``fieldwise tile`` with --mask and --nodata: what is wanted is as ever, the rest is filled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.cli.torch.tile_command import run, whole
from tests.tile.jobs.cases import enter, image

UNET = ("job_nets:unet", "in.npy", "out.npy", "--layout", "CHW")
HALO = ("--engine", "halo", "--tile", 32)
SHAPE = (3, 96, 64)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save("in.npy", image(*SHAPE))
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[5:20, 40:60] = 1
    mask[70, 3] = 200
    np.save("mask.npy", mask)


def read(name: str = "mask.npy") -> np.ndarray:
    return np.load(name)


@pytest.mark.parametrize(
    ("cut", "said"),
    [(HALO, "note    4 of 6 pieces are not wanted and not computed"),
     (("--piece", 16, "--band", 16), "pieces are not wanted and not computed"),
     ((), "note    0 of 1 pieces are not wanted and not computed; --engine halo or a smaller")],
)  # fmt: skip
def test_what_lies_in_the_mask_is_the_wholes_and_the_rest_is_filled(cut, said):
    run(*UNET, *cut)
    plain = np.load("out.npy")
    assert said in run(*UNET, *cut, "--mask", "mask.npy", "--fill", "-7", "--overwrite")
    found, inside = np.load("out.npy"), read() != 0
    np.testing.assert_array_equal(found[:, inside], plain[:, inside])
    assert (found[:, ~inside] == -7).all()
    assert "all as written" in run("--check", "out.npy")
    assert "wrote out.npy" in run(*UNET, *cut, "--mask", "mask.npy", "--fill", "-7", "--resume")


def test_pieces_outside_are_not_computed(monkeypatch):
    from fieldwise.tile.crops.run import TiledCallable

    crops, computed = TiledCallable.crops, []

    def counted(self, batch, source):
        computed.append(batch)
        return crops(self, batch, source)

    monkeypatch.setattr(TiledCallable, "crops", counted)
    run(*UNET, *HALO, "--mask", "mask.npy")
    assert len(computed) == 2


def test_a_mask_of_the_input_says_which_of_a_smaller_result_is_wanted():
    run("job_nets:several", "in.npy", "out.npy", "--out", "half", "--mask", "mask.npy", *HALO)
    found, mask = np.load("out.npy"), read() != 0
    inside = mask.reshape(48, 2, 32, 2).any(axis=(1, 3))
    wanted = whole("several", image(*SHAPE))["half"][0].numpy()
    np.testing.assert_allclose(found, np.where(inside, wanted, 0), atol=1e-6)


@pytest.mark.parametrize("cut", [(), HALO])
def test_no_data_in_is_no_data_out(cut):
    values = image(*SHAPE)
    values[:, 10:50, :30] = -1
    values[0, 60, 60] = -1  # the other channels are data
    np.save("in.npy", values)
    run(*UNET, *cut, "--nodata", "-1")
    found, empty = np.load("out.npy"), (values == -1).all(axis=0)
    assert empty.any()
    np.testing.assert_allclose(found[:, ~empty], whole("unet", values)[0].numpy()[:, ~empty],
                               atol=1e-5)  # fmt: skip
    assert (found[:, empty] == -1).all()
    run(*UNET, *cut, "--nodata", "-1", "--out", "argmax", "--fill", "255", "--overwrite")
    assert (np.load("out.npy")[empty] == 255).all()
    assert set(np.unique(np.load("out.npy")[~empty])) <= {0, 1}


def test_no_data_that_is_no_number():
    values = image(*SHAPE)
    values[:, 80:, :] = np.nan
    np.save("in.npy", values)
    run(*UNET, *HALO, "--nodata", "nan")
    found = np.load("out.npy")
    assert np.isnan(found[:, 80:]).all()
    np.testing.assert_allclose(
        found[:, :64], whole("unet", np.nan_to_num(values))[0].numpy()[:, :64], atol=1e-5
    )


def geotiff(path: str, nodata: str) -> None:
    tags = [
        (33550, 12, 3, (2.0, 2.0, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 500.0, 900.0, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
        (42113, 2, 0, nodata, True),
    ]
    values = image(*SHAPE)
    values[:, :20] = float(nodata)
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="separate",
                     extratags=tags)  # fmt: skip


def test_what_a_geotiff_file_says_of_no_data_is_kept():
    geotiff("in.tif", "-9999")
    run("job_nets:unet", "in.tif", "out.tif", "--layout", "CHW")
    found = tifffile.imread("out.tif")
    assert (found[:, :20] == -9999).all()
    assert not (found[:, 20:] == -9999).any()
    with tifffile.TiffFile("out.tif") as tiff:
        assert str(tiff.pages.first.tags[42113].value).strip("\0 ") == "-9999"
    run("job_nets:unet", "in.tif", "plain.tif", "--layout", "CHW", "--nodata", "none")
    assert not (tifffile.imread("plain.tif") == -9999).any()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--mask", "in.npy"], "The mask '"),
        (["--mask", "gone.npy"], "There is no file '"),
        (["--fill", "3"], "--fill stands where --mask or --nodata leave something out; give one."),
        (["--nodata", "x"], "--nodata 'x' is no list of numbers"),
        (["--nodata", "-1", "--out", "argmax", "--fill", "300"],
         "300 stands for what is not computed, and uint8 has no such value; give another --fill."),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(arguments, told):
    assert told in run(*UNET, *arguments, code=2)


def test_missing_data_are_looked_for_in_one_image():
    np.save("in.npy", image(2, *SHAPE))
    said = run("job_nets:unet", "in.npy", "out.npy", "--layout", "NCHW", "--nodata", "-1", code=2)
    assert "--nodata looks for missing data in one image, and IN has 2" in said


def test_a_mask_that_is_another_is_another_job():
    run(*UNET, "--mask", "mask.npy")
    np.save("mask.npy", np.ones(SHAPE[1:], np.uint8))
    said = run(*UNET, "--mask", "mask.npy", "--resume", code=2)
    assert "--mask" in said
    assert "changed since this job was begun" in said
    assert Path("out.npy").exists()
