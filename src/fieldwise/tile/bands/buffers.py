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
        held, at = self.held, 0
        block = self._empty(held + rows, like=self.last)
        for _, chunk in self._chunks:
            size = chunk.shape[self._dim]
            block.narrow(self._dim, at, size).copy_(chunk)
            at += size
        self._chunks = [(self._chunks[0][0], block)]
        self.held += rows
        return block.narrow(self._dim, held, rows)

    def piece(self, lo: int, rows: int, like: Tensor) -> Tensor:
        """Add rows [lo, lo + rows) that are still to be written: a chunk that lies as ``like``."""
        block = self._empty(rows, like)
        self.append(lo, block)
        return block

    def _empty(self, rows: int, like: Tensor) -> Tensor:
        layout = CHANNELS_LAST[like.dim()] if is_channels_last(like) else torch.contiguous_format
        shape, kind = self.value.band(rows), self.value.dtype
        return torch.empty(shape, dtype=kind, device=like.device, memory_format=layout)

    @property
    def last(self) -> Tensor:
        """The chunk with its last rows.  Raises IndexError where there are none."""
        return self._chunks[-1][1]

    def seams(self, start: int, stop: int) -> list[int]:
        """Rows between these with which another chunk begins."""
        return [lo for lo, _ in self._chunks if start < lo < stop]

    def seated(self, value: Streamed) -> Buffer:
        """The same only row, if it is there, which lies in another dimension."""
        found = Buffer(value, self._device)
        if self.held:
            found.append(0, value.unfolded(self.value.folded(self.inside(0, 1))))
        return found

    def trim(self, floor: int) -> None:
        """Forget the rows before ``floor``, and what is spare if none of them is kept there."""
        ends = [lo + chunk.shape[self._dim] for lo, chunk in self._chunks]
        self._chunks = [one for one, end in zip(self._chunks, ends, strict=True) if end > floor]
        if self._chunks and (lo := self._chunks[0][0]) < floor:
            chunk = self._chunks[0][1]
            rows = chunk.narrow(self._dim, floor - lo, chunk.shape[self._dim] - (floor - lo))
            self._chunks[0] = floor, self._saved(rows)
        self.held = sum(chunk.shape[self._dim] for _, chunk in self._chunks)
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
        return self.lent(start, stop).clone()

    def lent(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop), for somebody who keeps no view of them."""
        shared, found = self._is_shared, self.inside(start, stop)
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
