"""Rows that lie in several pieces, or end where the input ends, are read without joining them."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.tile import streamed
from fieldwise.tile.bands.buffers import Buffer
from fieldwise.tile.bands.kernels.pool import _lie_alike
from fieldwise.tile.bands.run import Engine
from tests.tile.bands.networks import UNet, transposed
from tests.tile.bands.ops import Ops
from tests.tile.bands.test_layout import steady_ops

HEIGHT = 96


def seen_whole(model: nn.Module, shape: tuple[int, ...], band: int) -> tuple[Ops, Tensor, Tensor]:
    """The ops of a streamed run, what it gives, and what the model does."""
    torch.manual_seed(0)
    model, x = model.double().eval(), torch.randn(shape, dtype=torch.float64)
    run = streamed(model, x, band=band)
    with torch.no_grad(), Ops() as ops:
        found = run(x)
    with torch.no_grad():
        return ops, found, model(x)


WINDOWS: dict[str, Callable[[], nn.Module]] = {
    "3x3": lambda: nn.Conv2d(2, 3, 3, padding=1),
    "stride 2": lambda: nn.Conv2d(2, 3, 3, 2, 1),
    "stride 3, 7 wide": lambda: nn.Conv2d(2, 3, 7, 3, 3),
    "more padding than kernel": lambda: nn.Conv2d(2, 3, 3, padding=5),
    "dilated": lambda: nn.Conv2d(2, 3, 3, padding=4, dilation=4),
    "same": lambda: nn.Conv2d(2, 3, 4, padding="same"),
    "grouped": lambda: nn.Conv2d(2, 4, 5, padding=2, groups=2),
    "pool": lambda: nn.MaxPool2d(3, 2, 1),
    "pool with a rest": lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "dilated pool": lambda: nn.MaxPool2d(3, 1, 1, dilation=2),
}


@pytest.mark.parametrize("make", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("height", [3, 13, HEIGHT, HEIGHT + 1])
@pytest.mark.parametrize("band", [1, 5, 32, 200])
def test_windows_at_either_end_and_at_both_are_those_of_the_whole(make, height, band):
    _, found, wanted = seen_whole(make(), (1, 2, height, 9), band)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["3x3", "stride 2", "stride 3, 7 wide", "dilated", "pool"])
def test_only_the_few_last_rows_are_copied_between_zeros(name):
    """Those that come when the input has ended, after all bands."""
    ops, _, _ = seen_whole(WINDOWS[name](), (1, 2, HEIGHT, 6), HEIGHT // 2)
    assert sum(one.made[0].shape[2] for one in ops.named("constant_pad_nd")) <= 2 * 4 + 4


def test_where_a_band_is_narrow_beside_what_is_added_no_rows_are_computed_for_nothing():
    model = WINDOWS["dilated"]()
    ops, _, _ = seen_whole(model, (1, 2, HEIGHT, 6), 4)
    made = sum(one.made[0].shape[2] for one in ops.named("convolution", "mkldnn_convolution"))
    assert HEIGHT <= made <= HEIGHT * 9 // 8


class Skip(nn.Module):
    """What is near is joined with what looks far ahead, behind pools whose windows cross seams."""

    def __init__(
        self, join: Callable[[Tensor, Tensor], Tensor], ahead: int, pool: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.join, self.pool = join, pool
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.far = nn.Conv2d(4, 4, (2 * ahead + 1, 1), padding=(ahead, 0))
        self.last = nn.Conv2d(8 if join is JOINS["cat"] else 4, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        near = self.first(x).relu()
        kernel, stride, padding = self.pool
        far = self.far(F.max_pool2d(near, kernel, stride, padding))
        far = F.interpolate(far, scale_factor=stride, mode="nearest")
        return self.last(self.join(near, far))


JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cat": lambda one, other: torch.cat([one, other], 1),
    "sum": operator.add,
    "gate": lambda one, other: one * other.sigmoid(),
    "where": lambda one, other: torch.where(one > other, one, other),
}


@pytest.mark.parametrize("join", JOINS.values(), ids=JOINS)
@pytest.mark.parametrize("pool", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
@pytest.mark.parametrize("ahead", [3, 20])
@pytest.mark.parametrize("band", [7, 16, 40])
def test_skips_of_any_length_give_what_the_whole_gives(join, pool, ahead, band):
    _, found, wanted = seen_whole(Skip(join, ahead, pool), (1, 2, HEIGHT, 6), band)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("band", [32, 64])
def test_rows_that_wait_are_copied_once(band):
    """Where they are put aside, and nowhere else: neither to be joined nor behind others."""
    ops = steady_ops(UNet(transposed(2)), (1, 3, 40 * band, 32), band=band)
    steps, skip = 13, 4
    moved = [one.made[0] for one in ops.named("copy_") if one.made[0].shape[1] == skip]
    waiting = [rows for rows in moved if rows.shape[2] > band // 4 and rows.shape[3] == 32]
    assert len(waiting) == steps
    joined = [one.made[0] for one in ops.named("cat") if one.made[0].shape[1] == skip]
    assert all(rows.shape[2] <= 2 for rows in joined)


@pytest.mark.parametrize("band", [16, 64])
def test_a_pool_writes_its_rows_behind_those_that_wait(band):
    ops = steady_ops(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1)
        ),
        (1, 3, 40 * band, 32),
        band=band,
    )
    pools = list(ops.named("max_pool2d_with_indices"))
    pooled = band // 2
    copied = [one.made[0].shape[2] for one in ops.named("copy_") if one.made[0].shape[1] == 8]
    assert pools
    assert max(copied) < pooled


def test_a_pool_writes_only_where_its_kernels_on_a_card_find_one_layout():
    """They write element after element, in the layout that the strides of its input suggest."""
    last = torch.channels_last
    room = torch.empty(1, 3, 2, 4).contiguous(memory_format=last)
    assert _lie_alike(torch.empty(1, 3, 4, 4).contiguous(memory_format=last), room)
    assert not _lie_alike(torch.empty(1, 3, 4, 4), room)
    whole = torch.empty(2, 3, 4, 4).contiguous(memory_format=last)
    assert not _lie_alike(whole, whole.narrow(2, 2, 2))
    pixel = torch.empty(1, 3, 1, 1)
    assert pixel.is_contiguous(memory_format=last)
    assert not _lie_alike(pixel, room)


def test_what_a_plan_promises_leaves_room_for_no_copies_at_the_ends():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1))
    shape, row = (1, 3, 256, 16), 16 * 4
    plan = streamed(model, torch.empty(shape), band=128).plan(shape)
    assert plan.peak_bytes <= (3 + 8 + 8) * 130 * row


@pytest.mark.parametrize(("kernel", "stride", "band"), [(64, 64, 8), (16, 16, 4), (5, 2, 3)])
@pytest.mark.parametrize("height", [512, 64])
def test_what_a_plan_promises_has_room_for_windows_that_are_joined(
    kernel, stride, band, height, monkeypatch
):
    """The largest copy that is there beside the rows that are kept and the new ones."""
    there, joined = [0], [0]
    for name in ("_join", "padded"):
        plain = getattr(Buffer, name)

        def noted(self, *given, plain=plain):
            found = plain(self, *given)
            own = found._is_view() or any(found is chunk for _, chunk in self._chunks)
            joined[0] = max(joined[0], 0 if own else found.nbytes)
            return found

        monkeypatch.setattr(Buffer, name, noted)
    run_op = Engine._run

    def run(self, task, room):
        joined[0] = 0
        found = run_op(self, task, room)
        made = sum((task.hi - task.lo) * self.program.values[v].row_bytes for v in task.values)
        there[0] = max(there[0], self.nbytes + made + joined[0])
        return found

    monkeypatch.setattr(Engine, "_run", run)
    model = nn.MaxPool2d((kernel, 1), (stride, 1), (kernel // 2 * (stride == 2), 0))
    x = torch.randn(1, 4, height, 6)
    stream = streamed(model.eval(), x, axis=2, band=band)
    with torch.no_grad():
        stream(x)
    assert 0 < there[0] <= stream.plan(x.shape).peak_bytes


def test_rows_that_are_handed_out_may_be_written_to():
    """Also those of an output that the network itself reads further on, and of a view of one."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.far = nn.Conv2d(2, 2, (9, 1), padding=(4, 0))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            near = x.relu()
            return near, near[:, :1], near + self.far(near)

    model, x = Both().eval(), torch.randn(1, 2, HEIGHT, 6)
    with torch.no_grad():
        wanted = dict(zip(("0", "1", "2"), model(x), strict=True))
    found: dict[str, list[Tensor]] = {}
    for name, _, _, rows in streamed(model, x, axis=2, band=7).bands(x):
        found.setdefault(name, []).append(rows.clone())
        rows.fill_(float("nan"))
    for pieces, whole in zip(found.values(), wanted.values(), strict=True):
        torch.testing.assert_close(torch.cat(pieces, 2), whole)
