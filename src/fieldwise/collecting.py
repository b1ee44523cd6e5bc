"""When Python's garbage collector may run."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection inside: an analysis makes many objects and no cyclic garbage.

    Beside torch's own millions of objects one collection costs more than the analysis.  The
    collector belongs to the process: it rests until the last thread is outside again, and what
    another thread tells it meanwhile (gc.disable, gc.set_threshold) stays.
    """
    global _inside, _thresholds
    with _lock:
        _inside += 1
        if _inside == 1:
            _thresholds = gc.get_threshold()
            gc.set_threshold(0)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and not gc.get_threshold()[0]:
                gc.set_threshold(*_thresholds)


def collect_rarely() -> None:
    """From now on the collector looks at new objects by the 200,000, not by the 700.

    For a process that is one command: what importing torch makes stays until the end, and looking
    through it again and again takes a fifth of the time that the import takes.
    """
    gc.set_threshold(200_000, 30, 30)


_lock = threading.Lock()
_inside = 0
_thresholds = gc.get_threshold()
