"""Which rows of an operand an interval of result rows reads: intervals, not sets.

A band of a value is an interval of absolute rows [lo, hi).  A ``RowReach`` is the hull of an index
map along the streamed axis, made monotone: ``first`` is the least row that a result row *or any
later one* reads, ``stop`` one more than the greatest that it or any earlier one reads.  What lies
before ``first`` of the next row to come can be forgotten.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.tile.arrays import Interval
from fieldwise.tile.errors import Blocked


@dataclass(frozen=True, slots=True)
class RowReach:
    """Result row q·P + r reads [q·advance + firsts[r], q·advance + stops[r]), P = len(firsts).

    size:   rows of the operand; None while it is not known (live data)
    count:  rows of the result; None likewise
    border: how rows outside the operand are read
    over:   how far the last result row reads beyond the operand's end (at least 0)
    seen:   the rows of operand and result at the size that was captured
    cuts:   whether the op may leave out rows that it could make (a slice, a smaller size)
    backward: whether some later row reads before an earlier one

    >>> conv = RowReach.of(AxisMap.window(3, padding=1), Border.DROP, size=8, count=8)
    >>> conv.raw(0, 4), conv.span(0, 4), conv.floor(4, 5)
    ((-1, 5), (0, 5), 3)
    >>> conv.ready(5, complete=False), conv.ready(8, complete=True)
    (4, 8)
    """

    advance: int
    firsts: tuple[int, ...]
    stops: tuple[int, ...]
    border: Border
    size: int | None
    count: int | None
    over: int
    seen: Interval
    cuts: bool = False
    backward: bool = False

    @classmethod
    @lru_cache(maxsize=1 << 9)
    def of(
        cls,
        index: AxisMap | Table,
        border: Border,
        *,
        size: int,
        count: int,
        margin: int = 0,
        cuts: bool = True,
    ) -> RowReach:
        """The reach of an index map, ``margin`` rows wider on both sides.

        Raises Blocked where nothing is read at all.
        """
        if isinstance(index, Table) or index.advance <= 0:
            rows = [index(row) for row in range(count)]
            advance, firsts, stops = 0, _suffix_minima(rows), _prefix_maxima(rows)
        else:
            advance = index.advance
            rows = [*index.phases(2 * index.period)]
            firsts = _suffix_minima(rows)[: index.period]
            stops = [stop - advance for stop in _prefix_maxima(rows)[index.period :]]
        if not any(rows):
            raise Blocked("it reads nothing along the streamed axis")
        backward = advance == 0 and _goes_back(rows)
        firsts, stops = [f - margin for f in firsts], [s + margin for s in stops]
        found = cls(
            advance, tuple(firsts), tuple(stops), border, size, count, 0, (size, count), cuts,
            backward,
        )  # fmt: skip
        return replace(found, over=max(found.stop(count - 1) - size, 0))

    @classmethod
    def of_one(cls, row: int, size: int, *, count: int = 1) -> RowReach:
        """The reach of results that all read one row.

        >>> first = RowReach.of_one(0, 1, count=9)
        >>> first.span(3, 5), first.ready(0, complete=False), first.ready(1, complete=True)
        ((0, 1), 0, 9)
        """
        return cls(0, (row,), (row + 1,), Border.DROP, size, count, 0, (size, count))

    def opened(self) -> RowReach:
        """The same where neither end is known yet.

        Raises Blocked where the map has no regular form that could go on for ever.
        """
        if self.advance <= 0:
            return self._going_on().opened()
        if self.border is Border.WRAP and (self.over or self.first(0) < 0):
            raise Blocked("it reads the far end (circular), which is not there yet")
        return replace(self, size=None, count=None)

    def _going_on(self) -> RowReach:
        """The law of which rows listed one by one are a part, clipped to the rows of the operand.

        All of the past is one, and so is a window that most of the rows have whole.

        Raises Blocked where there is none.
        """
        size, count = self.seen
        periods = range(1, count // 3 + 1) if self.stops[count // 2] < size else ()
        for period in periods:
            advance, over = divmod(period * size, count)
            stops = self.stops[:period]
            if over or self.backward or not _is_repeated(self.stops, stops, advance, size):
                continue
            if not any(self.firsts):
                return replace(self, advance=advance, firsts=(-_FAR,) * period, stops=stops)
            turns = count // period - 1
            last = self.firsts[turns * period :][:period]
            firsts = tuple(first - turns * advance for first in last)
            if _is_repeated(self.firsts, firsts, advance, size):
                seldom = firsts[0] + turns // 2 * advance < 0
                firsts = (-_FAR,) * period if seldom else firsts
                return replace(self, advance=advance, firsts=firsts, stops=stops)
        raise Blocked(UNSEEN)

    @property
    def is_past(self) -> bool:
        """Whether rows read all that came before, as far as anybody has seen."""
        return self.advance > 0 and self.firsts[0] <= -_FAR

    @property
    def across(self) -> int:
        """How many rows those result rows read, at most, that read on both sides of a place."""
        extent = max(stop - first for first, stop in zip(self.firsts, self.stops, strict=True))
        return 2 * (extent - 1)

    @property
    def holds_whole(self) -> bool:
        """Whether the operand must be there whole at some time, whatever its size."""
        if self.backward:
            return True
        return self.border is Border.WRAP and (self.over > 0 or self.first(0) < 0)

    @property
    def grows(self) -> bool:
        """Whether later and later rows all read back to the same row: nothing is forgotten."""
        if self.is_past:
            return True
        if self.advance or self.count is None or self.count < 2:
            return False
        last = self.count - 1
        return self.first(last) == self.first(0) and self.stop(0) < self.stop(last)

    # ---------------------------------------------------------------- one row

    def first(self, row: int) -> int:
        """The least row that this result row or any later one reads."""
        turn, phase = divmod(row, len(self.firsts))
        return turn * self.advance + self.firsts[phase]

    def stop(self, row: int) -> int:
        """One more than the greatest row that this result row or any earlier one reads."""
        turn, phase = divmod(row, len(self.stops))
        return turn * self.advance + self.stops[phase]

    @property
    def pattern(self) -> object:
        """What must not depend on the total length where that is not known."""
        mirrors = self.border in (Border.REFLECT, Border.SYMMETRIC)
        return self.advance, self.firsts, self.stops, self.border, self.over if mirrors else 0

    def reads_like(self, other: RowReach) -> bool:
        """Whether another, of the same op at another length, reads the same rows.

        Rows that are listed, and those that may see all of the past, are compared one by one, up to
        the end of the shorter operand; what they see of the past is for masks to say.
        """
        if self.pattern == other.pattern:
            return True
        listed = self.is_past or other.is_past or not (self.advance and other.advance)
        if not listed or self.border is not other.border:
            return False
        size, count = map(min, zip(self.seen, other.seen, strict=True))
        past = self.is_past or other.is_past
        return all(
            min(self.stop(row), size) == min(other.stop(row), size)
            and (past or max(self.first(row), 0) == max(other.first(row), 0))
            for row in range(count)
        )

    # ---------------------------------------------------------------- intervals

    def raw(self, lo: int, hi: int) -> Interval:
        """What the result rows [lo, hi) read, as if the operand had no ends."""
        return self.first(lo), max(self.stop(hi - 1), self.first(lo))

    def span(self, lo: int, hi: int) -> Interval:
        """The rows of the operand that the result rows [lo, hi) read (their hull)."""
        start, stop = self.raw(lo, hi)
        return land(start, stop, self.border, self.size)

    def ready(self, available: int, *, complete: bool) -> int:
        """How many result rows can be computed from the operand's first ``available`` rows."""
        if complete and self.count is not None:
            return self.count
        if available < self._needed_first():
            return 0
        found = self._rows_that_stop_by(available)
        return found if self.count is None else min(found, self.count)

    def certain(self, size: int) -> int:
        """How many result rows there will be at least, if the operand has ``size`` or more.

        The captured size tells how many there are at others, up to what a stride leaves over.
        """
        if self.count is not None:
            return self.count
        size_seen, count_seen = self.seen
        sure = count_seen + (size - size_seen) * len(self.stops) // self.advance
        return max(sure, 0 if self.cuts else self._rows_that_stop_by(size), 0)

    def floor(self, row: int, done: int) -> int:
        """The least row of the operand that result rows from ``row`` on still read.

        ``done`` rows of the operand exist so far; with an open end that is all that is known.
        """
        if self.count is not None and row >= self.count:
            return done if self.size is None else self.size
        end = done if self.size is None else self.size
        return max(min(self.first(row), self._mirrored_floor(end)), 0)

    def _mirrored_floor(self, end: int) -> int:
        """The least row that what lies beyond the end reads, if the end is at ``end``."""
        if self.border is Border.CLAMP:
            return end - 1
        if not self.over or self.border is Border.DROP:
            return _FAR
        if self.border is Border.WRAP:
            return 0
        return end - self.over - (self.border is Border.REFLECT)

    def _needed_first(self) -> int:
        """How many rows must exist before the first result row, which mirrors the first rows."""
        before = -self.first(0)
        if before <= 0 or self.border is Border.DROP:
            return 0
        if self.border is Border.WRAP:
            return self.size or 0
        if self.border is Border.CLAMP:
            return 1
        needed = before + (self.border is Border.REFLECT)
        return needed if self.size is None else min(needed, self.size)

    def _rows_that_stop_by(self, available: int) -> int:
        if self.advance == 0:
            return bisect_right(self.stops, available)
        if len(self.stops) > _LONG_PERIOD:
            turn = (available - self.stops[0]) // self.advance
            if turn < 0:
                return 0
            shifted = available - turn * self.advance
            return turn * len(self.stops) + bisect_right(self.stops, shifted)
        period = len(self.stops)
        late = (
            ((available - stop) // self.advance + 1) * period + phase
            for phase, stop in enumerate(self.stops)
        )
        return max(min(late), 0)


def land(start: int, stop: int, border: Border, size: int | None) -> Interval:
    """The hull of the rows in [0, size) that the rows [start, stop) read.

    >>> land(-2, 3, Border.REFLECT, 9), land(6, 11, Border.REFLECT, 9), land(-1, 2, Border.WRAP, 9)
    ((0, 3), (6, 9), (0, 9))
    """
    end = stop if size is None else size
    if start >= stop:
        return 0, 0
    low, high = max(start, 0), min(stop, end)
    if border is Border.DROP:
        return (low, high) if low < high else (0, 0)
    if border is Border.WRAP:
        return (low, high) if start >= 0 and stop <= end else (0, end)
    if border is Border.CLAMP:
        return min(low, end - 1), max(high, 1)
    edge = border is Border.REFLECT
    if start < 0:
        low, high = 0, max(high, min(-start + edge, end))
    if stop > end:
        low, high = min(low, max(2 * end - stop - edge, 0)), end
    return low, high


def _suffix_minima(rows: Sequence[IndexSet]) -> list[int]:
    """Per row, the least index in it or in any later one (a large one where there is none)."""
    firsts = (row.first if row else _FAR for row in reversed(rows))
    return list(accumulate(firsts, min))[::-1]


def _prefix_maxima(rows: Sequence[IndexSet]) -> list[int]:
    return list(accumulate((row.last + 1 if row else -_FAR for row in rows), max))


def _is_repeated(ends: Sequence[int], law: Sequence[int], advance: int, size: int) -> bool:
    """Whether ends of rows are those of a law, clipped to [0, size]."""
    period = len(law)
    return all(
        end == min(max(law[row % period] + row // period * advance, 0), size)
        for row, end in enumerate(ends)
    )


def _goes_back(rows: Sequence[IndexSet]) -> bool:
    lasts = [row.last for row in rows if row]
    return any(later < earlier for earlier, later in pairwise(lasts))


UNSEEN = "which rows it reads depends on the total length"
_FAR = 1 << 60
_LONG_PERIOD = 16
