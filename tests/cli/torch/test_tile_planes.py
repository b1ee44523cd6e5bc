"""``fieldwise tile`` on files of five axes, and on some of their channels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import zarr
from typer.testing import CliRunner

from fieldwise.cli import app
from fieldwise.tile.files import FileView
from tests.tile.jobs.cases import content, enter, image

FILM = image(2, 3, 5, 60, 40)
"""Times, channels, planes, rows and columns."""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    about = {"axes": "TCZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0,
             "TimeIncrement": 3.0}  # fmt: skip
    tifffile.imwrite("film.ome.tif", FILM, metadata=about, photometric="minisblack")
    tifffile.imwrite("gray.ome.tif", FILM[:, :1], metadata=about, photometric="minisblack")
    zarr.create_array("film.zarr", data=FILM, chunks=(1, 2, 3, 32, 32), dimension_names=[*"tczyx"])


def run(*args, code=0):
    result = CliRunner().invoke(app, ["tile", *map(str, args)])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout + result.stderr


def whole(name, x):
    import job_nets  # type: ignore[import-not-found]

    with torch.no_grad():
        return getattr(job_nets, name)().eval()(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def plane_by_plane(name):
    return np.stack(
        [np.stack([whole(name, one[None, :, z])[0] for z in range(5)], axis=1) for one in FILM]
    )


@pytest.mark.parametrize("source", ["film.ome.tif", "film.zarr"])
@pytest.mark.parametrize(
    "how",
    [
        ("--band", 16, "--piece", 30),
        ("--engine", "halo", "--tile", 32),
        ("--engine", "halo", "--tile", 16, "--batch", 3),
        ("--strip", 16, "--band", 16),
        ("--memory", "200KiB"),
    ],
    ids=["bands", "crops", "batches", "strips", "memory"],
)
def test_a_network_of_images_takes_times_and_planes_one_by_one(source, how):
    out = "out.ome.tif" if source == "film.ome.tif" else "out.ome.zarr"
    told = run("job_nets:unet", source, out, *how)
    assert "(TCZYX), 10x3x60x40" in told
    assert "note    the model takes the 10 positions along T and Z one by one" in told
    found = tifffile.imread(out) if out.endswith("tif") else zarr.open_array(f"{out}/0")[:]
    np.testing.assert_allclose(found, plane_by_plane("unet"), atol=1e-5)
    assert run("--check", out).endswith("all as written\n")


def test_steps_of_times_and_planes_stay():
    told = run("job_nets:unet", "film.ome.tif", "out.ome.tif", "--plan")
    assert "  keeps   T 3 s, Z 2 µm, Y 0.5 µm, X 0.5 µm\n" in told


def test_a_network_of_volumes_takes_times_one_by_one():
    told = run("job_nets:volume", "gray.ome.tif", "out.zarr")
    assert "(TZYX), 2x1x5x60x40" in told
    wanted = np.stack([whole("volume", one[None, :1])[0] for one in FILM])
    found = zarr.open_array("out.zarr")
    assert found.metadata.dimension_names == tuple("TCZYX")
    np.testing.assert_allclose(found[:], wanted, atol=1e-5)


def test_classes_of_every_plane_are_a_stack():
    run("job_nets:classes", "film.ome.tif", "out.zarr")
    wanted = np.stack([[whole("classes", one[None, :, z])[0] for z in range(5)] for one in FILM])
    assert zarr.open_array("out.zarr").metadata.dimension_names == tuple("TZYX")
    assert (zarr.open_array("out.zarr")[:] == wanted).mean() > 0.999


def test_every_plane_has_passes_of_its_own():
    run("job_nets:gated", "film.ome.tif", "out.zarr", "--global-ops", "multipass", "--band", 16)
    np.testing.assert_allclose(zarr.open_array("out.zarr")[:], plane_by_plane("gated"), atol=1e-5)


def test_axes_of_a_file_that_does_not_say_them_are_named():
    np.save("film.npy", FILM)
    for axes in ("TCZYX", "tCzYX"):
        run("job_nets:unet", "film.npy", "out.npy", "--axes", axes, "--overwrite")
        np.testing.assert_allclose(np.load("out.npy"), plane_by_plane("unet"), atol=1e-5)


def test_single_planes_and_times_are_no_obstacle():
    np.save("one.npy", FILM[:1, :, :1])
    told = run("job_nets:unet", "one.npy", "out.npy", "--axes", "TCZYX")
    assert "1x3x60x40" in told
    wanted = plane_by_plane("unet")[:1, :, :1]
    np.testing.assert_allclose(np.load("out.npy"), wanted, atol=1e-5)


@pytest.mark.parametrize("out", ["out.npy", "out.zarr", "out.ome.tif"])
def test_a_run_that_was_interrupted_between_planes_ends_with_the_same_bytes(out, monkeypatch):
    run("job_nets:unet", "film.ome.tif", out)
    wanted, write, count = content(Path(out)), FileView.write, []

    def dies(self, start, block):
        count.append(1)
        if len(count) == 5:
            raise KeyboardInterrupt
        write(self, start, block)

    monkeypatch.setattr(FileView, "write", dies)
    told = run("job_nets:unet", "film.ome.tif", out, "--overwrite", code=130)
    assert re.search(r"Interrupted; [24] of 10 pieces are on disk", told)
    monkeypatch.setattr(FileView, "write", write)
    run("job_nets:unet", "film.ome.tif", out, "--resume")
    assert content(Path(out)) == wanted


def test_columns_are_not_handed_on_from_plane_to_plane():
    told = run("job_nets:unet", "film.ome.tif", "out.npy", "--cache", "both", code=2)
    assert "--cache both hands columns on within one image, and IN has several" in told


@pytest.mark.parametrize("how", [(), ("--engine", "halo", "--tile", 32)])
def test_some_channels_of_an_image_are_read(how):
    tifffile.imwrite("rgba.tif", image(60, 40, 4), photometric="rgb", extrasamples=["unassalpha"])
    run("job_nets:unet", "rgba.tif", "out.npy", "--channels", "2,1,0", *how)
    x = image(60, 40, 4)[..., [2, 1, 0]].transpose(2, 0, 1)[None]
    found = np.load("out.npy")
    axis = found.shape.index(2)
    np.testing.assert_allclose(np.moveaxis(found, axis, 0), whole("unet", x)[0], atol=1e-5)


def test_a_mask_holds_for_every_plane_and_nodata_is_looked_for_in_one_image():
    mask = np.zeros((60, 40), np.uint8)
    mask[10:20, 5:30] = 1
    np.save("mask.npy", mask)
    run("job_nets:unet", "film.ome.tif", "out.npy", "--mask", "mask.npy", "--fill", "-7")
    wanted = np.where(mask, plane_by_plane("unet"), np.float32(-7))
    np.testing.assert_allclose(np.load("out.npy"), wanted, atol=1e-5)
    told = run("job_nets:unet", "film.ome.tif", "other.npy", "--nodata", "0", code=2)
    assert "--nodata looks for missing data in one image, and IN has 10; leave it out" in told


def test_percentiles_are_those_of_the_channels_that_are_read():
    x = image(3, 60, 40) * np.array([1, 10, 100], np.float32)[:, None, None]
    np.save("a.npy", x)
    low, high = np.percentile(x[[2, 0, 1]], (1, 99), axis=(1, 2)).astype("f4")
    wanted = (x[[2, 0, 1]] - low[:, None, None]) / (high - low)[:, None, None]
    run("job_nets:unet", "a.npy", "out.npy", "--axes", "CHW", "--channels", "2,0,1",
        "--percentiles", "1,99")  # fmt: skip
    np.testing.assert_allclose(np.load("out.npy"), whole("unet", wanted[None])[0], atol=1e-5)


def test_other_channels_are_another_job():
    np.save("a.npy", image(4, 60, 40))
    options = ("job_nets:unet", "a.npy", "out.npy", "--axes", "CHW")
    run(*options, "--channels", "0,1,2")
    told = run(*options, "--channels", "1,2,3", "--resume", code=2)
    assert "--channels has changed since this job was begun" in told


RGBA = "The model takes 3 channels, x.tif has 4 (RGBA); --channels 0,1,2 reads the first of them"


@pytest.mark.parametrize(
    ("model", "shape", "options", "told"),
    [
        ("job_nets:unet", (60, 40, 4), (), RGBA),
        ("job_nets:unet", (60, 40, 4), ("--axes", "YXC"), RGBA),
        ("layers:conv3p1", (60, 40, 3), ("--input", "1x1x8x8"),
         "The model takes 1 channel, x.tif has 3; --channels 0 reads the first of them"),
        ("job_nets:gray", (60, 40, 3), (),
         "The model takes 1 channel, x.tif has 3; --channels 0 reads the first of them"),
        ("job_nets:unet", (60, 40), (),
         "The model takes 3 channels, x.tif has 1; --channels 0,0,0 repeats it"),
        ("job_nets:unet", (60, 40, 4), ("--channels", "0,4,1"),
         "The input has channels 0 to 3, and --channels is 0,4,1."),
        ("job_nets:unet", (60, 40, 4), ("--channels", "red"),
         "--channels 'red' is no list of channels; write 0,1,2."),
    ],
)  # fmt: skip
def test_channels_that_differ_are_said_with_the_option_that_helps(model, shape, options, told):
    colours = {"photometric": "rgb"} if shape[2:] in ((3,), (4,)) else {"photometric": "minisblack"}
    tifffile.imwrite("x.tif", image(*shape), **colours)
    assert told in run(model, "x.tif", "out.npy", *options, code=2)
