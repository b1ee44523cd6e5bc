"""``fieldwise tile`` from file to file: what is known of IN stands in OUT, or that is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import CliRunner

from fieldwise.cli import app
from fieldwise.tile.files import FileView
from tests.tile.jobs.cases import content, enter, image


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    about = {"axes": "CYX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65}
    tifffile.imwrite("in.ome.tif", image(3, 64, 48), metadata=about, photometric="minisblack")
    scale = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    datasets = [{"path": str(n), "coordinateTransformations": scale} for n in range(2)]
    axes = [{"name": "c", "type": "channel"}, *({"name": name, "type": "space"} for name in "yx")]
    one = {"axes": axes, "datasets": datasets}
    group = zarr.open_group("in.zarr", mode="w")
    group.attrs["ome"] = {"version": "0.5", "multiscales": [one]}
    group.create_array("0", data=image(3, 1300, 40))
    group.create_array("1", data=image(3, 600, 20))


def run(*args, code=0):
    result = CliRunner().invoke(app, ["tile", "job_nets:unet", *map(str, args)])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout + result.stderr


def test_a_plan_says_what_the_result_will_say_and_what_is_lost():
    told = run("in.ome.tif", "out.ome.tif", "--plan")
    assert "  keeps   Y 0.65 µm, X 0.65 µm\n" in told
    told = run("in.ome.tif", "out.npy", "--plan")
    assert "  lost    Y 0.65 µm, X 0.65 µm: a .npy file holds none\n" in told


def test_a_plan_as_data_says_so_too():
    told = run("in.ome.tif", "out.ome.tif", "--plan", "--format", "json")
    found = json.loads(told[: told.rindex("}") + 1])
    (result,) = found["results"]
    assert result["lost"] == []
    size = {"size": "13/20", "unit": "micrometer", "origin": 0}
    assert result["calibration"]["steps"] == [{"axis": "Y", **size}, {"axis": "X", **size}]


def test_a_level_is_read_and_levels_are_written():
    told = run("in.zarr", "one.ome.zarr", "--level", 1)
    assert "reads   in.zarr/1 (CYX), 1x3x600x20" in told
    told = run("in.zarr", "out.ome.zarr", "--pyramid")
    assert "'in.zarr' is an image of 2 levels, of which '0' is read; --level 1 is the next" in told
    group = zarr.open_group("out.ome.zarr", mode="r")
    assert sorted(name for name, _ in group.arrays()) == ["0", "1", "2"]
    whole = group["0"][:].astype("float64").reshape(2, 650, 2, 20, 2)
    np.testing.assert_allclose(group["1"][:], whole.mean((2, 4)), atol=1e-6)


@pytest.mark.parametrize("out", ["out.ome.zarr", "out.ome.tif"])
def test_a_run_that_was_interrupted_ends_with_the_same_bytes(out, monkeypatch):
    options = ("in.zarr", out, "--piece", 64, *(["--pyramid"] if "zarr" in out else []))
    run(*options)
    wanted, write, count = content(Path(out)), FileView.write, []

    def dies(self, start, block):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        write(self, start, block)

    monkeypatch.setattr(FileView, "write", dies)
    run(*options, "--overwrite", code=130)
    monkeypatch.setattr(FileView, "write", write)
    run(*options, "--resume")
    assert content(Path(out)) == wanted


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("in.ome.tif", "out.npy", "--level", 1), "'in.ome.tif' is none."),
        (("in.zarr", "out.npy", "--level", 7), "'in.zarr' has levels 0 to 1, and --level is 7."),
        (
            ("in.ome.tif", "out.zarr", "--pyramid"),
            "--pyramid is of a result named .ome.zarr, not of 'out.zarr'.",
        ),
        (("in.zarr/0", "in.zarr", "--overwrite"), "'in.zarr' holds the input; name another OUT."),
    ],
)
def test_what_makes_no_sense_is_one_sentence(arguments, told):
    assert told in run(*arguments, code=2)


def test_a_volume_keeps_its_place_in_the_world_with_channels_behind():
    """Turned by a quarter: the oracle is nibabel, at the place of a voxel in the input."""
    nib = pytest.importorskip("nibabel")
    turned = np.array([[0, -0.7, 0, 5], [1.25, 0, 0, -7], [0, 0, 3.0, 9], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(image(20, 16, 4), turned), "in.nii")
    model = ("layers:conv3/2p1 relu", "in.nii", "out.nii", "--axes", "HWz", "--random-weights")
    result = CliRunner().invoke(app, ["tile", *model])
    assert result.exit_code == 0, result.output + result.stderr
    assert "keeps   Y 2.5, X 1.4, Z 3; affine sform" in result.stdout
    found, voxel = nib.load("out.nii"), np.array([3, 2, 1])
    assert found.shape == (10, 8, 4)
    wanted = nib.affines.apply_affine(turned, voxel * [2, 2, 1])
    np.testing.assert_allclose(nib.affines.apply_affine(found.affine, voxel), wanted, rtol=1e-6)
