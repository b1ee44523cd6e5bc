"""Whole runs on tensors of one size are recorded once, and made again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise.tile import streamed
from fieldwise.tile.replaying import Replayer
from tests.tile.bands.standin import StandIn


class Joined(nn.Module):
    """A skip connection, strides, and two outputs."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.side = nn.Conv2d(3, 4, 5, padding=2)

    def forward(self, x):
        low = self.norm(self.down(x)).relu()
        return {"map": self.up(low) + self.side(x), "low": low}


class Gate(nn.Module):
    """Needs a pass of its own for the mean."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        return y * y.mean((2, 3), keepdim=True).sigmoid()


def stream(model):
    return streamed(model, torch.zeros(1, 3, 32, 16), axis=2, band=8, global_ops="multipass")


def recording(model):
    made = []

    def make():
        made.append(StandIn())
        return made[-1]

    torch.manual_seed(0)
    run = stream(model().eval())
    run.replayer = Replayer(make)
    return run, made


@pytest.mark.parametrize("model", [Joined, Gate])
def test_a_run_that_comes_again_gives_the_bits_of_one_that_is_not_recorded(model):
    run, made = recording(model)
    plain = stream(run.call.model)
    for _ in range(8):
        x = torch.randn(1, 3, 64, 16)
        found, wanted = (one(x) for one in (run, plain))
        pairs = [(found, wanted)] if model is Gate else [(found[n], wanted[n]) for n in wanted]
        assert all(torch.equal(*pair) for pair in pairs)
    assert len(made) == 1


def test_weights_that_change_in_place_count():
    run, made = recording(Joined)
    x = torch.randn(1, 3, 64, 16)
    before = [run(x) for _ in range(6)][-1]["map"]
    with torch.no_grad():
        run.call.model.side.weight.mul_(2)
    found = run(x)["map"]
    assert len(made) == 1
    assert not torch.equal(found, before)
    with torch.no_grad():
        torch.testing.assert_close(found, run.call.model(x)["map"])


def test_other_sizes_have_recordings_of_their_own():
    run, made = recording(Joined)
    for rows in (64, 96) * 6:
        x = torch.randn(1, 3, rows, 16)
        with torch.no_grad():
            torch.testing.assert_close(run(x)["map"], run.call.model(x)["map"])
    assert len(made) == 2


def test_arrays_are_not_recorded():
    run, made = recording(Joined)
    for _ in range(6):
        run(torch.randn(1, 3, 64, 16).numpy())
    assert not made


def test_what_would_keep_much_of_a_cards_memory_is_not_recorded(monkeypatch):
    monkeypatch.setattr("fieldwise.tile.bands.streamed.total_bytes", lambda _: 1 << 10)
    run, made = recording(Joined)
    for _ in range(6):
        run(torch.randn(1, 3, 64, 16))
    assert not made
