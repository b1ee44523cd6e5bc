"""Plans are data: printed before anything runs, on the grid, with memory and what is read twice."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldwise.errors import CaptureError, UsageError
from fieldwise.tile import plan_tiles, suggest_tile, tiled
from fieldwise.tile.amounts import size_text
from fieldwise.tile.crops import planner
from fieldwise.tile.crops.cut import cuts_alike, needed
from fieldwise.tile.errors import TileError
from tests.field.networks import (
    BilinearUNet,
    Chain,
    Circular,
    EvenKernels,
    Signal,
    TransposedUNet,
)

SHAPE = (1, 3, 256, 200)


def test_a_plan_prints_itself():
    plan = plan_tiles(Chain().eval(), SHAPE, tile=64)
    most, whole = map(size_text, (plan.crop_bytes, plan.whole_bytes))
    assert str(plan) == (
        f"16 crops; at most {most} at once ({whole} for the whole image); "
        "1.35 times the image is read\n"
        "  axis 2: 4 tiles of 64 of 256; grid 4, halo 5 before and 3 after, clipped\n"
        "  axis 3: 4 tiles of 64 of 200; grid 4, halo 5 before and 3 after, clipped\n"
        "  output output: 1x5x64x50, 1/4 x 1/4 positions per input sample"
    )


def test_every_output_is_written_once():
    for kind in (Chain, TransposedUNet, Circular, EvenKernels):
        plan = plan_tiles(kind().eval(), (1, 3, 256, 192), tile=(64, 96))
        for number, output in enumerate(plan.outputs):
            times = np.zeros(output.shape, dtype=int)
            for tile in plan.tiles():
                times[tile.writes[number]] += 1
            assert (times == 1).all()


def test_all_crops_start_on_the_grid_and_end_as_the_image_does():
    plan = plan_tiles(Chain().eval(), (1, 3, 250, 199), tile=64)
    for axis in plan.axes:
        for piece in axis.pieces:
            assert all(start % axis.grid == 0 for start, _ in piece.reads)
            assert (piece.length - axis.size) % axis.grid == 0


def test_no_crop_holds_more_than_planned():
    model = Chain().eval()
    plan = plan_tiles(model, SHAPE, tile=64)
    seen = 0

    def call(crop: Tensor) -> Tensor:
        nonlocal seen
        seen = max(seen, crop.numel())
        return model(crop)

    with torch.no_grad():
        tiled(call, plan)(torch.zeros(SHAPE))
    assert seen == 3 * max(p.length for p in plan.axes[0].pieces) * max(
        p.length for p in plan.axes[1].pieces
    )
    assert seen * 4 < plan.crop_bytes < plan.whole_bytes


def one_by_one(cut, stretches, *_):
    return [cut(number) for number in range(len(stretches))]


@pytest.mark.parametrize(
    "kind",
    [Chain, TransposedUNet, BilinearUNet, EvenKernels, Circular],
    ids=lambda kind: kind.__name__,
)
def test_crops_that_are_alike_are_those_that_are_looked_for_one_by_one(kind, monkeypatch):
    looked = []
    monkeypatch.setattr(planner, "needed", lambda *given: (looked.append(1), needed(*given))[1])
    model, shape = kind().eval(), (1, 3, 64, 1600)
    found = plan_tiles(model, shape, tile=(64, 32))
    assert len(looked) < 30
    monkeypatch.setattr(planner, "cuts_alike", one_by_one)
    assert plan_tiles(model, shape, tile=(64, 32)) == found
    assert len(looked) > 60


def test_where_tiles_see_further_from_some_place_on_it_is_found():
    tile, size = 10, 4000
    stretches = [((start, start + tile),) for start in range(0, size, tile)]
    looked = []

    def cut(number):
        looked.append(number)
        halo = 3 if number < 250 else 20
        start, stop = number * tile - halo, (number + 1) * tile + halo
        return ((max(start, 0), min(stop, size)),)

    found = cuts_alike(cut, stretches, [tile], tile, size)
    assert len(looked) < 60
    assert found == [cut(number) for number in range(len(stretches))]


def test_a_tile_off_the_grid_is_refused_with_the_nearest_good_sizes():
    with pytest.raises(
        TileError,
        match=r"A tile of 100 along axis 2 is not a multiple of the stride 16 of 'max_pool#4'; "
        r"use 96 or 112\.",
    ):
        plan_tiles(TransposedUNet().eval(), (1, 3, 256, 256), tile=100)


def test_a_tile_smaller_than_the_grid_is_refused_with_the_least_good_size():
    with pytest.raises(TileError, match=r"use 16\."):
        plan_tiles(TransposedUNet().eval(), (1, 3, 256, 256), tile=5)


def test_a_tile_as_large_as_the_image_is_one_crop():
    plan = plan_tiles(TransposedUNet().eval(), (1, 3, 64, 64), tile=1000)
    assert len(plan) == 1
    assert str(plan).startswith("one crop, the image itself")
    assert plan.recompute == 1


def test_a_size_at_which_the_network_fails_is_said_with_sizes_that_pass():
    with pytest.raises(TileError, match=r"It runs on 240 x 240 or 256 x 256\."):
        plan_tiles(TransposedUNet().eval(), (1, 3, 250, 250), tile=64)


def test_a_network_that_fails_at_every_size_is_said_as_it_is():
    with pytest.raises(CaptureError, match="The model failed on input 1x3x64x64"):
        plan_tiles(nn.Conv2d(4, 4, 3).eval(), (1, 3, 64, 64), tile=32)


def test_a_tiny_image_is_one_crop():
    plan = plan_tiles(BilinearUNet().eval(), (1, 3, 4, 4), tile=4)
    assert len(plan) == 1


def test_the_scale_of_an_output_that_is_larger_is_told():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PixelShuffle(2)).eval()
    plan = plan_tiles(model, (1, 3, 64, 64), tile=32)
    assert plan.outputs[0].scales == (Fraction(2), Fraction(2))


def test_one_axis_of_several_can_be_tiled():
    plan = plan_tiles(Chain().eval(), SHAPE, tile=64, axes=[-1])
    assert [axis.axis for axis in plan.axes] == [3]
    assert len(plan) == 4


def test_a_signal_is_tiled_along_its_samples():
    plan = plan_tiles(Signal().eval(), (1, 2, 1000), tile=100)
    assert [(axis.axis, axis.grid) for axis in plan.axes] == [(2, 4)]


def test_one_tile_size_per_axis_is_asked_for():
    with pytest.raises(UsageError, match="2 axes are tiled and 3 tile sizes were given"):
        plan_tiles(Chain().eval(), SHAPE, tile=(64, 64, 64))


def test_a_suggested_tile_fits_and_the_next_does_not():
    model, shape, memory = Chain().eval(), (1, 3, 512, 512), 2 << 20
    tile = suggest_tile(model, shape, memory=memory)
    assert plan_tiles(model, shape, tile=tile).crop_bytes <= memory
    assert plan_tiles(model, shape, tile=[n + 4 for n in tile]).crop_bytes > memory


def test_a_budget_that_holds_the_image_suggests_one_crop():
    assert suggest_tile(Chain().eval(), (1, 3, 250, 99), memory=1 << 30) == (252, 100)


def test_a_budget_that_is_too_small_says_what_the_least_needs():
    with pytest.raises(TileError, match=r"A budget of 1\.0 KiB is too small: the least crop, of"):
        suggest_tile(TransposedUNet().eval(), (1, 3, 512, 512), memory=1024)


class Aligned(nn.Module):
    """Corners aligned: the step between taps depends on the size of the image."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class Positions(nn.Module):
    """Adds where in the image a sample lies."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(x.shape[-1], dtype=x.dtype) / x.shape[-1]


class Scaled(nn.Module):
    """Divides by the size of the image."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.shape[-1]


class Misaligned(nn.Module):
    """Joins what moves by two samples with what moves by three."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., ::2][..., :20] + x[..., ::3][..., :20]


class Certain(nn.Module):
    """The share of one class of one is 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :1].softmax(1)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Aligned, "'upsample_bilinear' repeats every 95 samples only, at this size"),
        (Positions, r"\(add\): it meets '.*', which varies along the axis|\(add\): none"),
        (Scaled, r"\(div\): its argument 'other' depends on the size of the image"),
        (Misaligned, "Branches of different strides meet at 'add'"),
        (Certain, "The output '.*' sees nothing of the input: it has no tiles"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_what_depends_on_the_size_or_the_place_is_refused_by_name(kind, why):
    with pytest.raises(TileError, match=why):
        plan_tiles(kind().eval(), (1, 3, 96, 96), tile=16)


class Picked(nn.Module):
    """Picks by an index that is computed from the size of the image."""

    def forward(self, x: Tensor) -> Tensor:
        index = torch.arange(8) * x.shape[-1] // 64 % x.shape[1]
        return x[:, index]


class Counted(nn.Module):
    """Gathers channels by an index whose values depend on the size of the image."""

    def forward(self, x: Tensor) -> Tensor:
        index = torch.full((1, 1, 1, 1), x.shape[-1] // 64).expand(1, 1, *x.shape[2:])
        return torch.gather(x, 1, index)


@pytest.mark.parametrize("kind", [Picked, Counted], ids=lambda kind: kind.__name__)
def test_what_is_picked_by_the_size_of_the_image_is_refused_or_right(kind):
    model, x = kind().eval(), torch.randn(1, 3, 96, 96)
    try:
        found = tiled(model, x, tile=16)(x)
    except TileError:
        return
    assert torch.equal(found, model(x))


def test_inputs_by_name_may_come_in_any_order():
    class Weighed(nn.Module):
        def forward(self, image: Tensor, weight: Tensor) -> Tensor:
            return image - 2 * weight[:, :1]

    image, weight = torch.randn(1, 3, 64, 64), torch.randn(1, 2, 64, 64)
    run = tiled(Weighed().eval(), {"image": image, "weight": weight}, tile=16)
    assert torch.equal(run(weight=weight, image=image), image - 2 * weight[:, :1])


class Named(nn.Module):
    """Keeps what it does not need any more in a variable, as Python code does."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.one(x)
        kept = fine.relu()
        return self.two(kept).relu()


def test_the_memory_of_a_crop_counts_what_variables_hold():
    """Input, both variables, what the second convolution makes, and the result of its ReLU."""
    plan = plan_tiles(Named().eval(), (1, 3, 128, 128), tile=128)
    assert plan.crop_bytes == plan.whole_bytes == 4 * 128 * 128 * (3 + 8 + 8 + 8 + 8)


def test_no_fake_tensor_stays_on_the_model():
    class Remembering(nn.Conv2d):
        last: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.last = super().forward(x)
            return self.last

    model = Remembering(1, 1, 3, padding=1).eval()
    plan_tiles(model, (1, 1, 32, 32), tile=16)
    assert model.last is None


def test_a_crop_at_which_a_layer_has_nothing_to_compute_is_widened():
    """A transposed convolution that cuts its ends off leaves nothing of two columns."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 4, 1, stride=(1, 2)),
        nn.ConvTranspose2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 1),
    ).eval()
    x = torch.randn(1, 4, 24, 38)
    with torch.no_grad():
        torch.testing.assert_close(tiled(model, x, tile=(1, 2))(x), model(x), atol=1e-5, rtol=0)


def test_an_output_that_is_empty_is_told():
    model = nn.Sequential(nn.Conv3d(4, 4, (1, 1, 9)), nn.ConvTranspose3d(4, 4, 1, padding=1)).eval()
    with pytest.raises(TileError, match="'output' is empty at this size; give a larger image"):
        plan_tiles(model, (1, 4, 10, 10, 10), tile=3)
