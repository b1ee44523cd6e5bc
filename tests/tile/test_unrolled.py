"""Rows that a loop takes one by one, in bands and in crops: as the whole, or refused."""

from __future__ import annotations

import pytest
import torch

from fieldwise.tile import streamed, tiled
from fieldwise.tile.errors import TileError
from tests.unrolled import LOOPS, Uneven, example, made


@pytest.mark.parametrize("kind", LOOPS)
def test_a_loop_is_streamed_as_the_whole(kind):
    model, x = made(kind), example()
    torch.testing.assert_close(streamed(model, x, axis=1, band=2)(x), model(x))


@pytest.mark.parametrize("kind", LOOPS)
def test_a_loop_in_crops_is_the_whole_or_refused(kind):
    model, x = made(kind), example()
    try:
        crops = tiled(model, x, axes=(1,), tile=4)
    except TileError as error:
        refused = str(error)
    else:
        torch.testing.assert_close(crops(x), model(x))
        return
    assert "Or stream it: fieldwise.streamed(model, example, axis=1)." in refused
    if kind is not Uneven:  # which has as many layers as the image has rows
        assert "the network takes another path through its code at another size" in refused
