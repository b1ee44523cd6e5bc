"""How far a tiling job is: a bar with rate and time left on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fieldwise.tile.jobs import JobPlan


@contextmanager
def bar(plan: JobPlan, done: Set[int], label: str = "") -> Iterator[Callable[[int], None]]:
    """A function to tell of written elements; the bar is gone afterwards, however it ends."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    sizes = [
        sum(
            prod(hi - lo for lo, hi in box) * out.dtype.itemsize
            for box, out in zip(piece.writes, plan.outputs, strict=True)
        )
        for piece in plan.pieces
    ]
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    shown = Progress(*columns, console=Console(stderr=True), transient=True)
    with shown:
        written = sum(sizes[number] for number in done)
        task = shown.add_task(label, total=sum(sizes), completed=written)
        yield lambda nbytes: shown.advance(task, nbytes)
