"""A progress line on stderr for what takes longer than a second."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_DELAY = 1.0


@contextmanager
def progress(message: str) -> Iterator[None]:
    """Show the message with a spinner if the body takes over a second; gone afterwards.

    Nothing is shown unless stderr is a terminal.
    """
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.status import Status

    status = Status(message, console=Console(stderr=True))
    lock, done = threading.Lock(), threading.Event()

    def show() -> None:
        with lock:
            if not done.is_set():
                status.start()

    timer = threading.Timer(_DELAY, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        done.set()
        with lock:
            status.stop()
