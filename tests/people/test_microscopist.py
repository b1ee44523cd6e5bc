"""A microscopist: calibrated images and stacks, a trained U-Net, calibrated results."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from copy import deepcopy
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
import torch
import zarr
from torch import nn

from tests.folding.saving.networks import settled
from tests.people.bare import Bare
from tests.people.nets import Smaller, UNet

UNET = "nets.py:UNet(classes=3, channels=1)"
RUN = ("--weights", "unet.pth", "--input", "1x1x64x64", "--scale", "1/4000")
HALF = ("--weights", "smaller.pth", "--input", "1x1x64x64", "--scale", "1/4000")
SPACE = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
AXES = [{"name": "t", "type": "time", "unit": "second"}, {"name": "c", "type": "channel"}, *SPACE]


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, shape).astype("uint16")


@cache
def trained(model: str) -> nn.Module:
    """The networks of this user: a U-Net that was fitted to brightness, another with its norms."""
    torch.manual_seed(0)
    if model == "smaller":
        return settled(Smaller(1))
    net, images = UNet(4, 3, 1), torch.rand(2, 1, 64, 64)
    around = nn.functional.avg_pool2d(images, 5, 1, 2)[:, 0]
    classes = (around > 0.47).long() + (around > 0.53).long()
    steps = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(40):
        steps.zero_grad()
        nn.functional.cross_entropy(net(images), classes).backward()
        steps.step()
    return net.eval()


@torch.no_grad()
def whole(model: str, values: np.ndarray) -> np.ndarray:
    """What a network gives for whole planes, in float64."""
    planes = torch.from_numpy(values.astype("float64") / 4000).reshape(-1, 1, *values.shape[-2:])
    return deepcopy(trained(model)).double()(planes).numpy()


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    assert found.shape == wanted.shape
    return bool(np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max())


@pytest.fixture(scope="module")
def microscopist(user: Bare) -> Bare:
    """Someone with images of a microscope, and with weights as torch.save writes them."""
    for name in ("unet", "smaller"):
        torch.save(trained(name).state_dict(), user.here / f"{name}.pth")
    image = pixels(160, 96)
    said = {"axes": "YX", "PhysicalSizeY": 0.65, "PhysicalSizeX": 0.325}
    tifffile.imwrite(user.here / "cells.ome.tif", image, metadata=said)
    tifffile.imwrite(
        user.here / "fiji.tif", image, imagej=True,
        resolution=(1 / 0.325, 1 / 0.65), metadata={"unit": "um"},
    )  # fmt: skip
    slide = pixels(64, 64, 3).astype("uint8")
    tifffile.imwrite(user.here / "slide.tif", slide, photometric="rgb")
    group = zarr.open_group(user.here / "film.ome.zarr", mode="w", zarr_format=3)
    scale = [{"type": "scale", "scale": [2.0, 1.0, 1.5, 0.65, 0.65]}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    multiscales = [{"axes": AXES, "datasets": levels}]
    group.attrs.update({"ome": {"version": "0.5", "multiscales": multiscales}})
    group.create_array("0", data=pixels(1, 1, 2, 1040, 96), dimension_names=list("tczyx"))
    return user


def test_a_plan_says_what_is_read_and_written_and_that_the_calibration_stays(microscopist):
    said = microscopist.script("tile", UNET, "cells.ome.tif", "plan.ome.tif", *RUN, "--plan")
    lines = said.out.splitlines()
    assert lines[:4] == [
        UNET,
        "  reads   cells.ome.tif (HW), 1x1x160x96",
        "  writes  plan.ome.tif (CHW), 1x3x160x96 float32",
        "  keeps   Y 0.65 µm, X 0.325 µm",
    ]
    assert said.err == "", "the weights are trained ones, all are used"
    assert not [path for path in microscopist.here.iterdir() if "plan" in path.name]


@pytest.mark.parametrize("how", [("--band", "32"), ("--engine", "halo", "--tile", "64")])
def test_the_result_is_that_of_the_whole_image_and_says_its_pixels(microscopist, how):
    out = f"by{how[1]}.ome.tif"
    said = microscopist.fieldwise("tile", UNET, "cells.ome.tif", out, *RUN, *how)
    assert said.out.endswith(f"wrote {out}\n")
    with tifffile.TiffFile(microscopist.here / out) as file:
        assert close(file.asarray(), whole("unet", pixels(160, 96))[0])
        assert sizes(file) == (0.65, 0.325)


def sizes(file: tifffile.TiffFile) -> tuple[float, float]:
    """The height and the width of a pixel by the OME-XML of a file, which has to be in µm."""
    found = ElementTree.fromstring(file.ome_metadata).find(".//{*}Pixels").attrib
    assert (found["PhysicalSizeYUnit"], found["PhysicalSizeXUnit"]) == ("µm", "µm")
    return float(found["PhysicalSizeY"]), float(found["PhysicalSizeX"])


def test_classes_are_written_as_bytes(microscopist):
    asked = ("--out", "argmax", "--out-dtype", "uint8", "--verify")
    said = microscopist.fieldwise("tile", UNET, "cells.ome.tif", "classes.ome.tif", *RUN, *asked)
    assert "writes  classes.ome.tif (HW), 1x160x96 uint8" in said.out
    assert "compared with the whole on 1x1x160x96: " in said.out
    found = tifffile.imread(microscopist.here / "classes.ome.tif")
    wanted = whole("unet", pixels(160, 96))[0].argmax(0)
    assert (found.dtype, len(np.unique(wanted))) == (np.uint8, 3)
    assert np.array_equal(found, wanted)


def test_a_result_of_half_the_size_has_pixels_twice_as_large(microscopist):
    wanted = whole("smaller", pixels(160, 96))[0]
    ome = microscopist.fieldwise("tile", "nets.py:Smaller", "cells.ome.tif", "half.ome.tif", *HALF)
    assert "  keeps   Y 1.3 µm, X 0.65 µm\n" in ome.out
    with tifffile.TiffFile(microscopist.here / "half.ome.tif") as file:
        assert (close(file.asarray(), wanted), sizes(file)) == (True, (1.3, 0.65))
    microscopist.fieldwise("tile", "nets.py:Smaller", "fiji.tif", "half.tif", *HALF)
    with tifffile.TiffFile(microscopist.here / "half.tif") as file:
        assert close(file.asarray(), wanted)
        across, down = (file.pages[0].tags[name].value for name in ("XResolution", "YResolution"))
        assert (across[1] / across[0], down[1] / down[0]) == pytest.approx((0.65, 1.3))
        assert (file.imagej_metadata["unit"], file.imagej_metadata["channels"]) == ("um", 2)


def test_a_slide_of_three_colours_is_refused_with_the_option_that_helps(microscopist):
    asked = ("tile", UNET, "slide.tif", "slide_out.tif", *RUN)
    said = microscopist.fieldwise(*asked, code=2)
    message = "The model takes 1 channel, slide.tif has 3; --channels 0 reads the first of them."
    assert (said.out, said.err) == ("", f"error: {message}\n")
    microscopist.fieldwise(*asked, "--channels", "1")
    green = pixels(64, 64, 3).astype("uint8")[..., 1]
    found = tifffile.imread(microscopist.here / "slide_out.tif")
    assert close(np.moveaxis(found, -1, 0), whole("unet", green)[0]), "channels last, as they were"


def test_a_film_of_stacks_becomes_one_with_smaller_levels(microscopist):
    asked = ("tile", "nets.py:Smaller", "film.ome.zarr", "half.ome.zarr", *HALF)
    said = microscopist.fieldwise(*asked, "--pyramid")
    assert "the model takes the 2 positions along T and Z one by one" in said.out
    group = zarr.open_group(microscopist.here / "half.ome.zarr", mode="r")
    (image,) = group.attrs["ome"]["multiscales"]
    assert [(axis["name"], axis.get("unit")) for axis in image["axes"]] == [
        (axis["name"], axis.get("unit")) for axis in AXES
    ]
    steps = [level["coordinateTransformations"][0]["scale"] for level in image["datasets"]]
    assert steps == [[2.0, 1.0, 1.5, 1.3, 1.3], [2.0, 1.0, 1.5, 2.6, 2.6]]
    planes = whole("smaller", pixels(1, 1, 2, 1040, 96))
    assert close(group["0"][0].swapaxes(0, 1), planes)
    halved = planes.reshape(2, 2, 260, 2, 24, 2).mean((3, 5))
    assert close(group["1"][0].swapaxes(0, 1), halved)


def test_a_folder_of_files_is_one_command_with_one_summary(microscopist):
    folder = microscopist.here / "plate"
    folder.mkdir()
    wells = {name: pixels(64, width) for name, width in (("a", 48), ("b", 64))}
    for name, values in wells.items():
        tifffile.imwrite(folder / f"{name}.tif", values)
    (folder / "c.tif").write_bytes(b"no image")
    said = microscopist.fieldwise("tile", UNET, "plate", "out", *RUN, code=1)
    assert said.out.splitlines()[-1].startswith("3 files: 2 written, 1 ")
    for name, values in wells.items():
        found = tifffile.imread(microscopist.here / "out" / f"{name}.tif")
        assert close(found, whole("unet", values)[0])


def test_after_a_kill_in_the_middle_resume_ends_with_the_same_values(microscopist):
    image = pixels(2560, 768)
    np.save(microscopist.here / "large.npy", image)
    asked = ("tile", UNET, "large.npy", "large.tif", *RUN, "--piece", "128", "--band", "128")
    recorded = microscopist.here / "large.tif.journal"
    job = subprocess.Popen(
        [microscopist.scripts / "fieldwise", *asked], cwd=microscopist.here,
        env=microscopist.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while len(pieces(recorded)) < 2:
        assert job.poll() is None, "it has ended before it was killed"
        time.sleep(0.005)
    job.kill()
    assert job.wait() == -signal.SIGKILL
    before = pieces(recorded)
    assert "use --resume to go on, or --overwrite" in microscopist.fieldwise(*asked, code=2).err
    microscopist.fieldwise(*asked, "--resume")
    assert pieces(recorded)[: len(before)] == before, "what was on disk is not computed again"
    assert sorted(pieces(recorded)) == list(range(10))
    assert close(tifffile.imread(microscopist.here / "large.tif"), whole("unet", image)[0])
    checked = microscopist.fieldwise("tile", "--check", "large.tif")
    assert checked.out == "large.tif: 10 pieces, all as written\n"


def pieces(journal: Path) -> list[int]:
    """The numbers of the pieces that a journal says are on disk."""
    text = journal.read_text() if journal.exists() else ""
    return [int(number) for number in re.findall(r'^\{"piece": (\d+)', text, re.M)]
