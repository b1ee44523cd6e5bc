"""Rows are written behind those that are kept, and what is kept stays where it is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.axes import Border
from fieldwise.tile import streamed
from fieldwise.tile.bands.buffers import Buffer
from fieldwise.tile.bands.program import Streamed
from tests.tile.bands.networks import UNet, transposed
from tests.tile.bands.test_layout import BAND, IMAGE, steady_ops, trunk

CPU = torch.device("cpu")
WIDTH = 3
POOL = 2
"""Rows that a pool of these networks reads at once."""


def rows(lo: int, hi: int) -> Tensor:
    """Rows that say their number."""
    return torch.arange(lo, hi, dtype=torch.float32).reshape(1, -1, 1).expand(1, -1, WIDTH).clone()


def buffer(total: int | None = None) -> Buffer:
    kind = Streamed("x", (1, 100, WIDTH), torch.float32, 1, total, 4 * WIDTH)
    return Buffer(kind, CPU)


def filled(held: Buffer, lo: int, hi: int) -> Buffer:
    """With rows [lo, hi) written behind what is held."""
    if held.held:
        held.room(hi - lo).copy_(rows(lo, hi))
    else:
        held.append(lo, rows(lo, hi))
    return held


def test_new_rows_stand_behind_those_that_are_held():
    held = filled(filled(buffer(), 0, 4), 4, 9)
    assert torch.equal(held.inside(0, 9), rows(0, 9))
    assert held.inside(2, 7).untyped_storage().data_ptr() == held.inside(0, 9).data_ptr()


def test_what_is_kept_lies_at_the_same_place_from_step_to_step():
    held = filled(buffer(), 0, 8)
    places = set()
    for lo in range(8, 80, 8):
        held.trim(lo - 2)
        assert held.nbytes == 2 * 4 * WIDTH
        places.add(held._kept.data_ptr())
        filled(held, lo, lo + 8)
        assert torch.equal(held.inside(lo - 2, lo + 8), rows(lo - 2, lo + 8))
    assert len(places) == 1


def test_what_somebody_else_may_still_read_is_not_written_to():
    held = filled(buffer(), 0, 8)
    held.trim(6)
    seen = held.inside(6, 8)
    filled(held, 8, 16)
    held.trim(14)
    assert torch.equal(seen, rows(6, 8))
    assert torch.equal(held.inside(14, 16), rows(14, 16))


def test_another_number_of_rows_is_kept_elsewhere():
    held = filled(buffer(), 0, 8)
    held.trim(6)
    filled(held, 8, 16)
    held.trim(13)
    assert held.nbytes == 3 * 4 * WIDTH
    assert torch.equal(held.inside(13, 16), rows(13, 16))


@pytest.mark.parametrize("border", [Border.DROP, Border.CLAMP, Border.REFLECT, Border.WRAP])
def test_rows_beyond_the_ends_are_those_of_the_border(border):
    held = filled(filled(buffer(9), 0, 4), 4, 9)
    mode = {Border.CLAMP: "replicate", Border.REFLECT: "reflect", Border.WRAP: "circular"}
    columns = rows(0, 9).transpose(1, 2)
    given = {"mode": mode[border]} if border in mode else {"value": 7.0}
    wanted = F.pad(columns, (2, 3), **given).transpose(1, 2)
    assert torch.equal(held.padded(-2, 12, border, 7.0), wanted)


@pytest.mark.parametrize("make", [trunk, lambda: UNet(transposed(2))], ids=["trunk", "u-net"])
def test_a_steady_step_joins_no_rows(make):
    ops = steady_ops(make(), IMAGE, band=64)
    joined = [
        one.made[0] for one in ops.named("cat") if one.made[0].shape[1] == one.given[0].shape[1]
    ]
    assert all(rows.shape[2] <= POOL for rows in joined)  # one window lies across a seam
    assert not list(ops.named("full"))


class Views(nn.Module):
    """Values that are views of others, of which rows are kept: some are read steps later."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, (9, 1), padding=(4, 0))

    def forward(self, x: Tensor) -> Tensor:
        y = self.near(x)
        half = y[:, :, ::2]
        return self.far(half) + self.near(half).reshape(half.shape) + F.max_pool2d(y, (2, 1))


@pytest.mark.parametrize("band", [1, 2, 3, 5, BAND])
def test_views_of_kept_rows_outlast_what_is_kept_next(band):
    torch.manual_seed(0)
    model, x = Views().double().eval(), torch.randn(1, 2, 96, 6, dtype=torch.float64)
    with torch.no_grad():
        wanted = model(x)
    assert (streamed(model, x, axis=2, band=band)(x) - wanted).abs().max() < 1e-12
    session = streamed(model, x, axis=2).session()
    sizes = [1, 7, 2, 2, 30, 4, 1, 1, 20, 28]
    got = [session.push(chunk) for chunk in x.split(sizes, 2)]
    assert (torch.cat([*got, session.close()], 2) - wanted).abs().max() < 1e-12
