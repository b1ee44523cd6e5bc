"""Networks that someone else trained: tiled = streamed = whole; their own tiling has seams."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks.trained_networks import (
    deepcr,
    deepcr_patches,
    platelet_chunks,
    platelet_volume,
    platelets,
    pnet,
    sky,
)
from fieldwise.tile import streamed, tiled


def installed(make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except LookupError as missing:
        pytest.skip(f"{missing}; make test installs it")


def close(found: Tensor, wanted: Tensor) -> bool:
    return (found - wanted).abs().max().item() <= 1e-12 * wanted.abs().max().item()


@torch.no_grad()
def test_the_masks_of_deepcr_have_no_seams():
    model, x = installed(deepcr), sky(300, 280)
    wanted = model(x)
    assert 0.001 < (wanted > 0.5).double().mean() < 0.5, "it finds something, and not all"
    assert close(streamed(model, x[..., :32, :32], band=32)(x), wanted)
    run = tiled(model, x[..., :32, :32], tile=128, verify=True)
    assert close(run(x), wanted)
    assert run.certificates
    theirs = deepcr_patches(model, x, 256)
    assert (theirs - wanted).abs().max() > 0.01, "probabilities at the seams of its own patches"


@torch.no_grad()
def test_the_affinities_of_platelets_have_no_seams():
    model, x = installed(platelets), platelet_volume(192, 32)
    wanted = model(x)
    assert close(streamed(model, x[..., :32, :], axis=3, band=32)(x), wanted)
    assert close(tiled(model, x[..., :32, :], tile=64, axes=[3])(x), wanted)
    theirs = platelet_chunks(model, x, (4, 64, 32))
    assert (theirs - wanted).abs().max() > 0.01, "affinities at the seams of its own chunks"


@torch.no_grad()
@pytest.mark.parametrize("size", [(240, 320), (241, 319)])
def test_the_face_proposals_of_an_image_have_no_seams(size):
    """It pads nothing and is never tiled by its package: every output has a place of its own."""
    model = installed(pnet)
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    stream, halo = (
        streamed(model, x[..., :24, :24], band=16),
        tiled(model, x[..., :24, :24], tile=64),
    )
    for run in (stream, halo):
        assert all(close(one, other) for one, other in zip(run(x), model(x), strict=True))
