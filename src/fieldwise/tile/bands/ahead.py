"""Rows moved while others are computed: the next ones of inputs to a card, results back from it.

One thread reads what will be asked for next, and a card's second stream copies it.  Nothing is
changed but when rows are read: what was foreseen wrongly is read as it is asked for, and an error
is raised where the rows are asked for in which it came up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fieldwise.tile.arrays import Interval, Readable
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.reading import reading
from fieldwise.tile.bands.run import OutputRows, RowSource

HOST = torch.device("cpu")

Finish = Callable[[], Tensor]
"""Waits for rows that are being copied, and gives them."""


class Mover(Protocol):
    """Copies rows to where they are computed, and back."""

    def bring(self, rows: Tensor) -> Finish:
        """Begin to copy rows from the host."""

    def fetch(self, rows: Tensor) -> Finish:
        """Begin to copy rows to the host."""


class NoMove:
    """Rows stay where they are."""

    def bring(self, rows: Tensor) -> Finish:
        """See Mover."""
        return lambda: rows

    def fetch(self, rows: Tensor) -> Finish:
        """See Mover."""
        return lambda: rows


class CardMover:
    """Copies through pinned memory, on streams beside the one that computes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._in, self._out = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def bring(self, rows: Tensor) -> Finish:
        """See Mover."""
        with torch.cuda.stream(self._in):
            pinned = rows.contiguous().pin_memory()
            found = pinned.to(self._device, non_blocking=True)
            done = self._in.record_event()

        def finish() -> Tensor:
            here = torch.cuda.current_stream(self._device)
            here.wait_event(done)
            found.record_stream(here)
            return found

        return finish

    def fetch(self, rows: Tensor) -> Finish:
        """See Mover."""
        found = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        self._out.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._out):
            found.copy_(rows, non_blocking=True)
            rows.record_stream(self._out)
            done = self._out.record_event()

        def finish() -> Tensor:
            done.synchronize()
            return found

        return finish


def find_mover(device: torch.device) -> Mover | None:
    """What moves rows beside a computation; None where that would save nothing."""
    return CardMover(device) if device.type == "cuda" else None


def bytes_ahead(program: Program, device: torch.device, band: int) -> int:
    """What rows take that are read ahead for a band."""
    if find_mover(device) is None:
        return 0
    return sum(program.values[value].row_bytes * band for value in program.wiring.inputs)


# -------------------------------------------------------------------- inputs


@dataclass(frozen=True, slots=True)
class _Foreseen:
    """Rows [lo, hi) of an input that are being read."""

    ends: Interval
    read: Future[Finish]


class ReadAhead:
    """A source that reads as many rows again as were asked for, before they are.

    source: of rows on the host; ends: per input, the first row that is never read
    """

    def __init__(self, source: RowSource, ends: Sequence[int], mover: Mover) -> None:
        self._source, self._ends, self._mover = source, ends, mover
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fieldwise-reads")
        self._foreseen: dict[int, _Foreseen] = {}

    def __call__(self, number: int, lo: int, hi: int) -> Tensor:
        """Rows [lo, hi) of an input, where they are computed."""
        foreseen = self._foreseen.pop(number, None)
        if foreseen is None or foreseen.ends != (lo, hi):
            foreseen = self._begin(number, lo, hi)
        finish = foreseen.read.result()
        behind = min(hi + (hi - lo), self._ends[number])
        if hi < behind:
            self._foreseen[number] = self._begin(number, hi, behind)
        return finish()

    def _begin(self, number: int, lo: int, hi: int) -> _Foreseen:
        return _Foreseen((lo, hi), self._thread.submit(self._read, number, lo, hi))

    def _read(self, number: int, lo: int, hi: int) -> Finish:
        return self._mover.bring(self._source(number, lo, hi))

    def close(self) -> None:
        """Wait for what is being read, and forget it."""
        self._thread.shutdown(wait=True, cancel_futures=True)


@contextmanager
def rows_of(
    program: Program, device: torch.device, arrays: Sequence[Readable], ends: Sequence[int] = ()
) -> Iterator[RowSource]:
    """The source of the inputs of a program, read ahead where that pays.

    ends: per input, the first row that is never read; by default all are
    """
    mover = find_mover(device)
    if mover is None or all(isinstance(one, Tensor) and one.device == device for one in arrays):
        yield reading(program, device, arrays)
        return
    sizes = [program.values[value].rows or 0 for value in program.wiring.inputs]
    source = ReadAhead(reading(program, HOST, arrays), ends or sizes, mover)
    try:
        yield source
    finally:
        source.close()


# -------------------------------------------------------------------- results


class Behind:
    """Hands on the rows of a step while the next one is computed.

    mover: copies them to the host; None: they are handed on as they are, at once
    """

    def __init__(self, mover: Mover | None) -> None:
        self._mover = mover
        self._waiting: list[tuple[int, int, Finish]] = []

    def after(self, made: Sequence[OutputRows]) -> Iterator[OutputRows]:
        """What was waiting, once the rows of a step are on their way."""
        if self._mover is None:
            yield from made
            return
        before, mover = self._waiting, self._mover
        self._waiting = [(value, lo, mover.fetch(rows)) for value, lo, rows in made]
        yield from ((value, lo, finish()) for value, lo, finish in before)

    def rest(self) -> Iterator[OutputRows]:
        """All that is waiting."""
        waiting, self._waiting = self._waiting, []
        yield from ((value, lo, finish()) for value, lo, finish in waiting)
