"""The settings in the tools themselves, where they are installed: borders of the arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fieldwise.tile import plan_tiles

CASES = {
    "no halo": (lambda: nn.Conv2d(2, 3, 1), (1, 2, 48, 40)),
    "no halo on one axis": (lambda: nn.Conv2d(2, 3, (1, 5), padding=(0, 2)), (1, 2, 48, 40)),
    "a volume": (lambda: nn.Conv3d(2, 3, (1, 5, 5), padding=(0, 2, 2)), (1, 2, 8, 24, 20)),
    "a signal": (lambda: nn.Conv1d(2, 3, 3, padding=1), (1, 2, 60)),
    "a coarser grid": (
        lambda: nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(2, 3, 3, padding=1), nn.ConvTranspose2d(3, 2, 2, 2)
        ),
        (1, 2, 48, 64),
    ),
}
TILES = [(16, None), (8, (2,)), (64, None)]


@pytest.fixture(params=CASES)
def case(request):
    build, shape = CASES[request.param]
    torch.manual_seed(0)
    return build().double().eval(), torch.randn(shape, dtype=torch.float64)


def planned(net: nn.Module, image: Tensor, tile: int, axes: tuple[int, ...] | None):
    options = {} if axes is None else {"axes": axes}
    return plan_tiles(net, torch.empty_like(image), tile=tile, **options)


@pytest.mark.parametrize(("tile", "axes"), TILES)
def test_monai(case, tile, axes):
    inferers = pytest.importorskip("monai.inferers")
    net, image = case
    found = planned(net, image, tile, axes).as_monai()
    with torch.no_grad():
        whole = net(image)
        out = inferers.sliding_window_inference(image, predictor=net, **found.settings)
    known = ~torch.isnan(out)
    assert bool(known.all()) == found.exact
    assert known.any()
    torch.testing.assert_close(out[known], whole[known])


@pytest.mark.parametrize(("tile", "axes"), TILES)
def test_torchio(case, tile, axes):
    torchio = pytest.importorskip("torchio")
    net, image = case
    found = planned(net, image, tile, axes).as_torchio()
    assert found.exact, found.why
    options = dict(found.settings)
    flat = [1] * (3 - (image.ndim - 2))
    volume = image[0].reshape(*image.shape[1:], *flat)
    subject = torchio.Subject(image=torchio.ScalarImage(tensor=volume))
    mode = options.pop("overlap_mode")
    sampler = torchio.inference.GridSampler(subject, **options)
    aggregator = torchio.inference.GridAggregator(sampler, overlap_mode=mode)
    with torch.no_grad():
        for batch in torch.utils.data.DataLoader(sampler, batch_size=2):
            crops = batch["image"][torchio.DATA].double()
            made = net(crops.reshape(crops.shape[: image.ndim]))
            aggregator.add_batch(made.reshape(*made.shape, *flat), batch[torchio.LOCATION])
        whole = net(image)[0]
    out = aggregator.get_output_tensor().reshape(whole.shape)
    torch.testing.assert_close(out.double(), whole, rtol=1e-5, atol=1e-5)
