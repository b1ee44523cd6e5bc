"""What records a step on a card, and makes it again without Python and with one launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

T = TypeVar("T")


class StepRecorder(Protocol):
    """Records the ops of a step, with their memory, and runs them again."""

    def record(self, step: Callable[[], T]) -> T:
        """Run a step.  Raises RuntimeError where it cannot be recorded; then nothing was run."""

    def replay(self) -> None:
        """Run its ops again, on the same memory."""


class CudaGraph:
    """A recording on a card of NVIDIA.

    pool: memory that recordings share of which none runs beside another, and whose results are
          taken before the next one runs
    """

    def __init__(self, pool: Any = None) -> None:
        self._graph, self._pool = torch.cuda.CUDAGraph(), pool

    def record(self, step: Callable[[], T]) -> T:
        """See StepRecorder.

        Weights are cast in it where autocast casts them: what it has cast before is gone once it is
        left.
        """
        casts_kept = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            with torch.cuda.graph(self._graph, pool=self._pool):
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
    return CudaGraph if device.type == "cuda" else None
