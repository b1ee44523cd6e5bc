"""Axis and band where they are not given: what works, by the bytes that a run holds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise.errors import UsageError
from fieldwise.tile import streamed
from fieldwise.tile.bands.choosing import room_for, widest_band
from fieldwise.tile.errors import StreamError

AUDIO = nn.Sequential(
    nn.Conv1d(2, 8, 9, padding=4), nn.ReLU(), nn.ConvTranspose1d(8, 2, 4, 2, 1)
).eval()
VOLUME = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 2, 3)).eval()


def test_audio_is_streamed_along_its_samples_in_few_steps():
    run, x = streamed(AUDIO, (1, 2, 64)), torch.randn(1, 2, 100_000)
    plan = run.plan(x.shape)
    assert (run.axis, plan.band, plan.steps) == (-1, 4096, 25)
    assert plan.peak_bytes <= 1 << 20
    with torch.no_grad():
        torch.testing.assert_close(run(x), AUDIO(x))


def test_one_channel_of_samples_is_streamed_along_the_samples():
    run = streamed(nn.Conv1d(1, 4, 9), torch.empty(1, 1, 64))
    assert (run.axis, run.session().latency) == (-1, {"output": 8})


def test_tokens_are_streamed_along_the_sequence():
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.inner = nn.LayerNorm(8), nn.LSTM(8, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(self.norm(x))[0]

    assert streamed(Tokens().eval(), (1, 50, 8)).axis == -2


def test_a_volume_is_cut_along_the_axis_of_which_rows_take_least():
    run = streamed(VOLUME, (1, 1, 16, 16, 16), memory=500_000_000)
    plan = run.plan((1, 1, 48, 2048, 2048))
    assert run.axis == -2
    assert plan.peak_bytes <= 500_000_000
    assert run.plan((1, 1, 2048, 48, 48)).peak_bytes <= 500_000_000
    assert run.axis == -3


def test_too_little_memory_says_what_is_enough():
    run = streamed(VOLUME, (1, 1, 16, 16, 16), memory=1_000_000)
    with pytest.raises(
        UsageError, match=r"976\.6 KiB are given; give more memory \(.* is enough\)"
    ):
        run.plan((1, 1, 48, 256, 256))


def test_a_refusal_names_the_axis_that_works_and_comes_at_once():
    columns = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(2)).eval()
    with pytest.raises(StreamError, match="Along axis -1 it can be streamed: leave axis out"):
        streamed(columns, (1, 3, 16, 16), axis=2)
    assert streamed(columns, (1, 3, 16, 16)).axis == -1
    with pytest.raises(StreamError, match="Nor can it be along another axis; cut these"):
        streamed(nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)), (1, 3, 16, 16))


def test_an_example_that_is_too_small_says_nothing_of_larger_inputs():
    deep = nn.Sequential(nn.Conv2d(3, 4, 9), nn.ReLU()).eval()
    assert streamed(deep, (1, 3, 4, 4)).plan((1, 3, 64, 64)).steps == 1
    one_row = nn.Sequential(nn.AvgPool2d((4, 1)), nn.Flatten(2), nn.ReLU()).eval()
    assert streamed(one_row, (1, 3, 4, 4), axis=2).plan((1, 3, 64, 64)).steps == 1


@pytest.mark.parametrize(
    ("total", "enough"),
    [(None, 64 << 20), (4 << 30, 64 << 20), (16 << 30, 256 << 20), (140 << 30, 1280 << 20)],
)
def test_a_card_takes_bands_by_its_memory(total, enough):
    assert room_for("cuda", total).enough == enough


def test_bands_on_a_card_are_as_wide_as_a_share_of_its_memory_holds():
    row = 2 << 20
    card = room_for("cuda", 80 << 30)
    assert widest_band(4096, lambda band: band * row, room=card) == (512, 512 * row)
    assert widest_band(16384, lambda band: 4 * band * row, room=card) == (128, 512 * row)
    assert widest_band(4096, lambda band: band, room=card) == (1024, 1024)
    assert widest_band(4096, lambda band: band * row)[0] == 64
