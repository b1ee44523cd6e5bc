"""What torch takes from the system while something runs, by its profiler."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def bytes_at_once(call: Callable[[], object]) -> int:
    """The most bytes that are held at once beside what was there, whoever in torch takes them."""
    kept = {"activities": [ProfilerActivity.CPU], "profile_memory": True}
    with torch.no_grad(), profile(**kept) as watched:
        call()
    events = [one for one in watched.profiler.kineto_results.events() if one.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda one: one.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most
