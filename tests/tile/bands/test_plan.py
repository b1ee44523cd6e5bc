"""What a plan says of memory, against what torch takes from the system while it runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise.tile import streamed
from fieldwise.tile.bands import StreamedModel
from tests.tile.taken import bytes_at_once

BAND = 4096


def taken(run: StreamedModel, x: torch.Tensor) -> int:
    """The most bytes that a run holds at once."""

    def bands() -> None:
        for band in run.bands(x):
            del band

    return bytes_at_once(bands)


@pytest.mark.parametrize(
    ("model", "dtype"),
    [
        (nn.Sequential(nn.Conv1d(64, 64, 9, padding=4), nn.ELU(), nn.Conv1d(64, 64, 9)), "float32"),
        (
            nn.Sequential(nn.Conv1d(64, 64, 9, padding=4, groups=64), nn.Conv1d(64, 64, 3)),
            "float32",
        ),
        (nn.Sequential(nn.Conv1d(64, 64, 4, 2), nn.ConvTranspose1d(64, 64, 4, 2)), "float32"),
        (nn.Sequential(nn.Conv1d(64, 64, 5, padding=2), nn.Conv1d(64, 64, 5)), "float64"),
        (nn.Sequential(nn.Conv1d(64, 64, 5), nn.ConvTranspose1d(64, 32, 5)), "float64"),
    ],
)
def test_a_stream_of_sequences_takes_what_its_plan_says(model, dtype):
    """Copies of torch's kernels are in the plan, and no band of outputs outlives its step."""
    x = torch.randn(1, 64, 6 * BAND, dtype=getattr(torch, dtype))
    run = streamed(model.eval().to(x.dtype), x, axis=-1, band=BAND)
    planned = run.plan(x.shape).peak_bytes
    taken(run, x)
    assert 0.7 * planned <= taken(run, x) <= 1.1 * planned


IMAGE, VOLUME = (1, 16, 160, 192), (1, 8, 40, 40, 40)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3)), IMAGE),
        (nn.Sequential(nn.Conv2d(16, 16, 3, dilation=2), nn.Conv2d(16, 8, 5)), IMAGE),
        (
            nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 16, 1)),
            IMAGE,
        ),
        (nn.Sequential(nn.Conv2d(16, 16, 3), nn.AvgPool2d(3, 1, 1), nn.Conv2d(16, 8, 3)), IMAGE),
        (nn.Sequential(nn.Conv3d(8, 8, 3, padding=1), nn.Conv3d(8, 8, 3)), VOLUME),
        (nn.Sequential(nn.Conv3d(8, 8, 2, 2), nn.ConvTranspose3d(8, 4, 2, 2)), VOLUME),
    ],
    ids=["3 x 3", "5 x 5", "groups", "pooled", "volume", "volume, transposed"],
)
def test_a_stream_of_images_and_volumes_takes_what_its_plan_says(model, shape, dtype):
    """Windows that are laid out, and rows that are copied to where they are kept, are in it."""
    x = torch.randn(shape, dtype=getattr(torch, dtype))
    run = streamed(model.eval().to(x.dtype), x, axis=2, band=8)
    planned = run.plan(x.shape).peak_bytes
    taken(run, x)
    assert 0.8 * planned <= taken(run, x) <= 1.2 * planned
