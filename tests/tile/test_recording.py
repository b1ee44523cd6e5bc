"""A card is asked to record what one thread does on one card; what stands in for it says how."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from fieldwise.tile.recording import CudaGraph, find_recorder

SECOND = torch.device("cuda:1")


@pytest.fixture
def asked(monkeypatch) -> list[object]:
    """What torch was asked for, in order."""
    found: list[object] = []

    class Graph:
        def replay(self) -> None:
            found.append("replay")

    @contextmanager
    def device(one):
        found.append(one)
        yield

    @contextmanager
    def graph(_, **options):
        found.append(options)
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "Stream", lambda one: ("stream of", one))
    monkeypatch.setattr(torch.cuda, "graph", graph)
    return found


def test_a_step_is_recorded_on_its_own_card_while_other_threads_go_on(asked):
    make = find_recorder(SECOND)
    assert make is not None
    recorder = make()
    assert recorder.record(lambda: 7) == 7
    recorder.replay()
    options = {
        "pool": None,
        "stream": ("stream of", SECOND),
        "capture_error_mode": "thread_local",
    }
    assert asked == [SECOND, options, "replay", "replay"]


def test_a_step_that_fails_leaves_autocast_and_the_next_recording_as_they_were(asked):
    def fails() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    kept = torch.is_autocast_cache_enabled()
    with pytest.raises(RuntimeError, match="not permitted"):
        CudaGraph(SECOND).record(fails)
    assert torch.is_autocast_cache_enabled() == kept
    assert "replay" not in asked
    assert CudaGraph(SECOND).record(lambda: 7) == 7
