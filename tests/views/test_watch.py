"""Progress from the reading of the input: complete, in order, and only where someone can see it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fieldwise.errors import UsageError
from fieldwise.tile import streamed, tiled
from fieldwise.views.watch import bar, fraction, watched

NET = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)).eval()
EXAMPLE = torch.empty(1, 1, 16, 16)
IMAGE = np.random.default_rng(0).normal(size=(1, 1, 64, 48)).astype(np.float32)


@pytest.mark.parametrize(
    "run", [streamed(NET, EXAMPLE, band=8), tiled(NET, EXAMPLE, tile=16)], ids=["stream", "halo"]
)
def test_a_run_on_a_watched_array_shows_its_way_to_the_end_and_gives_the_same(run):
    seen: list[float] = []
    found = run(watched(IMAGE, show=seen.append))
    assert seen == sorted(seen)
    assert len(seen) > 4
    assert seen[-1] == 1.0
    np.testing.assert_array_equal(found, run(IMAGE))


def test_every_pass_begins_anew():
    gated = nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2), nn.ReLU()).eval()
    seen: list[float] = []
    streamed(gated, EXAMPLE, band=16, global_ops="multipass")(watched(IMAGE, show=seen.append))
    assert seen.count(1.0) == 2


def test_axes_that_are_read_whole_do_not_count():
    assert fraction((slice(None), slice(None), slice(0, 4)), (1, 3, 16)) == 0.25
    assert fraction((slice(None),), (7,)) == 1.0
    assert fraction((0, slice(2, 4)), (5, 4)) == 1.0


def test_nothing_is_shown_where_nobody_looks(capsys):
    watched(IMAGE)[:, :, :8]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_percentage(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    rows = watched(IMAGE)
    for start in (0, 32):
        rows[:, :, start : start + 32]
    assert capsys.readouterr().err == "\r 50% read\r100% read\n"


def test_a_notebook_gets_one_bar_that_moves(monkeypatch):
    shown: list[str] = []
    handle = SimpleNamespace(update=lambda made: shown.append(made.data))

    def display(made, *, display_id):
        shown.append(made.data)
        return handle

    import IPython
    import IPython.display

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(IPython.display, "display", display)
    watched(IMAGE)[:, :, :32]
    assert shown == [bar(0.0), bar(0.5)]


def test_what_is_no_array_is_refused():
    with pytest.raises(UsageError, match="A list has no shape; give an array"):
        watched([1, 2])
