"""Networks that people use, streamed: whole results to the last bits, refusals with reasons."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldwise.errors import UsageError
from fieldwise.tile import streamed
from fieldwise.tile.bands import StreamError
from tests.tile.bands.networks import (
    Atrous,
    Positioned,
    Pyramid,
    Recurrent,
    UNet,
    WaveNet,
    WaveUNet,
    transposed,
    upsampled,
)

TOLERANCE = 1e-13


def outputs(found: object) -> list[Tensor]:
    """The tensors of an output, in order."""
    if isinstance(found, Tensor):
        return [found]
    return list(found.values() if isinstance(found, dict) else found)  # type: ignore[call-overload]


def assert_streams(model: nn.Module, *shape: int, axis: int = 2, band: int = 16) -> None:
    torch.manual_seed(0)
    model, x = model.double().eval(), torch.randn(shape, dtype=torch.float64)
    run = streamed(model, torch.empty_like(x), axis=axis, band=band)
    with torch.no_grad():
        wanted = outputs(model(x))
    for one, other in zip(outputs(run(x)), wanted, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= TOLERANCE * other.abs().max()


UPS = {
    "transposed k2": transposed(2),
    "transposed k4": transposed(4, padding=1),
    "nearest": upsampled("nearest"),
    "bilinear": upsampled("bilinear", align_corners=False),
    "bilinear, corners aligned": upsampled("bilinear", align_corners=True),
    "bicubic": upsampled("bicubic", align_corners=True),
}


@pytest.mark.parametrize("up", UPS.values(), ids=UPS)
@pytest.mark.parametrize("shape", [(80, 24), (45, 23)], ids=["even", "odd"])
@pytest.mark.parametrize("axis", [2, -1])
def test_a_unet_streams_along_either_axis(up, shape, axis):
    assert_streams(UNet(up), 1, 3, *shape, axis=axis, band=7)


@pytest.mark.parametrize("rows", [64, 61])
def test_every_level_of_a_pyramid_streams(rows):
    assert_streams(Pyramid(), 2, 3, rows, 30, band=9)


def test_dilated_branches_stream_and_are_enlarged_to_the_size_of_the_input():
    assert_streams(Atrous(), 1, 3, 150, 40)


@pytest.mark.parametrize("causal", [True, False])
def test_a_wavenet_streams(causal):
    assert_streams(WaveNet(causal=causal), 1, 1, 200)


def test_a_wave_unet_streams():
    assert_streams(WaveUNet(), 1, 1, 203)


def test_recurrent_layers_and_running_sums_carry_their_state_along():
    assert_streams(Recurrent(), 1, 2, 90)


def test_a_table_of_positions_is_cut_to_the_rows_at_hand():
    assert_streams(Positioned(15, 6), 1, 3, 60, 24)


ZOO = {
    "resnet50": ("torchvision", (1, 3, 130, 40)),
    "convnext_atto": ("timm", (1, 3, 128, 64)),
    "hrnet_w18_small": ("timm", (1, 3, 128, 64)),
    "tf_efficientnet_lite0": ("timm", (1, 3, 101, 64)),
}


@pytest.mark.parametrize(("name", "where", "shape"), [(k, *v) for k, v in ZOO.items()], ids=ZOO)
def test_a_published_trunk_streams(name, where, shape):
    if where == "timm":
        model = pytest.importorskip("timm").create_model(name, features_only=True)
    else:
        whole = getattr(pytest.importorskip("torchvision").models, name)(weights=None)
        model = nn.Sequential(*list(whole.children())[:-2])
    assert_streams(model, *shape)


def test_squeeze_and_excitation_is_refused_with_the_module_the_op_and_the_reason():
    model = pytest.importorskip("timm").create_model("efficientnet_b0", features_only=True)
    with pytest.raises(StreamError, match="whole streamed axis") as refused:
        streamed(model.eval(), torch.empty(1, 3, 64, 64)).plan((1, 3, 256, 64))
    assert refused.value.refusals[0].module == "blocks.0.0.se"
    assert refused.value.refusals[0].op == "mean"


def test_every_layer_in_the_way_is_named():
    branches = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)).eval()

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = branches, copy.deepcopy(branches)

        def forward(self, x: Tensor) -> Tensor:
            return self.left(x) + self.right(x)

    with pytest.raises(StreamError) as refused:
        streamed(Two(), torch.empty(1, 3, 9, 9)).plan((1, 3, 99, 9))
    assert [one.module for one in refused.value.refusals] == ["left.1", "right.1"]


# -------------------------------------------------------------------- what users rely on


def test_an_array_in_gives_arrays_out_and_only_bands_are_read_of_it():
    class Counting:
        """An input that is no array: a shape, a dtype, and slices."""

        def __init__(self, data: np.ndarray) -> None:
            self.data, self.shape, self.dtype = data, data.shape, data.dtype
            self.largest = 0

        def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
            rows = self.data[key]
            self.largest = max(self.largest, rows.shape[2])
            return rows

    model = UNet(UPS["nearest"]).eval()
    data = np.random.default_rng(0).normal(size=(1, 3, 200, 16)).astype(np.float32)
    source = Counting(data)
    found = streamed(model, torch.empty(1, 3, 32, 32), band=20)(source)
    with torch.no_grad():
        wanted = model(torch.from_numpy(data)).numpy()
    assert isinstance(found, np.ndarray)
    assert source.largest <= 40
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_bands_come_in_order_and_cover_every_output():
    run = streamed(Pyramid().eval(), torch.empty(1, 3, 32, 32), band=8)
    ends: dict[str, int] = {}
    for name, lo, hi, rows in run.bands(torch.randn(1, 3, 64, 16)):
        assert lo == ends.get(name, 0)
        assert rows.shape[2] == hi - lo
        ends[name] = hi
    assert ends == {"p0": 32, "p1": 16, "p2": 8, "pool": 4}


def test_the_model_is_left_as_it_was():
    model = UNet(UPS["transposed k2"])
    model.train(False)
    before = copy.deepcopy(model.state_dict())
    streamed(model, torch.empty(1, 3, 32, 32))(torch.randn(1, 3, 64, 32))
    assert all(torch.equal(model.state_dict()[name], kept) for name, kept in before.items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_memory_does_not_grow_with_the_height():
    run = streamed(UNet(UPS["bilinear"]).eval(), torch.empty(1, 3, 32, 32), band=16)
    assert run.plan((1, 3, 6400, 32)).peak_bytes == run.plan((1, 3, 640, 32)).peak_bytes


def test_what_circular_padding_holds_whole_is_said_in_the_plan():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
    ).eval()
    plan = streamed(model, torch.empty(1, 3, 9, 9), band=4).plan((1, 3, 40, 9))
    assert [name for name, _ in plan.held_whole] == ["0"]
    assert "held whole" in str(plan)


def test_wrong_inputs_are_refused_with_a_remedy():
    model = nn.Conv2d(3, 4, 3).eval()
    with pytest.raises(UsageError, match="a whole number of rows, 1 or more, got 0"):
        streamed(model, torch.empty(1, 3, 9, 9), band=0)
    with pytest.raises(UsageError, match="add or drop the batch dimension"):
        streamed(model, torch.empty(1, 3, 9, 9))(torch.empty(3, 9, 9))
    with pytest.raises(UsageError, match="choose an axis from -4 to 3"):
        streamed(model, torch.empty(1, 3, 9, 9), axis=4).plan((1, 3, 9, 9))
    with pytest.raises(StreamError, match="whole streamed axis"):
        streamed(model, torch.empty(1, 3, 9, 9), axis=1).plan((1, 3, 9, 9))
