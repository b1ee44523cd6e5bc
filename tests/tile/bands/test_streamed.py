"""A streamed network computes what the whole one does, and says beforehand what it will keep."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise.tile import streamed
from fieldwise.tile.bands import StreamError
from tests.field.networks import (
    CATALOGUE,
    Attention,
    BidirectionalLstm,
    SqueezeExcitation,
)

GLOBAL = {SqueezeExcitation, Attention, BidirectionalLstm}
CASES = [(kind, shape) for kind, shape in CATALOGUE.items() if kind not in GLOBAL]
TOLERANCE = 1e-12


def assert_streams(
    model: nn.Module, shape: tuple[int, ...], *, axis: int, band: int, tolerance: float = TOLERANCE
) -> None:
    """The float64 model, streamed, gives what it gives whole, within the planned memory."""
    torch.manual_seed(0)
    model = model.double().eval()
    x = torch.randn(shape, dtype=torch.float64)
    run = streamed(model, x, axis=axis, band=band)
    with torch.no_grad():
        wanted = model(x)
    found = run(x)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max().clamp(min=1)
    assert run.peak_bytes <= run.plan(shape).peak_bytes


@pytest.mark.parametrize("band", [1, 3, 8])
@pytest.mark.parametrize(("kind", "shape"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_every_micro_network_streams_along_its_first_axis(kind, shape, band):
    assert_streams(kind(), shape, axis=2, band=band)


@pytest.mark.parametrize("kind", sorted(GLOBAL, key=lambda kind: kind.__name__))
def test_a_network_with_a_global_layer_is_refused_before_anything_runs(kind):
    with pytest.raises(StreamError, match="cannot be streamed along this axis"):
        streamed(kind(), torch.empty(CATALOGUE[kind]), axis=2).plan(CATALOGUE[kind])


def test_an_input_without_rows_gives_an_output_without_rows():
    run = streamed(nn.Softsign(), torch.empty(1, 2, 8, 4))
    assert run(torch.empty(1, 2, 0, 4)).shape == (1, 2, 0, 4)
