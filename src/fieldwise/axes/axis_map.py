"""Quasi-affine index maps along one axis, in closed form (DESIGN: the axis algebra).

Along one axis every op with a regular geometry relates the output index ``q·P + r`` to the
input indices ``{q·A + o : o in offsets[r]}``, with a period ``P = len(offsets)`` and an
advance ``A``.  The family is closed under composition and, at equal rates A/P, under union.
Offsets may have no end: what a recurrent layer or a mean over an unbounded axis reads.
For a plain chain of convolutions it reproduces Araujo, Norris & Sim, "Computing Receptive
Fields of Convolutional Neural Networks" (Distill, 2019), Eqs. 2 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache, reduce
from math import gcd, lcm
from operator import or_
from typing import Generic, cast

from typing_extensions import TypeVar

from fieldwise.axes.index_set import EMPTY, IndexSet
from fieldwise.axes.lattice import Lattice
from fieldwise.axes.tailed import EVERYWHERE, AnySet, Tailed, issubset, lattice, minkowski

S = TypeVar("S", bound=AnySet, default=IndexSet, covariant=True)
T = TypeVar("T", bound=AnySet, default=IndexSet)


@dataclass(frozen=True)
class AxisMap(Generic[S]):
    """R(q·P + r) = {q·advance + o : o in offsets[r]}, P = len(offsets), reduced to the least P.

    >>> conv = AxisMap.window(3, stride=2, padding=1)
    >>> conv(0), conv(5)
    (IndexSet{-1..1}, IndexSet{9..11})
    >>> two = AxisMap.window(3).then(conv)       # read from the output towards the input
    >>> two.extent, two.rate, two.start
    (7, Fraction(2, 1), -1)
    """

    advance: int
    offsets: tuple[S, ...]

    def __post_init__(self) -> None:
        advance, offsets = self.advance, self.offsets
        if not offsets:
            raise ValueError("An AxisMap has at least one offset set.")
        if not any(offsets):
            advance, offsets = 0, (cast("S", EMPTY),)
        elif advance and (turn := _turn(offsets)):
            offsets = self.phases(len(offsets) * (turn // gcd(turn, advance)))
            advance = 0
        if len(offsets) > 1:
            advance, offsets = _least_period(advance, offsets)
        if offsets is not self.offsets or advance != self.advance:
            object.__setattr__(self, "advance", advance)
            object.__setattr__(self, "offsets", offsets)

    # ---------------------------------------------------------------- making one

    @staticmethod
    def window(
        kernel_size: int, *, stride: int = 1, dilation: int = 1, padding: int = 0
    ) -> AxisMap:
        """A convolution or pooling window; ``padding`` is what is padded before index 0.

        >>> AxisMap.window(3, dilation=4, padding=4)(0)
        IndexSet{-4, 0, 4}
        """
        taps = IndexSet.range(0, dilation * kernel_size, dilation)
        return AxisMap(stride, (taps.shift(-padding),))

    @staticmethod
    def transposed(
        kernel_size: int, *, stride: int = 1, dilation: int = 1, padding: int = 0
    ) -> AxisMap:
        """A transposed convolution: output i reads (i + padding − dilation·τ)/stride where whole.

        >>> AxisMap.transposed(3, stride=2).offsets
        (IndexSet{-1..0}, IndexSet{0})
        """
        taps = IndexSet.range(-padding, dilation * kernel_size - padding, dilation)
        return AxisMap(1, tuple(turns.scale(-1) for turns in taps.dealt(stride)))

    @staticmethod
    def affine(step: int, start: int = 0) -> AxisMap:
        """i ↦ {step·i + start}: slicing (step > 0), flipping (step = −1), a fixed index (0).

        >>> AxisMap.affine(-1, 9)(2)
        IndexSet{7}
        """
        return AxisMap(step, (IndexSet(start, 1),))

    @staticmethod
    def constant(indices: T) -> AxisMap[T]:
        """Every output reads the same indices."""
        return AxisMap(0, (indices,))

    # ---------------------------------------------------------------- looking at it

    @property
    def period(self) -> int:
        """P: after this many outputs the pattern repeats."""
        return len(self.offsets)

    @cached_property
    def rate(self) -> Fraction:
        """Advance per output, A/P: the stride (or jump) in input samples."""
        return Fraction(self.advance, len(self.offsets))

    @cached_property
    def bounded(self) -> AxisMap | None:
        """The map, where no output reads without end; else None."""
        finite = all(isinstance(offset, IndexSet) for offset in self.offsets)
        return cast("AxisMap", self) if finite else None

    @cached_property
    def past(self) -> bool:
        """Whether an output reads without a beginning."""
        return any(isinstance(offset, Tailed) and bool(offset.left) for offset in self.offsets)

    @cached_property
    def future(self) -> bool:
        """Whether an output reads without an end."""
        return any(isinstance(offset, Tailed) and bool(offset.right) for offset in self.offsets)

    @cached_property
    def is_global(self) -> bool:
        """Whether an output reads without end on either side."""
        return any(isinstance(o, Tailed) and o.left and o.right for o in self.offsets)

    @property
    def extent(self: AxisMap) -> int:
        """The largest extent (last − first + 1) over the phases."""
        return max(offset.extent for offset in self.offsets)

    @property
    def count(self: AxisMap) -> int:
        """The largest number of samples read, over the phases."""
        return max(offset.count for offset in self.offsets)

    @property
    def start(self: AxisMap) -> int | None:
        """First index that unit 0 reads; None if unit 0 reads nothing."""
        return self.offsets[0].first if self.offsets[0] else None

    @cached_property
    def is_identity(self) -> bool:
        """Whether output i reads exactly input i."""
        return self.advance == 1 and self.offsets == (_ZERO,)

    @cached_property
    def is_single(self) -> bool:
        """Whether every output reads at most one index."""
        return all(isinstance(o, IndexSet) and o.extent <= 1 for o in self.offsets)

    def __call__(self, index: int) -> S:
        """R(index)."""
        quotient, phase = divmod(index, len(self.offsets))
        return cast("S", self.offsets[phase].shift(quotient * self.advance))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, AxisMap):
            return NotImplemented
        return (
            self._hash == other._hash
            and self.advance == other.advance
            and self.offsets == other.offsets
        )

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.advance, self.offsets))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.offsets[:_SHOWN]))
        if self.period > _SHOWN:
            return f"AxisMap(advance={self.advance}, offsets=({shown}, … {self.period} phases))"
        comma = "," if self.period == 1 else ""
        return f"AxisMap(advance={self.advance}, offsets=({shown}{comma}))"

    def __str__(self) -> str:
        sets = " | ".join("{" + repr(o).split("{", 1)[1] for o in self.offsets[:_SHOWN])
        if self.period > _SHOWN:
            sets += f" | … {self.period} phases"
        period = len(self.offsets)
        left = "i" if period == 1 else f"{period}q+r"
        return f"{left} -> {self.advance}{'i' if period == 1 else 'q'}+{sets}"

    # ---------------------------------------------------------------- the algebra

    def then(self, inner: AxisMap[T]) -> AxisMap[S | T]:
        """This map (output → middle) followed by ``inner`` (middle → input)."""
        if self.is_identity:
            return inner
        if inner.is_identity:
            return self
        return cast("AxisMap[S | T]", _compose(self, inner))

    def union(self, other: AxisMap[T]) -> AxisMap[S | T] | None:
        """i ↦ R(i) ∪ S(i), or None where the rates differ: then no quasi-affine form exists.

        A map that reads nothing anywhere has no rate to differ: it adds nothing.

        >>> AxisMap.window(3, padding=1).union(AxisMap.window(1)) == AxisMap.window(3, padding=1)
        True
        >>> AxisMap.window(3, stride=2).union(AxisMap.window(3)) is None
        True
        """
        if self == other or not any(other.offsets):
            return self
        if not any(self.offsets):
            return other
        paired = self._beside(other)
        if paired is None:
            return None
        advance, mine, yours = paired
        return AxisMap(advance, tuple(map(or_, mine, yours)))

    def covers(self, other: AxisMap[T]) -> bool:
        """Whether S(i) ⊆ R(i) for every i in ℤ (R this map, S the other)."""
        if self is other:
            return True
        if self.advance == other.advance and len(self.offsets) == len(other.offsets):
            if len(self.offsets) == 1:
                return issubset(other.offsets[0], self.offsets[0])
            return all(map(issubset, other.offsets, self.offsets))
        paired = self._beside(other)
        if paired is None:
            return not any(other.offsets)
        _, mine, yours = paired
        return all(map(issubset, yours, mine))

    def _beside(self, other: AxisMap[T]) -> tuple[int, tuple[S, ...], tuple[T, ...]] | None:
        """An advance, and the offsets of both over the same phases; None where rates differ.

        What does not move when its lattices are moved by a turn goes at any rate that makes turns.
        """
        period = lcm(self.period, other.period)
        if self.rate == other.rate:
            return self.advance * (period // self.period), self.phases(period), other.phases(period)
        for still, moving in ((self, other), (other, self)):
            if turn := _turn(still.offsets):
                period *= turn // gcd(turn, moving.advance * (period // moving.period))
                advance = moving.advance * (period // moving.period)
                return advance, self.phases(period), other.phases(period)
        return None

    def phases(self, period: int) -> tuple[S, ...]:
        """The offset sets written with a multiple of the period."""
        turns = period // len(self.offsets)
        moved = [o.shift(k * self.advance) for k in range(turns) for o in self.offsets]
        return cast("tuple[S, ...]", tuple(moved))

    def pull(self, outputs: AnySet) -> S:
        """Everything that these outputs read: the union of R(i).

        >>> AxisMap.window(3, stride=2).pull(IndexSet.of([0, 2]))
        IndexSet{0..2, 4..6}
        """
        read: AnySet = EMPTY
        for turns, offset in zip(outputs.dealt(len(self.offsets)), self.offsets, strict=True):
            if turns:
                read = read | minkowski(turns.scale(self.advance), offset)
        return cast("S", read)

    def push(self, inputs: IndexSet, size: int) -> IndexSet:
        """The outputs in [0, size) that read at least one of these inputs: pull read backwards.

        >>> AxisMap.window(3, stride=2).push(IndexSet.of([2]), 9)
        IndexSet{0..1}
        """
        turns = [self._turns(inputs, offset, size) for offset in self.offsets]
        return turns[0].clip(size) if len(turns) == 1 else IndexSet.interleaved(turns, size)

    def _turns(self, inputs: IndexSet, offset: AnySet, size: int) -> IndexSet:
        """The q, of those that matter, for which q·advance + offset holds one of these inputs."""
        if self.advance == 0:
            return IndexSet.range(0, size) if inputs & offset else EMPTY
        starts = minkowski(inputs, offset.scale(-1))
        if self.advance < 0:
            starts = starts.scale(-1)
        return starts.quotients(abs(self.advance)).clip(size)

    def reach(self: AxisMap, size: int) -> range:
        """The least range that holds everything that outputs 0 … size − 1 read."""
        ends = []
        for phase, offset in enumerate(self.offsets[:size]):
            if offset:
                moved = (size - 1 - phase) // len(self.offsets) * self.advance
                ends += [offset.first + min(moved, 0), offset.last + max(moved, 0)]
        return range(min(ends), max(ends) + 1) if ends else range(0)

    def swept(self) -> AnySet:
        """The union over all outputs of an unbounded axis: what a global operation reads.

        >>> AxisMap.window(1, stride=2).swept()
        Tailed{… by 2…}
        """
        union: AnySet = reduce(or_, self.offsets)
        if self.advance == 0 or not union:
            return union
        turns = lattice(Lattice(abs(self.advance), IndexSet(0, 1)))
        return minkowski(union, turns)


@lru_cache(maxsize=1 << 16)
def _compose(outer: AxisMap[AnySet], inner: AxisMap[AnySet]) -> AxisMap[AnySet]:
    period, step = len(inner.offsets), outer.advance
    turns = period // gcd(step, period)
    return AxisMap(
        step * turns // period * inner.advance,
        tuple(
            _read(inner, offset.shift(turn * step))
            for turn in range(turns)
            for offset in outer.offsets
        ),
    )


def _read(inner: AxisMap[AnySet], middle: AnySet) -> AnySet:
    """``inner.pull``, quicker where the indices are no more than the phases, or few."""
    period, advance, offsets = len(inner.offsets), inner.advance, inner.offsets
    if isinstance(middle, Tailed) or middle.count > 8 * max(4, period):
        return inner.pull(middle)
    if inner.bounded is None:
        return reduce(or_, {inner(index) for index in middle}, EMPTY)
    parts = []
    for index in middle:
        quotient, phase = divmod(index, period)
        offset = cast("IndexSet", offsets[phase])
        if offset.bits:
            parts.append((offset.base + quotient * advance, offset.bits))
    if not parts:
        return EMPTY
    low = min(base for base, _ in parts)
    bits = 0
    for base, part in parts:
        bits |= part << (base - low)
    return IndexSet(low, bits)


def _turn(offsets: Sequence[AnySet]) -> int:
    """The move that leaves all of them as they are, where all are lattices; else 0."""
    turn = 1
    for offset in offsets:
        if offset and not (isinstance(offset, Tailed) and offset.is_lattice):
            return 0
        turn = lcm(turn, offset.left.modulus) if isinstance(offset, Tailed) else turn
    return turn


def _least_period(advance: int, offsets: tuple[S, ...]) -> tuple[int, tuple[S, ...]]:
    total = len(offsets)
    for period in range(1, total):
        if total % period or advance * period % total:
            continue
        step = advance * period // total
        if all(offsets[r + period] == offsets[r].shift(step) for r in range(total - period)):
            return step, tuple(offsets[:period])
    return advance, tuple(offsets)


_SHOWN = 32
"""So many phases stand in a repr."""
_ZERO = IndexSet(0, 1)
IDENTITY = AxisMap(1, (_ZERO,))
FULL = AxisMap(0, (EVERYWHERE,))
"""Every output reads the whole axis."""
