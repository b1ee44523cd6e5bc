"""Rows that a loop takes one by one, in bands and in crops: as the whole, or refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise.tile import streamed, tiled
from fieldwise.tile.errors import StreamError, TileError
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


class Sums(nn.Module):
    """A state that is carried on, and rows of which some are used twice."""

    def forward(self, x):
        state, rows = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            state = torch.tanh(state + x[:, t] * state)
            rows.append(state)
        return torch.stack(rows, 1)


class Chosen(Sums):
    def forward(self, x):
        return super().forward(x)[:, [0, 1, 3, 4, 6, 7, 9, 10, 11, 12, 14, 17, 18, 19, 23]]


def test_crops_of_rows_that_see_all_of_the_past_are_refused():
    x = torch.randn(1, 24, 3)
    for tile in (4, 8):
        with pytest.raises(TileError):
            tiled(Chosen(), x, axes=(1,), tile=tile)(x)


def test_what_could_be_summed_up_is_looked_for_once_per_value(monkeypatch):
    """Along every path through a written-out recurrence it would be looked for 2²⁴ times."""
    asked = []

    def statistic_of(*_):
        asked.append(1)
        assert len(asked) < 2000

    monkeypatch.setattr("fieldwise.tile.bands.obstacles.statistic_of", statistic_of)
    x = torch.randn(1, 24, 3)
    with pytest.raises(StreamError):
        streamed(Mixed(), x, axis=1, band=2)
    assert asked


class Mixed(Sums):
    def forward(self, x):
        return super().forward(x)[:, -1].cumsum(1).reshape(1, 3).flip(0).sort(1)[0][:, None]
