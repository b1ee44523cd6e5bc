"""Laws that hold whatever a network does: what is done twice is what is done once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from torch import nn

from fieldwise import fold, tiled
from fieldwise.capture.torch import capture
from fieldwise.errors import CaptureError
from fieldwise.tile import plan_tiles
from tests.field.random_networks import CHANNELS, Drawn, networks

SOME = settings(
    max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def captured(drawn: Drawn):
    try:
        return capture(drawn.model, torch.empty(drawn.shape))
    except CaptureError:
        assume(False)


@seed(1)
@SOME
@given(networks())
def test_a_network_that_was_captured_is_captured_alike(drawn):
    first = captured(drawn)
    second = captured(drawn)
    assert first == second
    assert str(first) == str(second)


@st.composite
def normed_networks(draw: st.DrawFn) -> Drawn:
    """A random network with batch norms between its layers."""
    drawn = draw(networks())
    make = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(drawn.shape) - 3]
    layers = list(drawn.model)
    for _ in range(draw(st.integers(1, 3))):
        norm = make(CHANNELS)
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
        layers.insert(draw(st.integers(0, len(layers))), norm)
    return Drawn(nn.Sequential(*layers).eval(), drawn.shape)


def test_a_folded_model_folds_no_further():
    """Of random networks with batch norms, of which many do fold."""
    gone = []

    @seed(2)
    @SOME
    @given(normed_networks())
    def law(drawn: Drawn) -> None:
        captured(drawn)
        once = fold(drawn.model, drawn.shape)
        twice = fold(once.model, drawn.shape)
        assert twice.report.folded == 0, (once.report.items, twice.report.items)
        gone.append(once.report.folded)

    law()
    assert sum(count > 0 for count in gone) >= 5


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv1d(4, 4, 5, padding=2), nn.MaxPool1d(2), nn.Conv1d(4, 4, 3, padding=1)),
        (nn.Conv1d(4, 4, 3, stride=3), nn.Upsample(scale_factor=3, mode="linear")),
        (nn.Conv1d(4, 4, 3, padding=1, padding_mode="reflect"), nn.ConvTranspose1d(4, 4, 4, 2)),
    ],
    ids=["pooled", "resampled", "transposed"],
)
def test_crops_of_crops_give_the_whole(layers):
    """Each crop of a plan is itself computed crop by crop, with smaller tiles."""
    model = nn.Sequential(*layers).double().eval()
    x = torch.randn(1, 4, 72, dtype=torch.float64)
    plan = plan_tiles(model, x, tile=24)
    assert len(list(plan.tiles())) == 3
    with torch.no_grad():
        found = tiled(lambda crop: tiled(model, crop, tile=6)(crop), plan)(x)
        assert torch.allclose(found, model(x), atol=1e-10)
