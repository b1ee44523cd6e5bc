"""Where results lie in the input, and what follows for their calibration, from file to file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import tifffile
import torch
from torch import nn

from fieldwise.capture.torch import capture
from fieldwise.capture.torch.example import meta_tensor
from fieldwise.tile.files import AxisLayout, calibration_of, open_source
from fieldwise.tile.files.calibration import OutputGrid, SampleStep
from fieldwise.tile.jobs.placing import fields_of, output_grids
from tests.tile.jobs.cases import carried_out, enter, image, planned

IMAGE, HALF = AxisLayout.of("YX", rank=4), Fraction(1, 2)


def grid_of(network: nn.Module, size: int = 32) -> OutputGrid | None:
    graph = capture(network.eval(), meta_tensor((1, 1, size, size), torch.float32))
    result = AxisLayout("CYX", (1, 2, 3), 4)
    return output_grids(fields_of(graph), graph.outputs[0], IMAGE, result)["Y"]


@pytest.mark.parametrize(
    ("network", "step", "start"),
    [
        (nn.Conv2d(1, 1, 3, padding=1), 1, 0),
        (nn.Conv2d(1, 1, 5), 1, 2),
        (nn.Conv2d(1, 1, 3, 2, 1), 2, 0),
        (nn.MaxPool2d(2), 2, HALF),
        (nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, 2, 1)), 4, HALF),
        (nn.Upsample(scale_factor=2), HALF, Fraction(-1, 4)),
        (nn.Sequential(nn.MaxPool2d(2), nn.ConvTranspose2d(1, 1, 2, 2)), 1, 0),
        (nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.InstanceNorm2d(1)), 2, 0),
    ],
    ids=["same", "valid", "strided", "pooled", "both", "upsampled", "down and up", "normed"],
)
def test_a_grid_is_that_of_the_centres(network, step, start):
    found = grid_of(network)
    assert (found.step, found.start) == (step, start)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_a_grid_agrees_with_gradients(stride, padding):
    """The oracle: which input pixels have a gradient, in the middle of the image."""
    network = nn.Conv2d(1, 1, 5, stride, padding)
    nn.init.ones_(network.weight)
    found = grid_of(network)
    x = torch.zeros(1, 1, 32, 32, requires_grad=True)
    out = network(x)
    at = out.shape[2] // 2
    out[0, 0, at, at].backward()
    (rows,) = x.grad[0, 0].abs().sum(1).nonzero(as_tuple=True)
    assert found.start + found.step * at == Fraction(int(rows[0] + rows[-1]), 2)


class ByEight(nn.Module):
    """Strided convolutions, then resizing to the input's size, as segmentation heads do."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(*(nn.Conv2d(1, 1, 3, 2, 1) for _ in range(3)))

    def forward(self, x):
        return nn.functional.interpolate(self.down(x), scale_factor=8.0, mode="bilinear")


def test_a_result_of_the_size_of_its_input_lies_on_its_samples():
    found = grid_of(ByEight())
    assert (found.step, found.start) == (1, 0)
    assert found.off >= Fraction(7, 2), "the fields lie three and a half samples before"


def test_a_result_that_is_shorter_lies_where_its_fields_are():
    cropped = grid_of(
        nn.Sequential(nn.ConstantPad2d((0, 0, 0, -3), 0.0), nn.Conv2d(1, 1, 3, padding=1))
    )
    assert (cropped.step, cropped.start) == (1, 0)
    assert grid_of(nn.ConstantPad2d((0, 0, -3, 0), 0.0)).start == 3


def test_a_mean_over_the_image_lies_nowhere():
    assert grid_of(nn.AdaptiveAvgPool2d(1)) is None


def test_how_far_centres_lie_off_the_grid_is_known():
    assert grid_of(nn.Upsample(scale_factor=2)).off == Fraction(1, 4)
    assert grid_of(nn.Conv2d(1, 1, 3)).off == 0


@pytest.mark.parametrize("engine", ["stream", "halo"])
def test_a_job_writes_the_calibration_of_its_grid(tmp_path, monkeypatch, engine):
    enter(tmp_path, monkeypatch)
    about = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}
    tifffile.imwrite("in.ome.tif", image(3, 64, 48), metadata=about, photometric="minisblack")
    job = planned(Path("in.ome.tif"), Path("out.ome.tif"), "several", engine=engine)
    carried_out(job)
    found = {file.path.name: file for file in job.report("net").results}
    um = "micrometer"
    steps = {"Y": SampleStep(HALF, um, Fraction(0)), "X": SampleStep(Fraction(1), um, Fraction(0))}
    assert found["out.half.ome.tif"].about.steps == steps
    assert found["out.mask.ome.tif"].about.steps["X"] == SampleStep(HALF, um)
    for name, one in found.items():
        assert calibration_of(open_source(Path(name))) == one.about
