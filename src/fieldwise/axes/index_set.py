"""Finite sets of integers, exact and fast: one Python integer as a bit set, plus a base.

Bit ``b`` of ``bits`` stands for the index ``base + b``.  A union is an OR, a translate is an
addition to the base, a Minkowski sum is one shifted OR per run of the other set.  Nothing is
rounded and no bound is put on the size of the indices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import index as as_integer
from typing import SupportsIndex


@dataclass(frozen=True, slots=True)
class IndexSet:
    """A finite set of integers; canonical, so that equal sets compare and hash equal.

    >>> taps = IndexSet.range(-4, 5, 4)          # a kernel of 3 with dilation 4
    >>> taps, taps.extent, taps.count
    (IndexSet{-4, 0, 4}, 9, 3)
    >>> taps | taps.shift(1)
    IndexSet{-4..-3, 0..1, 4..5}
    """

    base: int = 0
    bits: int = 0

    def __post_init__(self) -> None:
        bits = self.bits
        if bits < 0:
            raise ValueError("The bits of an IndexSet are a non-negative integer.")
        if bits == 0:
            if self.base:
                object.__setattr__(self, "base", 0)
        elif not bits & 1:
            zeros = (bits & -bits).bit_length() - 1
            object.__setattr__(self, "bits", bits >> zeros)
            object.__setattr__(self, "base", self.base + zeros)

    # ---------------------------------------------------------------- making one

    @classmethod
    def of(cls, indices: Iterable[SupportsIndex]) -> IndexSet:
        """The set of the given indices: Python's integers, or anything that stands for one.

        >>> IndexSet.of([3, 1, 2, 3])
        IndexSet{1..3}
        """
        members = sorted(set(map(as_integer, indices)))
        if not members:
            return EMPTY
        base = members[0]
        if len(members) < 64:
            bits = 0
            for index in members:
                bits |= 1 << (index - base)
            return cls(base, bits)
        marks = bytearray(members[-1] - base + 1)
        for index in members:
            marks[index - base] = 1
        return cls(base, int(marks[::-1].translate(_TO_DIGIT), 2))

    @classmethod
    def range(cls, start: int, stop: int, step: int = 1) -> IndexSet:
        """The members of Python's ``range(start, stop, step)``, ``step`` positive.

        >>> IndexSet.range(0, 3)
        IndexSet{0..2}
        """
        if step < 1:
            raise ValueError(f"The step of IndexSet.range is positive, got {step}.")
        if stop <= start:
            return EMPTY
        if step == 1:
            return cls(start, (1 << (stop - start)) - 1)
        return cls(start, _smear(1, (stop - start + step - 1) // step, step))

    # ---------------------------------------------------------------- looking at it

    @property
    def first(self) -> int:
        """The least index.  Raises ValueError on the empty set."""
        self._refuse_empty("first")
        return self.base

    @property
    def last(self) -> int:
        """The greatest index.  Raises ValueError on the empty set."""
        self._refuse_empty("last")
        return self.base + self.bits.bit_length() - 1

    @property
    def extent(self) -> int:
        """last − first + 1; 0 for the empty set."""
        return self.bits.bit_length()

    @property
    def count(self) -> int:
        """How many indices it holds (holes not counted)."""
        return self.bits.bit_count()

    @property
    def holes(self) -> IndexSet:
        """The indices between first and last that are missing.

        >>> IndexSet.of([0, 1, 4]).holes
        IndexSet{2..3}
        """
        return IndexSet(self.base, self.bits ^ ((1 << self.bits.bit_length()) - 1))

    @property
    def is_contiguous(self) -> bool:
        """Whether nothing is missing between first and last (true of the empty set)."""
        return not self.bits & (self.bits + 1)

    def runs(self) -> Iterator[tuple[int, int]]:
        """Its maximal runs as half-open pairs, in order.

        >>> list(IndexSet.of([0, 1, 2, 7]).runs())
        [(0, 3), (7, 8)]
        """
        bits, at = self.bits, self.base
        while bits:
            length = (~bits & (bits + 1)).bit_length() - 1
            yield at, at + length
            bits >>= length
            gap = (bits & -bits).bit_length() - 1 if bits else 0
            bits >>= gap
            at += length + gap

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.runs():
            yield from range(start, stop)

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __bool__(self) -> bool:
        return self.bits != 0

    def __contains__(self, index: object) -> bool:
        if not isinstance(index, (int, SupportsIndex)):
            return False
        offset = as_integer(index) - self.base
        return offset >= 0 and bool(self.bits >> offset & 1)

    def __repr__(self) -> str:
        """Its runs; of more than 32 the first ones, the last index and how many indices there are.

        >>> IndexSet.range(0, 200, 2)
        IndexSet{0, 2, 4, 6, … 198: 100 indices}
        """
        runs = list(islice(self.runs(), _SHOWN + 1))
        shown = runs if len(runs) <= _SHOWN else runs[:4]
        parts = [str(lo) if hi == lo + 1 else f"{lo}..{hi - 1}" for lo, hi in shown]
        if len(runs) > _SHOWN:
            parts.append(f"… {self.last}: {self.count} indices")
        return f"IndexSet{{{', '.join(parts)}}}"

    # ---------------------------------------------------------------- set algebra

    def __or__(self, other: IndexSet) -> IndexSet:
        if not isinstance(other, IndexSet):
            return NotImplemented
        if not self.bits:
            return other
        if not other.bits:
            return self
        if self.base <= other.base:
            return IndexSet(self.base, self.bits | other.bits << (other.base - self.base))
        return IndexSet(other.base, other.bits | self.bits << (self.base - other.base))

    def __and__(self, other: IndexSet) -> IndexSet:
        if not isinstance(other, IndexSet):
            return NotImplemented
        if self.base < other.base:
            return IndexSet(other.base, self.bits >> (other.base - self.base) & other.bits)
        return IndexSet(self.base, other.bits >> (self.base - other.base) & self.bits)

    def __sub__(self, other: IndexSet) -> IndexSet:
        if not isinstance(other, IndexSet):
            return NotImplemented
        shared = self & other
        if not shared.bits:
            return self
        return IndexSet(self.base, self.bits ^ shared.bits << (shared.base - self.base))

    def issubset(self, other: IndexSet) -> bool:
        """Whether every index of this set is in the other."""
        if not self.bits:
            return True
        ahead = self.base - other.base
        if ahead < 0 or ahead + self.bits.bit_length() > other.bits.bit_length():
            return False
        return not self.bits & ~(other.bits >> (self.base - other.base))

    def __xor__(self, other: IndexSet) -> IndexSet:
        if not isinstance(other, IndexSet):
            return NotImplemented
        return (self - other) | (other - self)

    def isdisjoint(self, other: IndexSet) -> bool:
        """Whether the two sets share no index."""
        return not self & other

    # ---------------------------------------------------------------- moving it

    def shift(self, by: int) -> IndexSet:
        """{i + by}."""
        return IndexSet(self.base + by, self.bits) if self.bits and by else self

    def scale(self, factor: int) -> IndexSet:
        """{factor · i}, any integer factor.

        >>> IndexSet.of([0, 1, 3]).scale(-2)
        IndexSet{-6, -2, 0}
        """
        if not self.bits or factor == 1:
            return self
        if factor == 0:
            return _ZERO
        if factor < 0:
            mirrored = int(bin(self.bits)[:1:-1], 2)
            return IndexSet(-self.last, mirrored).scale(-factor)
        return IndexSet(self.base * factor, int(("0" * (factor - 1)).join(bin(self.bits)[2:]), 2))

    def quotients(self, step: int, remainder: int = 0) -> IndexSet:
        """{q : q · step + remainder is in the set}, step positive.

        >>> IndexSet.range(0, 10).quotients(4, 1)
        IndexSet{0..2}
        """
        if step == 1:
            return self.shift(-remainder)
        if not self.bits:
            return self
        skip = (remainder - self.base) % step
        picked = bin(self.bits)[:1:-1][skip::step]
        if not picked:
            return EMPTY
        return IndexSet((self.base + skip - remainder) // step, int(picked[::-1], 2))

    def dealt(self, step: int) -> tuple[IndexSet, ...]:
        """``quotients(step, r)`` for every remainder r, in one pass.

        >>> IndexSet.range(0, 5).dealt(3)
        (IndexSet{0..1}, IndexSet{0..1}, IndexSet{0})
        """
        if step == 1:
            return (self,)
        digits, found = bin(self.bits)[:1:-1], [EMPTY] * step
        for skip in range(min(step, len(digits))):
            turn, remainder = divmod(self.base + skip, step)
            found[remainder] = IndexSet(turn, int(digits[skip::step][::-1], 2))
        return tuple(found)

    @staticmethod
    def interleaved(parts: Sequence[IndexSet], size: int) -> IndexSet:
        """{q · len(parts) + r : q in parts[r]} in [0, size): what ``dealt`` gives, put together.

        >>> IndexSet.interleaved(IndexSet.range(0, 5).dealt(3), 9)
        IndexSet{0..4}
        """
        step = len(parts)
        turns = -(-size // step)
        if turns < 1:
            return EMPTY
        marks = bytearray(turns * step)
        for remainder, part in enumerate(parts):
            inside = part.clip(turns)
            bits = inside.bits << inside.base
            marks[remainder::step] = f"{bits:0{turns}b}"[::-1].encode()
        return IndexSet(0, int(marks[::-1], 2)).clip(size)

    def minkowski(self, other: IndexSet) -> IndexSet:
        """{a + b : a in this set, b in the other}.

        >>> IndexSet.of([0, 4]).minkowski(IndexSet.range(-1, 2))
        IndexSet{-1..1, 3..5}
        """
        small, large = (self, other) if self.count <= other.count else (other, self)
        if not small.bits:
            return EMPTY
        base = small.base + large.base
        for one, two in ((small, large), (large, small)):
            if (comb := one._as_comb()) is not None:
                width, step, times = comb
                if two.is_contiguous and two.extent > step - width:  # no gap is left
                    return IndexSet.range(base, base + one.extent + two.extent - 1)
                return IndexSet(base, _smear(_smear(two.bits, width), times, step))
        bits = 0
        for start, stop in small.runs():
            bits |= _smear(large.bits, stop - start) << (start - small.base)
        return IndexSet(base, bits)

    def _as_comb(self) -> tuple[int, int, int] | None:
        """Width, distance and number of its runs, where they are alike (a dilated kernel)."""
        width = (~self.bits & (self.bits + 1)).bit_length() - 1
        rest = self.bits >> width
        if not rest:
            return width, width, 1
        step = width + (rest & -rest).bit_length() - 1
        times = -(-self.bits.bit_length() // step)
        return (width, step, times) if _smear((1 << width) - 1, times, step) == self.bits else None

    def clip(self, size: int) -> IndexSet:
        """Its indices in [0, size)."""
        bits, base = self.bits, self.base
        if base < 0:
            bits, base = bits >> -base, 0
        if base + bits.bit_length() > size:
            bits &= (1 << max(size - base, 0)) - 1
        return self if bits == self.bits else IndexSet(base, bits)

    def between(self, low: int, high: int) -> IndexSet:
        """Its indices in [low, high)."""
        if not self.bits or (low <= self.base and self.base + self.bits.bit_length() <= high):
            return self
        return self.shift(-low).clip(high - low).shift(low)

    def modulo(self, size: int) -> IndexSet:
        """{i mod size}, size positive.

        >>> IndexSet.range(-2, 2).modulo(7)
        IndexSet{0..1, 5..6}
        """
        bits = self.bits << self.base % size
        turns = -(-bits.bit_length() // size)
        while turns > 1:
            half = (turns + 1) // 2
            low = bits & ((1 << half * size) - 1)
            bits, turns = low | bits >> half * size, half
        return IndexSet(0, bits)

    def _refuse_empty(self, what: str) -> None:
        if not self.bits:
            raise ValueError(f"An empty IndexSet has no {what} index.")


def _smear(bits: int, length: int, step: int = 1) -> int:
    """OR of ``bits << k · step`` for 0 ≤ k < length, in a logarithmic number of operations."""
    done = 1
    while done < length:
        more = min(done, length - done)
        bits |= bits << more * step
        done += more
    return bits


_SHOWN = 32
"""So many runs stand in a repr."""
_TO_DIGIT = bytes([48, 49]) + bytes(254)
EMPTY = IndexSet()
_ZERO = IndexSet(0, 1)
