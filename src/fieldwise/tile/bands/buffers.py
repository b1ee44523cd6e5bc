"""The rows of one value that are still needed, in the chunks in which they were computed."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

import torch
import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.tile.bands.program import Streamed
from fieldwise.tile.memory_format import CHANNELS_LAST, is_channels_last


class Buffer:
    """Rows [start, stop) of a value.

    New rows are written behind those that are held (see ``room``), or are a chunk of their own, the
    tensor in which they were made; chunks are joined where rows are asked for across them.  What is
    left of a chunk that is trimmed is kept in memory of its own, which is used again and again.

    held: how many rows there are
    """

    def __init__(self, value: Streamed, device: torch.device) -> None:
        self.value = value
        self.rows = value.rows
        self._dim = value.dim
        self._device = device
        self._chunks: list[tuple[int, Tensor]] = []
        self.held = 0
        self._kept: Tensor | None = None
        self._is_shared = False

    @property
    def nbytes(self) -> int:
        """Memory of the rows held, and of what is kept to be used again."""
        spare = self._spare
        rows = self.held + (0 if spare is None else spare.shape[self._dim])
        return rows * self.value.row_bytes

    @property
    def _spare(self) -> Tensor | None:
        """Memory of this buffer that nothing lies in at present."""
        holds = any(chunk is self._kept for _, chunk in self._chunks)
        return None if holds else self._kept

    @property
    def is_settled(self) -> bool:
        """Whether its rows lie in memory of its own, in one block, and nothing is spare."""
        return all(chunk is self._kept for _, chunk in self._chunks) and self._spare is None

    def shift(self, rows: int) -> None:
        """Take its rows for others that come so many rows later."""
        self._chunks = [(lo + rows, chunk) for lo, chunk in self._chunks]

    def snapshot(self) -> Buffer:
        """The same rows in the same memory, whatever becomes of this one."""
        found = copy(self)
        found._chunks = list(self._chunks)
        return found

    def append(self, lo: int, rows: Tensor) -> None:
        """Add rows [lo, lo + n): this tensor."""
        self._chunks.append((lo, rows))
        self.held += rows.shape[self._dim]

    def room(self, rows: int) -> Tensor:
        """Add rows that are still to be written: behind those that are held, in one block."""
        held = self.held
        like = self._chunks[-1][1]
        shape = self.value.band(held + rows)
        layout = CHANNELS_LAST[like.dim()] if is_channels_last(like) else torch.contiguous_format
        block = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)
        at = 0
        for _, chunk in self._chunks:
            size = chunk.shape[self._dim]
            block.narrow(self._dim, at, size).copy_(chunk)
            at += size
        self._chunks = [(self._chunks[0][0], block)]
        self.held += rows
        return block.narrow(self._dim, held, rows)

    def seated(self, value: Streamed) -> Buffer:
        """The same only row, which lies in another dimension."""
        found = Buffer(value, self._device)
        found.append(0, value.unfolded(self.value.folded(self.inside(0, 1))))
        return found

    def trim(self, floor: int) -> None:
        """Forget the rows before ``floor``, and what is spare if none of them is kept there."""
        left = []
        for lo, chunk in self._chunks:
            rows = chunk.shape[self._dim]
            drop = min(max(floor - lo, 0), rows)
            if drop == 0:
                left.append((lo, chunk))
            elif drop < rows:
                left.append((floor, self._saved(chunk.narrow(self._dim, drop, rows - drop))))
            self.held -= drop
        self._chunks = left
        if self._spare is not None:
            self._kept = None

    def _saved(self, rows: Tensor) -> Tensor:
        """Rows in memory of their own: what is spare, if it fits and nobody else has seen it."""
        spare = self._spare
        if spare is not None and spare.shape == rows.shape and self._may_be_written(spare):
            return spare.copy_(rows)
        self._kept, self._is_shared = rows.clone(), False
        return self._kept

    def _may_be_written(self, spare: Tensor) -> bool:
        """Whether nobody else has seen it, and torch allows it: not outside its inference mode."""
        return not self._is_shared and spare.is_inference() <= torch.is_inference_mode_enabled()

    def copied(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop) in memory of their own."""
        shared, found = self._is_shared, self.inside(start, stop).clone()
        self._is_shared = shared
        return found

    def inside(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop), all of which are held."""
        return self._join(list(self._slices(start, stop)))

    def padded(self, start: int, stop: int, border: Border, fill: float) -> Tensor:
        """Rows [start, stop); those before the first and behind the last as the border says."""
        end = max(stop, 0) if self.rows is None else self.rows
        if start >= 0 and stop <= end:
            return self.inside(start, stop)
        if border is Border.DROP:
            low, high = min(max(start, 0), end), max(min(stop, end), 0)
            if low >= high:
                return self._filled(stop - start, fill)
            sides = [0, 0] * (len(self.value.shape) - 1 - self._dim) + [low - start, stop - high]
            return F.pad(self.inside(low, high), sides, value=fill)
        return self._join(
            [part for run in _runs(start, stop, border, end) for part in self._run(*run)]
        )

    def _run(self, start: int, stop: int, backward: bool) -> list[Tensor]:
        if not backward:
            return list(self._slices(start, stop))
        return [self.inside(start, stop).flip(self._dim)]

    def _slices(self, start: int, stop: int) -> Iterator[Tensor]:
        at = start
        for lo, chunk in self._chunks:
            hi = lo + chunk.shape[self._dim]
            if lo <= at < min(hi, stop):
                last = min(hi, stop)
                self._is_shared |= chunk is self._kept
                whole = at == lo and last == hi
                yield chunk if whole else chunk.narrow(self._dim, at - lo, last - at)
                at = last
        if at < stop:
            raise RuntimeError(f"Rows {at} to {stop} of '{self.value.name}' are not there.")

    def _join(self, parts: list[Tensor]) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts, self._dim) if parts else self._filled(0, 0.0)

    def _filled(self, rows: int, fill: float) -> Tensor:
        shape = [*self.value.shape]
        shape[self._dim] = rows
        return torch.full(shape, fill, dtype=self.value.dtype, device=self._device)


def _runs(start: int, stop: int, border: Border, size: int) -> Iterator[tuple[int, int, bool]]:
    """Rows [start, stop) as runs (start, stop, backward) of rows that exist.

    >>> list(_runs(-2, 3, Border.REFLECT, 9)), list(_runs(-1, 2, Border.CLAMP, 9))
    ([(1, 3, True), (0, 3, False)], [(0, 1, False), (0, 2, False)])
    """
    at = start
    while at < stop:
        if 0 <= at < size:
            last = min(stop, size)
            yield at, last, False
        elif border is Border.CLAMP:
            last = at + 1
            yield (0, 1, False) if at < 0 else (size - 1, size, False)
        elif border is Border.WRAP:
            turn = at // size * size
            last = min(stop, turn + size)
            yield at - turn, last - turn, False
        else:
            edge = border is Border.REFLECT
            last = min(stop, 0) if at < 0 else stop
            mirror = edge - 1 if at < 0 else 2 * size - 1 - edge
            yield mirror - last + 1, mirror - at + 1, True
        at = last
