"""What records a step on a card, and makes it again without Python and with one launch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, Protocol, TypeVar

import torch

T = TypeVar("T")


class StepRecorder(Protocol):
    """Records the ops of a step, with their memory, and runs them again."""

    def record(self, step: Callable[[], T]) -> T:
        """Run a step.  Raises RuntimeError where it cannot be recorded; then nothing was run."""

    def replay(self) -> None:
        """Run its ops again, on the same memory."""


_ONE_AT_A_TIME = Lock()
"""Recordings of one process: torch keeps one state of what is recorded for all threads."""


class CudaGraph:
    """A recording on a card of NVIDIA, of what this thread does; others go on meanwhile.

    device: the card; torch records on the current one by itself, whichever the tensors are on
    pool: memory that recordings share of which none runs beside another, and whose results are
          taken before the next one runs
    """

    def __init__(self, device: torch.device, pool: Any = None) -> None:
        self._graph, self._device, self._pool = torch.cuda.CUDAGraph(), device, pool

    def record(self, step: Callable[[], T]) -> T:
        """See StepRecorder.

        Weights are cast in it where autocast casts them: what it has cast before is gone once it is
        left.
        """
        casts_kept = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            with (
                _ONE_AT_A_TIME,
                torch.cuda.device(self._device),
                torch.cuda.graph(
                    self._graph,
                    pool=self._pool,
                    stream=torch.cuda.Stream(self._device),
                    capture_error_mode="thread_local",
                ),
            ):
                found = step()
        finally:
            torch.set_autocast_cache_enabled(casts_kept)
        self._graph.replay()
        return found

    def replay(self) -> None:
        """See StepRecorder."""
        self._graph.replay()


def find_recorder(device: torch.device) -> Callable[[], StepRecorder] | None:
    """What makes recorders for a device; None where they would save nothing."""
    return partial(CudaGraph, device) if device.type == "cuda" else None
