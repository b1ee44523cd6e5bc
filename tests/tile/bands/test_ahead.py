"""Rows are read while others are computed, and nothing else changes: neither bits nor errors."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from fieldwise.errors import UsageError
from fieldwise.tile import streamed
from fieldwise.tile.bands import ahead, drive
from fieldwise.tile.bands.ahead import Behind, NoMove, ReadAhead
from tests.tile.bands.networks import UNet, transposed

TOTAL = 100


@pytest.fixture(autouse=True)
def _as_on_a_card(monkeypatch):
    monkeypatch.setattr(ahead, "find_mover", lambda _: NoMove())
    monkeypatch.setattr(drive, "find_mover", lambda _: NoMove())


class Disk:
    """Numbers that tell who has read them, and how often."""

    def __init__(self, fails_at: int = TOTAL + 1) -> None:
        self.fails_at = fails_at
        self.reads: list[tuple[int, int, str]] = []

    def __call__(self, number: int, lo: int, hi: int) -> Tensor:
        self.reads.append((lo, hi, threading.current_thread().name))
        if hi > self.fails_at:
            raise OSError("the disk is gone")
        return torch.arange(lo, hi)

    def ends(self) -> Sequence[tuple[int, int]]:
        return [(lo, hi) for lo, hi, _ in self.reads]


def test_the_next_rows_are_read_once_they_can_be_foreseen():
    disk = Disk()
    source = ReadAhead(disk, [TOTAL], NoMove())
    for lo in range(0, TOTAL, 20):
        assert torch.equal(source(0, lo, lo + 20), torch.arange(lo, lo + 20))
    source.close()
    assert disk.ends() == [(lo, lo + 20) for lo in range(0, TOTAL, 20)]
    assert all(name.startswith("fieldwise-reads") for *_, name in disk.reads)


def test_nothing_is_read_behind_the_end():
    disk = Disk()
    source = ReadAhead(disk, [50], NoMove())
    for lo, hi in ((0, 20), (20, 40), (40, 50)):
        source(0, lo, hi)
    source.close()
    assert disk.ends() == [(0, 20), (20, 40), (40, 50)]


def test_rows_that_were_not_foreseen_are_read_as_they_are_asked_for():
    disk = Disk()
    source = ReadAhead(disk, [TOTAL], NoMove())
    source(0, 0, 20)
    assert torch.equal(source(0, 20, 25), torch.arange(20, 25))
    assert torch.equal(source(0, 60, 70), torch.arange(60, 70))
    source.close()


def test_an_error_comes_up_with_the_rows_in_which_it_lies():
    source = ReadAhead(Disk(fails_at=30), [TOTAL], NoMove())
    assert len(source(0, 0, 20)) == 20
    assert len(source(0, 20, 30)) == 10
    with pytest.raises(OSError, match="the disk is gone"):
        source(0, 30, 40)
    source.close()


def test_results_come_a_step_later_in_their_order():
    behind = Behind(NoMove())
    steps = [[(0, lo, torch.full((2,), lo))] for lo in range(3)]
    gained = [[lo for _, lo, _ in behind.after(step)] for step in steps]
    assert gained == [[], [0], [1]]
    assert [lo for _, lo, _ in behind.rest()] == [2]
    assert [lo for _, lo, _ in Behind(None).after(steps[0])] == [0]


class Rows:
    """An array on disk that ends too early, if it is ``short``."""

    def __init__(self, values: np.ndarray, short: int = 0) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.end = values.shape[2] - short
        self.names = set[str]()

    def __getitem__(self, index):
        self.names.add(threading.current_thread().name)
        rows = index[2]
        return self.values[(*index[:2], slice(rows.start, min(rows.stop, self.end)))]


def test_a_run_has_the_same_bits_and_reads_on_a_thread_of_its_own(monkeypatch):
    torch.manual_seed(0)
    model, image = UNet(transposed(2)).eval(), torch.randn(1, 3, 192, 16).numpy()
    given = Rows(image)
    found = streamed(model, (1, 3, 64, 16), axis=2, band=16)(given)
    assert {name.rstrip("_0") for name in given.names} == {"fieldwise-reads"}
    monkeypatch.setattr(ahead, "find_mover", lambda _: None)
    assert np.array_equal(found, streamed(model, (1, 3, 64, 16), axis=2, band=16)(image))


def test_an_input_that_is_cut_short_is_told_as_without():
    model = UNet(transposed(2)).eval()
    given = Rows(np.zeros((1, 3, 192, 16), np.float32), short=20)
    with pytest.raises(UsageError, match="gave 1x3x13x16 where 1x3x16x16 was to be read"):
        streamed(model, (1, 3, 64, 16), axis=2, band=16)(given)
    assert not [one for one in threading.enumerate() if one.name.startswith("fieldwise-reads")]


def test_rows_that_are_read_ahead_count_in_the_memory(monkeypatch):
    model = UNet(transposed(2)).eval()
    shape = (1, 3, 4096, 64)
    needed = 4 * 3 * 64
    budget = streamed(model, shape, axis=2, band=64).plan(shape).peak_bytes
    with pytest.raises(UsageError, match="give more memory"):
        streamed(model, shape, axis=2, band=64, memory=budget + 64 * needed - 1).plan(shape)
    assert streamed(model, shape, axis=2, band=64, memory=budget + 64 * needed).plan(shape)
