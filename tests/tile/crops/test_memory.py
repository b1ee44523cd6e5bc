"""What a plan of crops says of memory, against what torch takes while a crop is computed."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import nn

from fieldwise.capture.torch import capture
from fieldwise.tile import tiled
from fieldwise.tile.crops.memory import peak_bytes
from fieldwise.tile.crops.parts import Batch
from tests.tile.taken import bytes_at_once

IMAGE, SEQUENCE, VOLUME = (1, 16, 224, 224), (1, 32, 16384), (1, 8, 56, 56, 56)

NETWORKS = {
    "3 x 3": (
        nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3)),
        IMAGE, 112,
    ),
    "dilated": (
        nn.Sequential(nn.Conv2d(16, 16, 3, dilation=2), nn.ReLU(), nn.Conv2d(16, 8, 5)),
        IMAGE, 112,
    ),
    "groups": (
        nn.Sequential(nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 16, 3, groups=4)),
        IMAGE, 112,
    ),
    "transposed": (
        nn.Sequential(nn.Conv2d(16, 16, 2, 2), nn.ReLU(), nn.ConvTranspose2d(16, 16, 2, 2)),
        IMAGE, 112,
    ),
    "classes": (nn.Sequential(nn.Conv2d(16, 16, 3), nn.Softmax(1)), IMAGE, 112),
    "sequence": (
        nn.Sequential(nn.Conv1d(32, 64, 9, padding=4), nn.ReLU(), nn.Conv1d(64, 64, 9)),
        SEQUENCE, 8192,
    ),
    "sequence, transposed": (
        nn.Sequential(nn.Conv1d(32, 64, 4, 2), nn.ReLU(), nn.ConvTranspose1d(64, 32, 4, 2)),
        SEQUENCE, 8192,
    ),
    "volume": (
        nn.Sequential(nn.Conv3d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 8, 3)),
        VOLUME, 28,
    ),
    "volume, transposed": (
        nn.Sequential(nn.Conv3d(8, 8, 2, 2), nn.ReLU(), nn.ConvTranspose3d(8, 8, 2, 2)),
        VOLUME, 28,
    ),
}  # fmt: skip


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_crop_takes_what_its_plan_says(network, dtype, samples):
    model, shape, tile = NETWORKS[network]
    x = torch.randn(samples, *shape[1:], dtype=getattr(torch, dtype))
    run = tiled(model.eval().to(x.dtype), x, tile=tile)
    plan = run.plan(x.shape)
    largest = max(plan.tiles(), key=lambda tile: prod(tile.lengths))
    run.crop(largest, x)
    took = bytes_at_once(lambda: run.crop(largest, x))
    assert took / 1.2 <= plan.crop_bytes <= 1.2 * took


def test_a_batch_of_crops_takes_what_its_plan_says():
    """Beside the crops side by side, of which the model is given a copy."""
    model, shape, tile = NETWORKS["3 x 3"]
    x = torch.randn(shape, dtype=torch.float64)
    run = tiled(model.eval().double(), x, tile=tile // 4, batch=4)
    plan = run.plan(x.shape)
    batch = max(plan.batches(), key=lambda batch: batch.count * prod(batch.tiles[0].lengths))
    together = 16 * batch.count * prod(batch.tiles[0].lengths) * x.itemsize
    run.crops(batch, x)
    took = bytes_at_once(lambda: run.crops(batch, x)) - together
    assert isinstance(batch, Batch)
    assert took / 1.2 <= plan.crop_bytes <= 1.2 * took


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_follows_from_the_graph_counts_the_kernels_too(dtype):
    """Of a model that cannot be run without data; values are in rows, none is held by Python."""
    model = nn.Sequential(nn.Conv1d(32, 64, 9), nn.ReLU(), nn.Conv1d(64, 64, 9)).eval().to(dtype)
    x = torch.randn(SEQUENCE, dtype=dtype)
    took = bytes_at_once(lambda: model(x.clone()))
    assert took / 1.2 <= peak_bytes(capture(model, x)) <= 1.2 * took
