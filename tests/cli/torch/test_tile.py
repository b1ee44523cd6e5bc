"""``fieldwise tile``: the plan, the result, the journal, the exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import zarr
from safetensors.torch import save_file
from typer.testing import CliRunner

from fieldwise.cli import app
from fieldwise.tile.bands.buffers import Buffer
from fieldwise.tile.files import AxisLayout, FileView
from tests.cli.torch.tile_command import run, whole
from tests.tile.jobs.cases import enter, image


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save("in.npy", image(3, 600, 30))
    np.save("cube.npy", image(3, 12, 3))
    np.save("flat.npy", image(50))
    np.save("odd.npy", image(3, 61, 31))
    np.save("empty.npy", image(3, 0, 30))
    np.save("scalar.npy", np.float32(1))
    Path("fake.tif").write_bytes(b"II*\0\0\0\0\0 is no picture")
    Path("short.npy").write_bytes(Path("in.npy").read_bytes()[:9000])


UNET = ("job_nets:unet", "in.npy", "out.npy", "--layout", "CHW")


def test_a_file_becomes_what_the_model_makes_of_the_whole():
    told = run(*UNET, "--band", 16)
    assert "wrote out.npy" in told
    assert "reads   in.npy (CHW), 1x3x600x30" in told
    assert "writes  out.npy (CHW), 1x2x600x30 float32" in told
    assert "engine  stream, 16 rows of H at a time" in told
    assert "pieces  3, each recorded when it is on disk" in told
    found = np.load("out.npy")
    wanted = whole("unet", image(3, 600, 30))[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("net", "shape", "axes"),
    [("unet", (3, 600, 30), "CHW"), ("unet", (2, 3, 60, 30), "NCHW"), ("unet", (60, 30, 3), "HWC"),
     ("volume", (50, 9, 8), "DHW"), ("audio", (2, 3000), "CL"), ("audio", (3000, 2), "LC")],
)  # fmt: skip
def test_the_axes_of_the_input_are_those_that_the_model_runs_on(net, shape, axes):
    np.save("in.npy", image(*shape))
    assert f"({axes})" in run(f"job_nets:{net}", "in.npy", "out.npy", "--overwrite")
    x = AxisLayout.of(axes).to_model(image(*shape))
    import job_nets  # type: ignore[import-not-found]

    with torch.no_grad():
        wanted = getattr(job_nets, net)().eval()(torch.from_numpy(np.ascontiguousarray(x)))
    found = (
        AxisLayout.of(axes)
        .of_result(wanted.shape, follows=(2, 2), batch=len(x))
        .to_model(np.load("out.npy"))
    )
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_tiles_of_the_halo_engine_give_the_same():
    told = run(*UNET, "--engine", "halo", "--tile", 160)
    assert "engine  halo, the model as it is, on overlapping crops" in told
    assert "axis H  4 tiles of 160 of 600; grid 2, halo 5 before and 5 after, clipped" in told
    assert "axis W  1 tile of 30 of 30; grid 2, halo" in told
    assert "pieces  4, each recorded when it is on disk; 1.06 times the input is read" in told
    wanted = whole("unet", image(3, 600, 30))[0].numpy()
    np.testing.assert_allclose(np.load("out.npy"), wanted, atol=1e-6)


def test_the_largest_tile_that_fits_is_taken():
    np.save("in.npy", image(3, 2000, 1500))
    told = run(*UNET, "--engine", "halo", "--memory", "4MiB", "--plan")
    tile = int(told.split("tiles of ")[1].split()[0])
    assert 150 < tile < 512
    assert "at most 3." in told or "at most 4.0 MiB" in told


@pytest.mark.parametrize(
    "cut", ["", "--band 32", "--piece 300", "--engine halo", "--engine halo --tile 64"]
)
def test_too_little_memory_is_told_the_least_that_works(cut):
    job = (*UNET, *cut.split(), "--plan")
    least = run(*job, "--memory", "1KB", code=2).split("(")[-1].split(" is enough")[0]
    amount, unit = re.fullmatch(r"([0-9.]+)(KiB|MiB)", least).groups()
    assert "memory  at most" in run(*job, "--memory", least)
    less = f"{0.95 * float(amount):.2f}{unit}"
    assert "is enough" in run(*job, "--memory", less, code=2)


def test_where_crops_fit_in_too_little_memory_for_strips_that_are_asked_for_it_is_said():
    np.save("in.npy", image(3, 64, 4000))
    job = (*UNET, "--plan")
    said = run(*job, "--engine", "halo", "--memory", "1KB", code=2)
    least = said.split("(")[-1].split(" is enough")[0]
    for cache in ([], ["--cache", "both"]):
        cut = ["--axis", "H", "--strip", 2000, *cache]
        assert "It fits in crops: --engine halo." in run(*job, *cut, "--memory", least, code=2)
        assert "--engine halo" not in run(*job, *cut, "--memory", "1KB", code=2)


def test_a_job_can_be_compared_with_the_whole_first():
    for engine in (["--band", 16], ["--engine", "halo", "--tile", 32]):
        told = run(*UNET, *engine, "--verify", "--overwrite")
        assert "compared with the whole on 1x3x" in told
        assert "in float64, 'output'" in told
        assert told.index("compared") < told.index("engine")


def test_a_difference_from_the_whole_is_a_no_and_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(Buffer, "padded", wrong_padding)
    assert "differs from the whole's by" in run(*UNET, "--band", 16, "--verify", code=1)
    assert not list(tmp_path.glob("out*"))


def wrong_padding(self, start, stop, border, fill, *, padded=Buffer.padded):
    return padded(self, start, stop, border, fill + 0.01)


def test_layers_that_need_the_whole_input_get_a_pass_of_their_own_where_asked():
    gated = ("job_nets:gated", *UNET[1:])
    assert "'1' (group_norm)" in run(*gated, code=1)
    told = run(*gated, "--global-ops", "multipass", "--verify", "--piece", 100)
    assert "the input is gone through 1 time more, for '1' (group_norm)" in told
    wanted = whole("gated", image(3, 600, 30))[0].numpy()
    found = np.load("out.npy")
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def interrupt_after_two_flushes(patch):
    calls = []

    def flush(self, *, complete=FileView.flush):
        complete(self)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    patch.setattr(FileView, "flush", flush)


def test_a_resumed_job_in_several_passes_has_the_same_bytes(monkeypatch):
    gated = ("job_nets:gated", *UNET[1:], "--global-ops", "multipass", "--piece", 100)
    run(*gated)
    wanted = np.load("out.npy")
    with monkeypatch.context() as patch:
        interrupt_after_two_flushes(patch)
        run(*gated, "--overwrite", code=130)
    run(*gated, "--resume")
    np.testing.assert_array_equal(np.load("out.npy"), wanted)


RDF = """
inputs:
- {name: raw, axes: bcyx, shape: {min: [1, 3, 32, 32], step: [0, 0, STEP, STEP]}}
outputs:
- {name: mask, axes: bcyx, halo: [0, 0, HALO, HALO]}
"""


@pytest.mark.parametrize(
    ("halo", "step", "code", "told"),
    [
        (8, 16, 0, "have no seams"),
        (2, 16, 1, "wrong: the halo of 2 is too small: outputs see 5 beyond it"),
        (7, 16, 1, "puts blocks off the grid of 2 samples; use 6"),
        (8, 3, 1, "wrong: the step of 3 "),
    ],
)
def test_a_declared_halo_is_held_against_the_network(halo, step, code, told, tmp_path):
    text = RDF.replace("HALO", str(halo)).replace("STEP", str(step))
    (tmp_path / "rdf.yaml").write_text(text)
    arguments = ["tile", "job_nets:unet", "--check-bioimageio", "rdf.yaml"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    assert told in result.stdout
    assert f"mask, y: halo {halo} declared, 5 needed (6 on the grid); step {step}" in result.stdout


def test_a_plan_is_printed_and_nothing_else_happens(tmp_path):
    before = sorted(tmp_path.iterdir())
    assert "memory  at most" in run(*UNET, "--plan")
    assert sorted(tmp_path.iterdir()) == before


def test_channels_last_in_tiff_out_zarr():
    tifffile.imwrite("in.tif", np.moveaxis(image(3, 600, 30), 0, -1), photometric="minisblack")
    run("job_nets:unet", "in.tif", "out.zarr", "--layout", "HWC")
    found = zarr.open_array("out.zarr")
    assert found.metadata.dimension_names == ("H", "W", "C")
    wanted = whole("unet", image(3, 600, 30))[0].numpy()
    np.testing.assert_allclose(np.moveaxis(found[:], -1, 0), wanted, atol=1e-6)


@pytest.mark.parametrize(("axes", "order"), [("HWC", (1, 2, 0)), ("CHW", (0, 1, 2))])
@pytest.mark.parametrize("engine", [(), ("--engine", "halo", "--tile", 64)])
def test_classes_per_pixel_are_an_image_without_channels(axes, order, engine):
    np.save("in.npy", image(3, 600, 30).transpose(order))
    assert "(HW), 1x600x30 int64" in run("job_nets:classes", "in.npy", "out.tif", *engine)
    np.testing.assert_array_equal(
        tifffile.imread("out.tif"), whole("classes", image(3, 600, 30))[0]
    )


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", ">f4", "f8"])
def test_pages_of_any_type_and_byte_order_are_a_batch(dtype):
    pages = (100 * image(5, 60, 40)).astype(dtype)
    tifffile.imwrite("in.tif", pages, photometric="minisblack", byteorder=pages.dtype.byteorder
                     if pages.dtype.byteorder == ">" else "<")  # fmt: skip
    told = run("job_nets:gray", "in.tif", "out.tif")
    assert "(NHW), 5x1x60x40" in told
    import job_nets  # type: ignore[import-not-found]

    with torch.no_grad():
        wanted = job_nets.gray()(torch.from_numpy(pages.astype("f4"))[:, None])[:, 0]
    rounding = 1e-6 * float(wanted.abs().max())
    np.testing.assert_allclose(tifffile.imread("out.tif"), wanted, rtol=0, atol=rounding)


def test_planes_of_a_stack_are_images_for_a_network_of_images_and_a_volume_for_one_of_volumes():
    stack = image(7, 60, 40)
    tifffile.imwrite("in.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    assert "(ZYX), 7x1x60x40" in run("job_nets:gray", "in.tif", "out.tif")
    assert tifffile.imread("out.tif").shape == (7, 60, 40)
    assert "(ZYX), 1x1x7x60x40" in run("job_nets:volume", "in.tif", "volume.zarr")


def test_what_of_a_file_is_not_read_is_said():
    with tifffile.TiffWriter("in.tif") as file:
        file.write(image(60, 40))
        file.write(image(30, 20))
    arguments = ["tile", "job_nets:gray", "in.tif", "out.tif"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "warning: 'in.tif' holds 2 images, of which the first is read" in result.stderr
    colours = np.zeros((3, 256), np.uint16)
    tifffile.imwrite("in.tif", np.ones((60, 40), np.uint8), photometric="palette", colormap=colours)
    result = CliRunner().invoke(app, [*arguments, "--overwrite"])
    assert "has a palette, and its numbers are read as they are stored" in result.stderr


@pytest.mark.parametrize(
    ("photometric", "compression", "warning"),
    [
        ("miniswhite", None, "'in.tif' means white by 0 (MinIsWhite), and its numbers are read"),
        ("ycbcr", "zlib", "'in.tif' holds brightness and two differences of colour (YCbCr), and"),
        ("ycbcr", "jpeg", ""),
        ("rgb", None, ""),
    ],
)
def test_numbers_that_are_not_brightness_are_read_as_stored_and_that_is_said(
    photometric, compression, warning
):
    """As ``tifffile.imread`` reads them; the colours of a file in JPEG are red, green and blue."""
    shape = (32, 48) if photometric == "miniswhite" else (32, 48, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    tifffile.imwrite("in.tif", pixels, photometric=photometric, compression=compression)
    net = "gray" if pixels.ndim == 2 else "unet"
    result = CliRunner().invoke(app, ["tile", f"job_nets:{net}", "in.tif", "out.npy"])
    assert result.exit_code == 0, result.output
    assert warning in result.stderr
    assert ("as they are stored" in result.stderr) == bool(warning)
    read = tifffile.imread("in.tif").astype("f4").reshape(*shape[:2], -1).transpose(2, 0, 1)
    found = np.load("out.npy").reshape(32, 48, -1).transpose(2, 0, 1)
    wanted = whole(net, np.ascontiguousarray(read))[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def test_volumes_and_signals_work_alike():
    np.save("v.npy", image(50, 9, 8))
    run("job_nets:volume", "v.npy", "v.zarr", "--layout", "DHW", "--band", 4)
    wanted = whole("volume", image(50, 9, 8)[None])[0].numpy()
    np.testing.assert_allclose(zarr.open_array("v.zarr")[:], wanted, atol=1e-6)
    np.save("a.npy", image(2, 3000))
    run("job_nets:audio", "a.npy", "b.npy", "--layout", "CL")
    np.testing.assert_allclose(np.load("b.npy"), whole("audio", image(2, 3000))[0], atol=1e-6)


@pytest.mark.parametrize("engine", [["--band", 16], ["--engine", "halo", "--tile", 64]])
def test_odd_chunks_and_two_outputs_of_two_sizes_make_no_difference(engine):
    source = zarr.create_array("in.zarr", shape=(3, 602, 30), chunks=(2, 37, 11), dtype="f4")
    source[:] = image(3, 602, 30)
    run("job_nets:several", "in.zarr", "out.zarr", *engine, "--verify")
    wanted = whole("several", image(3, 602, 30))
    for name in ("mask", "half"):
        found = zarr.open_array(f"out.{name}.zarr")[:]
        np.testing.assert_allclose(found, wanted[name][0], atol=1e-6)


def test_a_sound_without_channels_is_an_input_too():
    np.save("sound.npy", image(9001))
    told = run("job_nets:mono", "sound.npy", "out.npy", "--verify")
    assert "reads   sound.npy (L), 1x1x9001" in told
    np.testing.assert_allclose(
        np.load("out.npy"), whole("mono", image(9001)[None])[0, 0], atol=1e-6
    )


def test_integers_are_cast_and_scaled_as_asked():
    pixels = np.random.default_rng(0).integers(0, 255, (3, 600, 30), dtype=np.uint8)
    np.save("in.npy", pixels)
    run(*UNET, "--scale", "1/255")
    wanted = whole("unet", pixels.astype(np.float32) * np.float32(1 / 255))[0]
    np.testing.assert_allclose(np.load("out.npy"), wanted, atol=1e-6)
    run(*UNET, "--overwrite", "--dtype", "float64")
    assert np.load("out.npy").dtype == np.float64


def test_bands_may_follow_another_axis():
    np.save("in.npy", image(3, 30, 600))
    told = run(*UNET, "--axis", "W", "--band", 16)
    assert "16 rows of W" in told
    wanted = whole("unet", image(3, 30, 600))[0].numpy()
    np.testing.assert_allclose(np.load("out.npy"), wanted, atol=1e-6)


def test_shorter_pieces_are_more_of_them():
    assert "pieces  12, each recorded" in run(*UNET, "--piece", 50, "--plan")


def test_several_outputs_go_to_several_files():
    told = run("job_nets:several", "in.npy", "out.npy", "--layout", "CHW")
    assert "wrote out.mask.npy" in told
    wanted = whole("several", image(3, 600, 30))
    np.testing.assert_allclose(np.load("out.mask.npy"), wanted["mask"][0], atol=1e-6)
    np.testing.assert_allclose(np.load("out.half.npy"), wanted["half"][0], atol=1e-6)


def test_weights_are_loaded_from_a_file():
    import job_nets

    save_file(job_nets.other().state_dict(), "w.safetensors")
    run(*UNET, "--weights", "w.safetensors")
    wanted = whole("other", image(3, 600, 30))[0].numpy()
    np.testing.assert_allclose(np.load("out.npy"), wanted, atol=1e-6)
    save_file({"inner.weight": torch.zeros(1)}, "w.safetensors")
    assert "lacks 7 of the 8 entries of the model: 'inner.bias', 'deep.weight'" in run(
        *UNET, "--overwrite", "--weights", "w.safetensors", code=2
    )


@pytest.mark.parametrize("name", ["w.pth", "W.PT", "w.ckpt", "weights"])
def test_what_torch_has_saved_is_read_whatever_it_is_called(name):
    import job_nets

    torch.save(job_nets.other().state_dict(), name)
    run(*UNET, "--weights", name)
    wanted = whole("other", image(3, 600, 30))[0].numpy()
    np.testing.assert_allclose(np.load("out.npy"), wanted, atol=1e-6)


def test_a_file_of_something_else_is_no_pickle():
    Path("w.safetensors").write_bytes(b"hello, this is text")
    assert "is no readable safetensors file" in run(*UNET, "--weights", "w.safetensors", code=2)


def test_channels_that_are_read_as_a_batch_are_noted():
    arguments = ["tile", "job_nets:gray", "in.npy", "out.npy", "--plan"]
    noted = "'in.npy' is read as NHW, 3 samples of one channel each; --layout says what"
    assert noted in CliRunner().invoke(app, arguments).stderr
    assert CliRunner().invoke(app, [*arguments, "--layout", "NHW"]).stderr == ""
    np.save("in.npy", image(60, 30))
    assert CliRunner().invoke(app, arguments).stderr == ""


def test_channels_that_stand_last_are_no_batch_of_narrow_images():
    np.save("in.npy", image(60, 30, 3))
    gray = ("job_nets:gray", "in.npy", "out.npy", "--plan")
    said = run(*gray, code=2)
    assert "The model takes 1 channel, in.npy has 3; --channels 0 reads the first of them." in said
    assert "(NHW)" in run(*gray, "--layout", "NHW")


def test_axes_may_be_numbers_of_the_models_input_and_have_older_spellings():
    np.save("in.npy", image(3, 30, 600))
    wanted = run(*UNET, "--axis", "W", "--plan")
    assert "rows of W" in wanted
    for spelling in (["--axis", "3"], ["--axis", "-1"], ["--axis", "w"], ["--along", "W"]):
        assert run(*UNET[:3], "--axes", "CHW", *spelling, "--plan") == wanted


def test_a_plan_a_run_and_a_check_are_data_where_asked():
    planned = json.loads(run(*UNET, "--band", 16, "--plan", "--format", "json"))
    assert list(planned)[:3] == ["schema", "model", "source"]
    said = {"path": "in.npy", "axes": "CHW", "calibration": None, "lost": []}
    assert planned["source"] == said
    assert (planned["engine"], planned["done"], planned["certificate"]) == ("stream", 0, None)
    assert planned["pieces"][0]["writes"] == [[[0, 0], [0, 1], [0, 199], [0, 29]]]
    done = json.loads(run(*UNET, "--band", 16, "--verify", "--format", "json"))
    ways = {one["cache"]: one for one in planned["compared"]}
    assert [cache for cache, one in ways.items() if one["taken"]] == ["rows"]
    assert ways["rows"]["cost"] < min(ways["none"]["cost"], ways["both"]["cost"])
    assert ways["none"]["plan"]["work"] > 1
    changed = {"compared": [], "done": 3, "certificate": done["certificate"]}
    assert {**planned, **changed} == done
    assert done["certificate"]["outputs"][0]["name"] == "output"
    checked = json.loads(run("--check", "out.npy", "--format", "json"))
    assert checked == {"schema": 1, "path": "out.npy", "pieces": 3, "faults": []}


def test_random_weights_are_said_to_be_random():
    np.save("in.npy", image(1, 64, 64))
    arguments = ["tile", "layers:conv3 relu", "in.npy", "out.npy", "--input", "1x1x8x8"]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert refused.stderr == (
        "error: 'layers:conv3 relu' has random weights, and out.npy would hold what they make; "
        "--weights FILE loads trained ones, and --random-weights writes it nevertheless.\n"
    )
    assert not Path("out.npy").exists()
    planned = CliRunner().invoke(app, [*arguments, "--plan"])
    assert "has random weights; --weights FILE loads trained ones\n" in planned.stderr
    allowed = CliRunner().invoke(app, [*arguments, "--random-weights"])
    assert (allowed.exit_code, allowed.stderr) == (0, "")


def test_an_interrupted_run_says_how_to_go_on_and_goes_on(monkeypatch):
    run(*UNET, "--band", 16)
    wanted = np.load("out.npy")
    with monkeypatch.context() as patch:
        interrupt_after_two_flushes(patch)
        told = run(*UNET, "--band", 16, "--overwrite", code=130)
    assert "Interrupted; 1 of 3 pieces are on disk, and --resume goes on from there." in told
    assert "wrote out.npy" in run(*UNET, "--band", 16, "--resume")
    np.testing.assert_array_equal(np.load("out.npy"), wanted)


def damaged(place: int) -> None:
    data = bytearray(Path("out.npy").read_bytes())
    data[place] ^= 1
    Path("out.npy").write_bytes(data)


def test_a_result_is_checked_and_what_differs_is_computed_again():
    run(*UNET, "--band", 16)
    wanted = Path("out.npy").read_bytes()
    assert run("--check", "out.npy") == "out.npy: 3 pieces, all as written\n"
    damaged(-1)
    damaged(200)
    result = CliRunner().invoke(app, ["tile", "--check", "out.npy"])
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["Piece 0", "Piece 2"]
    result = CliRunner().invoke(app, ["tile", *UNET, "--band", "16", "--resume"])
    assert result.exit_code == 0
    assert "warning: piece 0 (rows 0 to 199 in 'out.npy' are not what was written)" in result.stderr
    assert "are not on disk as written, and they are computed again" in result.stderr
    assert Path("out.npy").read_bytes() == wanted


def test_a_scheduler_that_is_not_there_leaves_a_finished_result_and_its_journal(monkeypatch):
    monkeypatch.setattr("fieldwise.cli.cluster.CONNECT", "0.2s")
    zarr_out = (*UNET[:2], "out.zarr", *UNET[3:])
    run(*zarr_out)
    assert "no dask scheduler" in run(
        *zarr_out, "--overwrite", "--dask", "tcp://127.0.0.1:9", code=2
    )
    assert "all as written" in run("--check", "out.zarr")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Name MODEL, IN and OUT, or --check OUT"),
        (["job_nets:unet", "--check", "out.npy"], "--check takes OUT alone"),
        ([*UNET, "--check", "out.npy"], "--check takes the place of IN and OUT"),
        (["--check", "gone.npy"], "There is no journal 'gone.npy.journal'"),
        (["--check-bioimageio", "rdf.yaml"], "--check-bioimageio takes MODEL alone"),
        ([*UNET, "--memory", "much"], "Cannot read the amount of memory 'much'"),
        ([*UNET, "--memory", "1KB"], "give more --memory"),
        ([*UNET, "--engine", "halo", "--memory", "1KB"], "give more --memory"),
        ([*UNET, "--scale", "x"], "--scale 'x' is no number"),
        ([*UNET, "--resume", "--overwrite"], "give one"),
        ([*UNET, "--tile", "32"], "--tile and --batch belong to --engine halo"),
        ([*UNET, "--engine", "halo", "--band", "8"], "belong to --engine stream"),
        ([*UNET, "--engine", "halo", "--piece", "8"], "belong to --engine stream"),
        ([*UNET, "--engine", "halo", "--global-ops", "multipass"], "belongs to --engine stream"),
        (
            ["job_nets:classifier", *UNET[1:], "--global-ops", "multipass"],
            "The output '1' has no streamed axis, and a job writes files of those that have",
        ),
        (["job_nets:unet", "in.npy"], "Name IN and OUT"),
        ([*UNET, "--check-bioimageio", "rdf.yaml"], "the place of IN and OUT"),
        (["job_nets:unet", "--check-bioimageio", "gone.yaml"], "Cannot read 'gone.yaml'"),
        ([*UNET, "--axis", "C"], "no spatial axis of IN; write one of H, W, 2, 3"),
        ([*UNET[:3], "--layout", "CH"], "has 2 letters and 'in.npy' 3 dimensions"),
        ([*UNET[:3], "--layout", "HWC"], "The model takes 3 channels, in.npy has 30;"),
        (["job_nets:either", "cube.npy", "out.npy"], "as CHW and as HWC; give --layout"),
        (["job_nets:unet", "odd.npy", "out.npy"], "failed on input 1x3x61x31"),
        (["job_nets:unet", "empty.npy", "out.npy"], "'empty.npy' is empty: its shape is 3x0x30"),
        (["job_nets:unet", "scalar.npy", "out.npy"], "one of 1 to 5 dimensions is needed"),
        (["job_nets:unet", "short.npy", "out.npy"], "cannot be read as npy"),
        (["job_nets:unet", "fake.tif", "out.npy"], "'fake.tif' holds no image"),
        (
            ["job_nets:pooled", "flat.npy", "out.npy"],
            "The model failed in module '0' on input 1x1x50",
        ),
        ([*UNET[:3], "--input", "1x4x8x8"], "The model takes 4 channels, in.npy has 3; give a"),
        (["job_nets:unet", "gone.npy", "out.npy"], "There is no file 'gone.npy'"),
        (["job_nets:unet", "in.npy", "in.npy"], "is the input itself"),
        (["job_nets:unet", "in.npy", "out.doc", "--layout", "CHW"], "names no format"),
        ([*UNET, "--dask", "tcp://127.0.0.1:9", "--overwrite"], "no dask scheduler"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(arguments, told, monkeypatch):
    monkeypatch.setattr("fieldwise.cli.cluster.CONNECT", "0.2s")
    said = run(*arguments, code=2)
    assert told in said
    assert said.count("\n") == 1


def test_an_existing_result_is_not_overwritten_by_mistake():
    run(*UNET)
    assert "use --resume to go on, or --overwrite" in run(*UNET, code=2)
    result = CliRunner().invoke(app, ["tile", *UNET, "--resume"])
    assert (result.stdout, result.exit_code) == ("wrote out.npy\n", 0)
    assert "note: 2 of 2 pieces are on disk; nothing is computed\n" in result.stderr


@pytest.mark.parametrize("engine", ["stream", "halo"])
def test_a_layer_that_needs_the_whole_input_is_a_no(engine):
    told = run("job_nets:pooled", *UNET[1:], "--engine", engine, code=1)
    assert "InstanceNorm" in told or "'1'" in told


def test_the_cache_is_chosen_and_fits_the_engine():
    told = run(*UNET, "--cache", "both", "--strip", 16, "--overwrite")
    assert "strips of 16 of 30; grid 2, columns are kept" in told
    assert "2 pieces" in run("--check", "out.npy")
    crops = run(*UNET, "--cache", "none", "--plan")
    assert "engine  halo" in crops
    assert "none (taken)" in crops
    for options, why in {
        "--cache both --engine halo": "--engine halo keeps nothing, unlike --cache both",
        "--cache none --engine stream": "--engine stream keeps rows",
        "--cache both --piece 8": "omit --piece",
        "--cache both --global-ops multipass": "give --cache both or --global-ops",
    }.items():
        assert why in run(*UNET, *options.split(), code=2)


def test_where_memory_is_too_little_the_cheapest_way_is_taken_and_said():
    np.save("in.npy", image(3, 64, 600))
    job = (*UNET, "--memory", "16KiB", "--axis", "H", "--plan")
    ways = json.loads(run(*job, "--format", "json"))["compared"]
    assert [one["cache"] for one in ways] == ["none", "rows", "both"]
    planned = [one for one in ways if one["plan"]]
    assert len(planned) > 1
    best = min(planned, key=lambda one: one["cost"])
    assert [one["cache"] for one in ways if one["taken"]] == [best["cache"]]
    assert f"cost    {best['cache']} is cheapest" in run(*job)
