"""Percentiles of a whole array, per channel, exactly, in as much memory as a few rows take.

A number is one of 2^b keys in the same order (of a float its bits, negative ones turned round).
Each pass over the array counts the next 16 bits of the keys among those whose first bits are
settled: so one pass gives the percentiles of 8 and 16 bits, two those of 32, four those of 64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.tile.files.blocks import BlockRows
from fieldwise.tile.files.layout import AxisLayout
from fieldwise.tile.files.protocol import Source

_AT_ONCE = 1 << 24
"""Elements that are read at a time, unless a row has more."""
_DIGIT = 16
_CHANNELS = 1


def percentiles(
    source: Source, layout: AxisLayout, shares: Sequence[float]
) -> tuple[tuple[float, ...], ...]:
    """Per channel that is read, these percentiles of its numbers, as ``numpy.percentile`` has them.

    Raises UsageError for a channel without numbers.
    """
    axis = layout.dims.index(_CHANNELS) if _CHANNELS in layout.dims else None
    channels = 1 if axis is None else source.shape[axis]
    keys = _Keys(source.dtype)
    counts, wanted = [0] * channels, [list[_Rank]() for _ in range(channels)]
    for position in range(keys.digits):
        tables: list[dict[int, NDArray[np.int64]]] = [{} for _ in range(channels)]
        for block in _rows(source, axis):
            for channel, values in enumerate(block):
                found = keys.of(values)
                if position == 0:
                    counts[channel] += found.size
                prefixes = {rank.prefix for rank in wanted[channel]} or {0}
                for prefix, counted in keys.counted(found, position, prefixes):
                    table = tables[channel]
                    table[prefix] = table[prefix] + counted if prefix in table else counted
        for channel in range(channels):
            if position == 0:
                if not counts[channel]:
                    raise UsageError(f"Channel {channel} of {str(source.path)!r} holds no number.")
                wanted[channel] = _ranks(counts[channel], shares)
            wanted[channel] = [
                rank.within(tables[channel][rank.prefix], keys.width) for rank in wanted[channel]
            ]
    among = tuple(
        _interpolated([keys.value(rank.prefix) for rank in ranks], count, shares)
        for ranks, count in zip(wanted, counts, strict=True)
    )
    return tuple(among[channel] for channel in layout.channels) if layout.channels else among


class _Rank:
    """An element by its place in the order, as far as its key is known."""

    def __init__(self, prefix: int, place: int) -> None:
        self.prefix, self.place = prefix, place

    def within(self, counted: NDArray[np.int64], width: int) -> _Rank:
        """The same with one digit more, of which so many elements have each value."""
        ends = np.cumsum(counted)
        digit = int(np.searchsorted(ends, self.place, side="right"))
        before = int(ends[digit - 1]) if digit else 0
        return _Rank(self.prefix << width | digit, self.place - before)


class _Keys:
    """Numbers of a type as whole ones in the same order."""

    def __init__(self, dtype: np.dtype[np.generic]) -> None:
        self.dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
        self.bits = 8 * self.dtype.itemsize
        self.plain = np.dtype(f"u{self.dtype.itemsize}")
        self.width = min(_DIGIT, self.bits)
        self.digits = self.bits // self.width
        self.sign = self.plain.type(1 << (self.bits - 1))

    def of(self, values: NDArray[np.generic]) -> NDArray[np.unsignedinteger]:
        """Their keys; what is no number has none."""
        flat = np.ascontiguousarray(values, self.dtype).reshape(-1)
        if self.dtype.kind == "f":
            flat = flat[~np.isnan(flat)] + self.dtype.type(0)  # one zero, not two
            bits = flat.view(self.plain)
            return np.where(bits & self.sign, ~bits, bits | self.sign)
        bits = flat.view(self.plain)
        return bits ^ self.sign if self.dtype.kind == "i" else bits

    def value(self, key: int) -> float:
        """The number of a key."""
        bits = np.array(key, self.plain)
        if self.dtype.kind == "f":
            bits = bits ^ self.sign if bits & self.sign else ~bits
        elif self.dtype.kind == "i":
            bits = bits ^ self.sign
        return float(np.asarray(bits, self.plain).view(self.dtype))

    def counted(
        self, keys: NDArray[np.unsignedinteger], position: int, prefixes: set[int]
    ) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Per prefix, how many keys that begin with it have each value of the next digit."""
        shift = self.bits - (position + 1) * self.width
        for prefix in prefixes:
            if position:
                ahead = keys >> self.plain.type(shift + self.width)
                found = keys[ahead == self.plain.type(prefix)]
            else:
                found = keys
            digits = (found >> self.plain.type(shift)) & self.plain.type((1 << self.width) - 1)
            yield prefix, np.bincount(digits.astype(np.int64), minlength=1 << self.width)


def _rows(source: Source, channels: int | None) -> Iterator[list[NDArray[np.generic]]]:
    """The array, some rows at a time, each channel by itself."""
    others = [axis for axis in range(len(source.shape)) if axis != channels]
    along = max(others, key=lambda axis: source.shape[axis])
    size = source.shape[along]
    reader = BlockRows(source, along)
    row = max(int(np.prod(source.shape)) // size, 1)
    rows = max(_AT_ONCE // row, 1)
    for lo in range(0, size, rows):
        index = [slice(0, n) for n in source.shape]
        index[along] = slice(lo, min(lo + rows, size))
        block = reader[tuple(index)]
        yield [block] if channels is None else list(np.moveaxis(block, channels, 0))


def _ranks(count: int, shares: Sequence[float]) -> list[_Rank]:
    """The elements between which each percentile lies."""
    places = [(count - 1) * share / 100 for share in shares]
    return [_Rank(0, min(floor(place) + after, count - 1)) for place in places for after in (0, 1)]


def _interpolated(found: list[float], count: int, shares: Sequence[float]) -> tuple[float, ...]:
    pairs = zip(found[::2], found[1::2], shares, strict=True)
    return tuple(
        low + (high - low) * ((count - 1) * share / 100 % 1) if low != high else low
        for low, high, share in pairs
    )
