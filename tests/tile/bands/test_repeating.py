"""Steps that are alike are made again from a recording, to the same bits."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fieldwise.tile import streamed
from fieldwise.tile.bands import drive
from fieldwise.tile.bands.repeating import Repeating
from fieldwise.tile.errors import StreamError
from fieldwise.tile.recording import find_recorder
from tests.tile.bands.networks import Pyramid, UNet, transposed, upsampled
from tests.tile.bands.ops import Ops
from tests.tile.bands.standin import Broken, StandIn
from tests.tile.bands.test_layout import Volumes, trunk

BAND = 16
IMAGE = (1, 3, 512, 24)


@pytest.fixture
def runs(monkeypatch) -> list[Repeating]:
    """Runs with the stand-in for a card; those that were made."""
    made = []

    class Noted(Repeating):
        def __init__(self, engine, make) -> None:
            super().__init__(engine, make)
            made.append(self)

    monkeypatch.setattr(drive, "find_recorder", lambda _: StandIn)
    monkeypatch.setattr(drive, "Repeating", Noted)
    return made


def plain(model: nn.Module, x: Tensor, *, band: int = BAND) -> Tensor:
    return streamed(model, x, axis=2, band=band)(x)


def both(model: nn.Module, x: Tensor, runs: list[Repeating], monkeypatch, *, band=BAND) -> int:
    """How many steps were made again; the results have the same bits as without."""
    found = plain(model, x, band=band)
    with monkeypatch.context() as patch:
        patch.setattr(drive, "find_recorder", lambda _: None)
        wanted = plain(model, x, band=band)
    for one, other in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        assert torch.equal(one, other)
    return runs[0].engine.replayed


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: UNet(transposed(2)), IMAGE),
        (lambda: UNet(transposed(3, padding=1, output_padding=1)), (2, 3, 512, 24)),
        (lambda: UNet(upsampled("bilinear", align_corners=False)), IMAGE),
        (lambda: UNet(upsampled("nearest")), IMAGE),
        (Pyramid, IMAGE),
        (trunk, IMAGE),
        (Volumes, (1, 1, 512, 8, 8)),
    ],
    ids=["u-net", "batch", "bilinear", "nearest", "pyramid", "trunk", "3-D"],
)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_most_steps_are_made_again_to_the_same_bits(make, shape, mode, runs, monkeypatch):
    torch.manual_seed(0)
    with mode():
        replayed = both(make().eval(), torch.randn(shape), runs, monkeypatch, band=32)
    assert replayed >= 6


def test_a_run_in_bfloat16_and_under_autocast_is_the_same(runs, monkeypatch):
    torch.manual_seed(0)
    model, x = trunk().eval(), torch.randn(IMAGE)
    with torch.autocast("cpu", torch.bfloat16):
        assert both(model, x, runs, monkeypatch)
    runs.clear()
    assert both(model.bfloat16(), x.bfloat16(), runs, monkeypatch)


class Placed(nn.Module):
    """Adds a table of positions along the rows."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.conv, self.table = nn.Conv2d(3, 3, 3, padding=1), nn.Parameter(torch.randn(rows, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.table


class Written(nn.Module):
    """Writes zeros to some rows late in the image."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        x[:, :, 400:403] = 0
        return F.max_pool2d(x, 3, 1, 1)


class Sums(nn.Module):
    """Carries a running total along."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x.cumsum(2), 3, 1, 1)


class Stretched(nn.Module):
    """Resizes by a factor at which weights differ from row to row."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=1.5, mode="bilinear", align_corners=True)


class Picked(nn.Module):
    """Copies rows to sizes that are no power of two."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=3.0, mode="nearest")


@pytest.mark.parametrize("make", [lambda: Placed(512), Written, Sums, Stretched])
def test_steps_that_know_their_position_or_carry_something_are_run_as_they_are(
    make, runs, monkeypatch
):
    torch.manual_seed(0)
    assert both(make().eval(), torch.randn(IMAGE), runs, monkeypatch) == 0


class Part(nn.Module):
    """Returns a view of what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 1:].transpose(1, 3)


@pytest.mark.parametrize("make", [nn.Identity, Part])
def test_steps_that_compute_nothing_are_run_as_they_are(make, runs, monkeypatch):
    assert both(make(), torch.randn(IMAGE), runs, monkeypatch) == 0


def test_rows_that_are_picked_by_number_are_picked_again(runs, monkeypatch):
    torch.manual_seed(0)
    assert both(Picked().eval(), torch.randn(IMAGE), runs, monkeypatch) >= 6


class Refusing(Broken):
    """Torch refuses an op before the card does, as a copy from the host: the step says where."""

    def record(self, step):
        try:
            super().record(step)
        except RuntimeError as error:
            raise StreamError("The rows could not be computed", [], "") from error


@pytest.mark.parametrize("recorder", [Broken, Refusing])
def test_where_a_step_cannot_be_recorded_it_is_run(recorder, monkeypatch, runs):
    monkeypatch.setattr(drive, "find_recorder", lambda _: recorder)
    torch.manual_seed(0)
    model, x = trunk().eval(), torch.randn(IMAGE)
    found = plain(model, x)
    monkeypatch.setattr(drive, "find_recorder", lambda _: None)
    assert torch.equal(found, plain(model, x))
    assert runs[0].engine.replayed == 0


def test_rows_handed_out_are_not_written_to_later(runs):
    torch.manual_seed(0)
    model, x = trunk().eval(), torch.randn(IMAGE)
    run = streamed(model, x, axis=2, band=BAND)
    parts = [(rows, rows.clone()) for *_, rows in run.bands(x)]
    assert runs[0].engine.replayed
    assert all(torch.equal(rows, then) for rows, then in parts)


@pytest.mark.parametrize(
    "make",
    [lambda: UNet(transposed(2)), Pyramid, trunk, Stretched, Picked, Sums, lambda: Placed(512)],
    ids=["u-net", "pyramid", "trunk", "stretched", "picked", "sums", "placed"],
)
def test_in_the_steady_state_nothing_waits_for_a_card(make):
    """No value is asked for, and none is taken from Python, which would be copied to the card."""
    torch.manual_seed(0)
    x = torch.randn(IMAGE)
    gained = streamed(make().eval(), x, axis=2, band=32).bands(x)
    list(islice(gained, 5))
    with Ops() as ops:
        assert len(list(islice(gained, 5))) == 5
    waits = (
        "_local_scalar_dense",
        "item",
        "nonzero",
        "lift_fresh",
        "equal",
        "is_nonzero",
        "_to_cpu",
    )
    assert not {one.name for one in ops.named(*waits)}


def test_a_processor_records_nothing():
    assert find_recorder(torch.device("cpu")) is None
