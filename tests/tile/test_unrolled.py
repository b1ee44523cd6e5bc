"""Rows that a loop takes one by one, in bands and in crops: as the whole, or refused."""

from __future__ import annotations

import pytest
import torch

from fieldwise.tile import streamed, tiled
from fieldwise.tile.errors import TileError
from tests.unrolled import LOOPS, Cells, Picked, PickedRing, example, made


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


@pytest.mark.parametrize("kind", [Picked, PickedRing, Cells])
def test_a_refusal_says_that_there_are_other_steps_at_another_size(kind):
    with pytest.raises(TileError, match="takes another path through its code at another size"):
        tiled(made(kind), example(), axes=(1,), tile=4)
