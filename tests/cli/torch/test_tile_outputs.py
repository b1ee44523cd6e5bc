"""``fieldwise tile --out``: what is written of the outputs, and the certificate of it."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

from fieldwise.cli import app
from tests.cli.torch.tile_command import run, whole
from tests.tile.jobs.cases import enter, image

SEVERAL = ("job_nets:several", "in.npy")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save("in.npy", image(3, 96, 32))


def test_classes_are_a_picture_that_is_checked_like_any_result():
    Image = pytest.importorskip("PIL.Image")
    given = ("tile", *SEVERAL, "out.png", "--out", "mask:argmax", "--verify")
    result = CliRunner().invoke(app, given)
    assert "compared with the whole" in result.stdout
    note = "note: mask:argmax is a function of one position each, of the values that were compared"
    assert note in result.stderr
    wanted = whole("several", image(3, 96, 32))["mask"].argmax(1)[0]
    np.testing.assert_array_equal(np.asarray(Image.open("out.png")), wanted)
    assert "all as written" in run("--check", "out.png")
    assert "wrote out.png" in run(*SEVERAL, "out.png", "--out", "mask:argmax", "--resume")


def test_an_output_is_written_as_the_type_that_is_asked_for():
    run(*SEVERAL, "out.npy", "--out", "half:*200", "--out-dtype", "uint8", "--engine", "halo",
        "--tile", 32)  # fmt: skip
    half = whole("several", image(3, 96, 32))["half"][0].numpy()
    found = np.load("out.npy")
    assert found.dtype == np.uint8
    assert np.abs(found - np.clip(np.rint(half * 200), 0, 255)).max() <= 1
    run(*SEVERAL, "b.npy", "--out", "half")
    np.testing.assert_allclose(np.load("b.npy"), half, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["out.npy", "--out", "argmax"], "several outputs (mask, half), and --out is of one"),
        (["out.npy", "--out", "nose"], "nor an output of the model, which has mask, half"),
        (["out.npy", "--out", "sigmoid>x"], "compares with no number"),
        (["out.png", "--out", "mask:softmax"], "holds uint8 here, not float32; give --out-dtype"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(arguments, told):
    assert told in run(*SEVERAL, *arguments, code=2)


@pytest.mark.parametrize("engine", [["--band", 16], ["--engine", "halo", "--tile", 32]])
def test_a_result_is_compressed_and_gone_on_with_after_an_interrupt(engine, monkeypatch):
    arguments = ("job_nets:unet", "in.npy", "out.tif", "--compression", "zstd", "--chunks", 32)
    from fieldwise.tile.files.tiff_packed import PackedTiffSink

    put, count = PackedTiffSink.write, []

    def dies(self, start, block):
        if len(count) == 2:
            raise KeyboardInterrupt
        count.append(start)
        put(self, start, block)

    monkeypatch.setattr(PackedTiffSink, "write", dies)
    run(*arguments, *engine, code=130)
    monkeypatch.setattr(PackedTiffSink, "write", put)
    run(*arguments, *engine, "--resume")
    wanted = whole("unet", image(3, 96, 32))[0].numpy()
    with tifffile.TiffFile("out.tif") as tiff:
        assert tiff.pages.first.compression == tifffile.COMPRESSION.ZSTD
        assert tiff.pages.first.tile == (32, 32)
    np.testing.assert_allclose(tifffile.imread("out.tif"), wanted, atol=1e-5)
    assert "all as written" in run("--check", "out.tif")
    assert "--compression is of .tif and .zarr" in run(
        "job_nets:unet", "in.npy", "out.npy", "--compression", "zstd", code=2
    )


def test_another_ending_is_another_job():
    run(*SEVERAL, "out.npy", "--out", "mask:argmax")
    said = run(*SEVERAL, "out.npy", "--out", "half", "--resume", code=2)
    assert "changed since this job was begun" in said
    assert torch.from_numpy(np.load("out.npy")).dtype == torch.uint8
