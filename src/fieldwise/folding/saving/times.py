"""How long a run takes before and after: medians of runs in turns."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch

from fieldwise.folding.saving.saved import RunTimes

Run = Callable[[], object]
_BUDGET = 3.0
_LONGEST = 10.0
_MOST, _LEAST = 51, 3


def run_times(before: Run, after: Run, device: torch.device) -> RunTimes:
    """Run both in turns, for some seconds; the first run of either is not counted.

    Where a run takes too long for three of them, nothing is measured.

    >>> found = run_times(lambda: None, lambda: None, torch.device("cpu"))
    >>> found.runs, found.note
    (51, None)
    """
    threads = torch.get_num_threads()
    warm = _seconds(before, device) + _seconds(after, device)
    if warm > _LONGEST:
        return RunTimes(
            threads=threads,
            device=str(device),
            note=f"the first two runs took {warm:.0f} s, which is too long to repeat",
        )
    first: list[float] = []
    second: list[float] = []
    began = perf_counter()
    while len(first) < _LEAST or (len(first) < _MOST and perf_counter() - began < _BUDGET):
        first.append(_seconds(before, device))
        second.append(_seconds(after, device))
    return RunTimes(median(first), median(second), len(first), threads, str(device))


def _seconds(run: Run, device: torch.device) -> float:
    began = perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - began
