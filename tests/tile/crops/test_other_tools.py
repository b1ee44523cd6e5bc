"""The settings for other tools, tried on plain copies of what those tools document."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import torch
from torch import nn

from fieldwise.tile import plan_tiles
from fieldwise.tile.crops.plan import TilePlan
from tests.field.networks import BilinearUNet, Chain, Circular, NearestUNet, TransposedUNet
from tests.tile.crops.tool_copies import Array, Predict, monai, torchio, windows

TOLERANCE = 1e-12
UNETS = (TransposedUNet, NearestUNet, BilinearUNet)


def network(kind: type[nn.Module]) -> tuple[nn.Module, Predict]:
    """A float64 network whose ReLUs are open, and the same on numpy arrays."""
    torch.manual_seed(0)
    model = kind().eval().double()
    for layer in model.modules():
        if getattr(layer, "bias", None) is not None:
            nn.init.constant_(layer.bias, 0.5)

    def predict(x: Array) -> Array:
        with torch.no_grad():
            return model(torch.from_numpy(np.ascontiguousarray(x))).numpy()

    return model, predict


def image(*size: int) -> Array:
    return np.random.default_rng(0).normal(size=(1, 3, *size))


def planned(kind: type[nn.Module], size: tuple[int, int], tile: int) -> TilePlan:
    model, _ = network(kind)
    return plan_tiles(model, torch.empty(1, 3, *size, dtype=torch.float64), tile=tile)


class Unpadded(nn.Sequential):
    """Outputs are six samples shorter than the input."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 5))


class Turned(nn.Module):
    """Rows become columns."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x, 3, 1, 1).transpose(2, 3)


def bioimageio(predict: Predict, x: Array, *, inputs, outputs, blocks: int) -> Array:
    """Blocks of min + n · step, mirrored at the border, the halo cropped from either side."""
    ((_, axes),) = outputs.items()
    sizes = [inputs[d]["size"]["min"] + blocks * inputs[d]["size"]["step"] for d in (2, 3)]
    halos = [axes[d]["halo"] for d in (2, 3)]
    inner = [size - 2 * halo for size, halo in zip(sizes, halos, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *((h, h) for h in halos)], mode="reflect")
    out = None
    for place in windows(x.shape[2:], tuple(inner), tuple(inner)):
        crop = tuple(slice(s.start, s.stop + 2 * h) for s, h in zip(place, halos, strict=True))
        found = predict(padded[(..., *crop)])
        if out is None:
            out = np.zeros((*found.shape[:2], *x.shape[2:]))
        core = tuple(slice(h, h + n) for h, n in zip(halos, inner, strict=True))
        out[(..., *place)] = found[(..., *core)]
    return out


# -------------------------------------------------------------------- with our settings


@pytest.mark.parametrize("kind", UNETS, ids=lambda kind: kind.__name__)
def test_torchio_is_exact(kind):
    _, predict = network(kind)
    x = image(256, 224)
    told = planned(kind, (256, 224), 32).as_torchio()
    assert told.exact, told.why
    assert np.abs(torchio(predict, x, **told.settings) - predict(x)).max() <= TOLERANCE


def test_torchio_with_an_overlap_off_the_grid_is_not():
    _, predict = network(TransposedUNet)
    x = image(256, 224)
    settings = dict(planned(TransposedUNet, (256, 224), 32).as_torchio().settings)
    settings["patch_overlap"] = tuple(n and n + 2 for n in settings["patch_overlap"])
    assert np.abs(torchio(predict, x, **settings) - predict(x)).max() > 1e-3


@pytest.mark.parametrize("kind", UNETS, ids=lambda kind: kind.__name__)
def test_monai_is_exact_inside_and_says_that_the_border_gets_nothing(kind):
    _, predict = network(kind)
    x = image(256, 224)
    told = planned(kind, (256, 224), 32).as_monai()
    assert not told.exact
    assert any("get none (NaN)" in why for why in told.why)
    found = monai(predict, x, **told.settings)
    margin = (told.settings["roi_size"][0] - 32) // 2
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    assert np.abs(found[inner] - predict(x)[inner]).max() <= TOLERANCE
    assert np.isnan(found[..., :margin, :]).all()


def test_monai_with_its_own_weights_is_not_exact():
    _, predict = network(TransposedUNet)
    x = image(256, 224)
    settings = dict(planned(TransposedUNet, (256, 224), 32).as_monai().settings)
    settings["roi_weight_map"] = np.ones_like(settings["roi_weight_map"])
    assert np.abs(monai(predict, x, **settings) - predict(x)).max() > 1e-3


@pytest.mark.parametrize("kind", UNETS, ids=lambda kind: kind.__name__)
def test_bioimageio_is_exact_inside_and_says_that_the_border_is_mirrored(kind):
    _, predict = network(kind)
    x = image(288, 288)
    told = planned(kind, (288, 288), 32).as_bioimageio()
    assert not told.exact
    assert all("padded by reflection" in why for why in told.why)
    found = bioimageio(predict, x, blocks=1, **told.settings)
    margin = told.settings["outputs"]["output"][2]["halo"]
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    assert np.abs(found[inner] - predict(x)[inner]).max() <= TOLERANCE
    assert np.abs(found - predict(x)).max() > 1e-6


@pytest.mark.parametrize("kind", UNETS, ids=lambda kind: kind.__name__)
def test_dask_is_exact(kind):
    _, predict = network(kind)
    x = image(256, 192)
    told = planned(kind, (256, 192), 64).as_dask()
    assert told.exact, told.why
    settings = dict(told.settings)
    lazy = da.from_array(x, chunks=settings.pop("chunks"))
    found = da.map_overlap(predict, lazy, dtype=float, meta=np.empty((0,) * 4), **settings)
    found = found.compute(scheduler="synchronous")
    assert np.abs(found - predict(x)).max() <= TOLERANCE


@pytest.mark.parametrize("kind", [Chain, Unpadded], ids=lambda kind: kind.__name__)
def test_dask_is_exact_where_the_output_is_smaller(kind):
    _, predict = network(kind)
    x = image(256, 192)
    told = planned(kind, (256, 192), 64).as_dask()
    assert told.exact, told.why
    settings = dict(told.settings)
    trims = settings.pop("trim_output")["output"]
    lazy = da.from_array(x, chunks=settings.pop("chunks"))
    places = [len(chunks) for chunks in lazy.chunks]

    def trimmed(crop: Array, block_info=None) -> Array:
        found = predict(crop)
        index = [slice(None)] * 4
        for dim, (before, behind) in trims.items():
            at = block_info[0]["chunk-location"][dim]
            stop = found.shape[dim] - (behind if at + 1 < places[dim] else 0)
            index[dim] = slice(before if at > 0 else 0, stop)
        return found[tuple(index)]

    found = da.map_overlap(trimmed, lazy, dtype=float, meta=np.empty((0,) * 4), **settings)
    parts = found.to_delayed()[0, 0]
    rows = [np.concatenate([cell.compute(scheduler="synchronous") for cell in row], axis=-1)
            for row in parts]  # fmt: skip
    assert np.abs(np.concatenate(rows, axis=-2) - predict(x)).max() <= TOLERANCE


def test_outputs_that_are_not_padded_fit_no_other_tool():
    plan = planned(Unpadded, (256, 192), 64)
    for told in (plan.as_torchio(), plan.as_monai()):
        assert any("'output' has 250 samples of axis 2 and not 256" in why for why in told.why)


def test_outputs_whose_axes_stand_elsewhere_are_told():
    plan = planned(Turned, (256, 192), 64)
    for told in (plan.as_torchio(), plan.as_monai(), plan.as_dask()):
        assert any("axis 2 is dimension 3 of the output" in why for why in told.why)


def test_a_size_off_the_grid_is_told():
    told = planned(Chain, (250, 192), 64)
    for settings in (told.as_dask(), told.as_torchio(), told.as_monai(), told.as_bioimageio()):
        assert not settings.exact
        assert any("size 250 of axis 2 is not a multiple of the stride 4" in w for w in
                   settings.why)  # fmt: skip


def test_outputs_that_see_the_other_end_are_told():
    told = planned(Circular, (128, 128), 32).as_dask()
    assert any("see the other end of the image" in why for why in told.why)


def test_settings_print_as_a_call():
    told = str(planned(NearestUNet, (256, 192), 64).as_torchio())
    assert told == (
        "GridSampler, GridAggregator(patch_size=(88, 88, 1), "
        "patch_overlap=(24, 24, 0), padding_mode=None, overlap_mode='crop')  # exact"
    )


def one_by_one() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))


def test_no_overlap_is_none_and_never_negative():
    plan = planned(one_by_one, (64, 48), 16)
    assert plan.as_monai().settings["overlap"] == (0.0, 0.0)
    assert plan.as_monai().exact
    assert plan.as_torchio().settings["patch_overlap"] == (0, 0, 0)
    assert plan.as_careamics().settings["tile_overlap"] == (0, 0)
    assert plan.as_terratorch().settings["padding"] is False
    for found in (plan.as_monai(), plan.as_torchio(), plan.as_careamics(), plan.as_terratorch()):
        assert found.exact, found.why


def test_an_axis_without_halo_beside_one_with():
    model = nn.Conv3d(1, 1, (1, 5, 5), padding=(0, 2, 2)).eval()
    plan = plan_tiles(model, torch.empty(1, 1, 16, 32, 32), tile=8)
    found = plan.as_monai()
    assert found.settings["roi_size"] == (8, 12, 12)
    assert found.settings["overlap"][0] == 0
    assert all(0 < one < 1 for one in found.settings["overlap"][1:])


@pytest.mark.parametrize("tool", ["as_monai", "as_torchio", "as_careamics", "as_dask"])
def test_a_tile_that_is_the_whole_axis_is_read_at_once(tool):
    found = getattr(planned(TransposedUNet, (64, 64), 64), tool)()
    assert found.exact, found.why
    assert 64 in found.settings.get("roi_size", (64,))


def test_an_axis_that_is_not_tiled_is_read_at_once():
    model, _ = network(TransposedUNet)
    plan = plan_tiles(model, torch.empty(1, 3, 128, 64, dtype=torch.float64), tile=32, axes=(2,))
    assert plan.as_monai().settings["roi_size"][1] == 64
    assert plan.as_torchio().settings["patch_size"][1:] == (64, 1)


def test_a_block_of_a_description_needs_its_halo_however_large_the_tile_is():
    found = planned(TransposedUNet, (64, 64), 64).as_bioimageio()
    assert found.settings["outputs"]["output"][2]["halo"] > 0
    assert not found.exact


def test_axes_that_a_tool_does_not_have_are_told():
    model = nn.Conv1d(2, 2, 3, padding=1).eval()
    plan = plan_tiles(model, torch.empty(1, 2, 64), tile=16)
    assert any("an image has two axes, and the input has 1" in w for w in plan.as_terratorch().why)
