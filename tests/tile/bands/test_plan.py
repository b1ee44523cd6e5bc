"""What a plan says of memory, against what torch takes from the system while it runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from fieldwise.tile import streamed
from fieldwise.tile.bands import StreamedModel

BAND = 4096


def taken(run: StreamedModel, x: torch.Tensor) -> int:
    """The most bytes that a run holds at once, whoever in torch takes them."""
    kept = {"activities": [ProfilerActivity.CPU], "profile_memory": True}
    with torch.no_grad(), profile(**kept) as watched:
        for band in run.bands(x):
            del band
    events = [one for one in watched.profiler.kineto_results.events() if one.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda one: one.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize(
    ("model", "dtype"),
    [
        (nn.Sequential(nn.Conv1d(64, 64, 9, padding=4), nn.ELU(), nn.Conv1d(64, 64, 9)), "float32"),
        (
            nn.Sequential(nn.Conv1d(64, 64, 9, padding=4, groups=64), nn.Conv1d(64, 64, 3)),
            "float32",
        ),
        (nn.Sequential(nn.Conv1d(64, 64, 4, 2), nn.ConvTranspose1d(64, 64, 4, 2)), "float32"),
        (nn.Sequential(nn.Conv1d(64, 64, 5, padding=2), nn.Conv1d(64, 64, 5)), "float64"),
        (nn.Sequential(nn.Conv1d(64, 64, 5), nn.ConvTranspose1d(64, 32, 5)), "float64"),
    ],
)
def test_a_stream_of_sequences_takes_what_its_plan_says(model, dtype):
    """Copies of torch's kernels are in the plan, and no band of outputs outlives its step."""
    x = torch.randn(1, 64, 6 * BAND, dtype=getattr(torch, dtype))
    run = streamed(model.eval().to(x.dtype), x, axis=-1, band=BAND)
    planned = run.plan(x.shape).peak_bytes
    taken(run, x)
    assert 0.7 * planned <= taken(run, x) <= 1.1 * planned
