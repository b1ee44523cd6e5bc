"""What becomes of one digit of an index when the input is shifted: it moves, stays, or is uniform.

A *moving* digit is a window onto a signal: position i holds the signal's position ``at + i``, and
shifting the input by t samples moves the signal by ``rate · t`` positions.  In the circular
theorem the signal repeats after ``turn`` positions; in the interior theorem it is unbounded.  Some
positions may hold padding; ``clean`` lists those that hold the signal.  A convolution
that is padded, cropped and resampled is followed by following its window; only at an output, or
where an op reads the whole axis, must the window be ``whole``: clean, and a whole number of turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import gcd, prod
from typing import Literal

from fieldwise.axes import AxisMap, Border, IndexSet
from fieldwise.shift.proof.spectrum import Spectrum

Condition = Literal["dirty", "short", "long"]
"""Why a window is not whole: padding in it, less than a turn, or more than whole turns."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the proof ends, and what repairs it; ``node`` is filled in by the node it happens at.

    known:   False where the proof ends for want of knowledge, which proves nothing
    settled: whether what is broken has met weights of its own, so that no later sum, crop or fixed
             product brings it back
    """

    why: str
    remedy: str | None = None
    node: str = ""
    module: str = ""
    known: bool = True
    settled: bool = field(default=False, compare=False)


class BreaksError(Exception):
    """Nothing can be said any more of how a value moves; carries the faults."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(fault.why for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Same:
    """All positions of the digit hold the same."""

    size: int


@dataclass(frozen=True, slots=True)
class Still:
    """The positions differ, and a shift of the input moves none of them."""

    size: int


@dataclass(frozen=True, slots=True)
class Moving:
    """A window of ``size`` positions onto a moving signal (see the module).

    rate:   positions per input sample; negative after a flip
    grain:  only steps that are multiples of it are known to act like this
    turn:   after how many positions the signal repeats; None: never (the interior theorem)
    clean:  the positions that hold the signal
    origin: what the signal is called, so that pieces of one signal can be put together again
    faults: why it is not whole, per condition
    """

    size: int
    rate: Fraction
    turn: int | None
    clean: IndexSet
    origin: tuple[object, ...]
    at: int = 0
    grain: int = 1
    faults: tuple[tuple[Condition, Fault], ...] = field(default=(), compare=False)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What keeps it from being whole.

        >>> full = Moving(8, Fraction(1), 8, IndexSet.range(0, 8), ("x",))
        >>> full.conditions, replace(full, turn=16).conditions
        ((), ('short',))
        """
        found: list[Condition] = ["dirty"] if self.clean.count < self.size else []
        if self.turn is not None and self.size % self.turn:
            found.append("short" if self.size < self.turn else "long")
        return tuple(found)

    @property
    def whole(self) -> bool:
        """Whether shifting the input rolls this digit."""
        return self.turn is not None and not self.conditions

    @property
    def period(self) -> int:
        """The least shift of the input that moves it by a known step."""
        return self.rate.denominator * (self.grain // gcd(self.rate.numerator, self.grain))

    def step(self, period: int) -> int:
        """How far it moves when the input is shifted by ``period``, a multiple of its own."""
        return int(self.rate * period)


SignalDigit = Same | Still | Moving | Spectrum
DigitGroup = tuple[SignalDigit, ...]
Explain = Callable[[Condition, Moving], Fault]
"""Why a window fails a condition after an op."""


def with_faults(new: Moving, old: Iterable[Moving], explain: Explain) -> Moving:
    """The window with the faults of those it was made of, and a new one for a new condition.

    What becomes of a window that is not whole any more is no fault of what comes after: a new
    condition then has the faults that are there.
    """
    wanted = new.conditions
    inherited = dict.fromkeys(
        (condition, fault) for moving in old for condition, fault in moving.faults
    )
    faults = [(condition, fault) for condition, fault in inherited if condition in wanted]
    earlier = [fault for condition, fault in inherited if condition != "long"]
    known = {condition for condition, _ in faults}
    for condition in wanted:
        if condition not in known:
            reasons = earlier if condition != "long" else []
            faults += [(condition, fault) for fault in reasons or [explain(condition, new)]]
    return replace(new, faults=tuple(dict.fromkeys(faults)))


# -------------------------------------------------------------------- reading through a map


def stretched(
    moving: Moving,
    index: AxisMap,
    border: Border,
    after: int,
    name: tuple[object, ...],
    explain: Explain,
) -> Moving:
    """What a result of ``after`` positions that reads a window through a regular map is.

    ``name`` is what its signal is called, unless the map only moves the window.  Raises
    BreaksError where every position reads the same ones.

    >>> x = Moving(8, Fraction(1), 8, IndexSet.range(0, 8), ("x",))
    >>> conv = AxisMap.window(3, stride=2, padding=1)
    >>> y = stretched(x, conv, Border.DROP, 4, ("y",), lambda *_: Fault("zero padding"))
    >>> y.rate, y.turn, y.clean, y.faults[0][0]
    (Fraction(1, 2), 4, IndexSet{1..3}, 'dirty')
    """
    advance, period = index.advance, index.period
    if advance == 0:
        raise BreaksError(Fault("it reads fixed positions of the axis", "read all of them"))
    pure = abs(advance) == period == 1 and index.is_single
    turn = moving.turn
    clean, turns = _clean(moving, index, border, after)
    at = 0
    if pure and advance == 1:
        at = moving.at + index.offsets[0].first + turns * moving.size
        name = moving.origin
    new = Moving(
        size=after,
        rate=moving.rate * period / advance,
        turn=None if turn is None else period * turn // gcd(advance, turn),
        clean=clean,
        origin=name,
        at=at,
        grain=period * moving.grain // gcd(moving.grain, advance),
    )
    if border is Border.WRAP:
        moving = _wrapped(moving)
    return with_faults(new, (moving,), explain)


def _wrapped(moving: Moving) -> Moving:
    """Wrapping a window that is not whole spoils it, for the reasons that it is not whole."""
    spoiled: tuple[tuple[Condition, Fault], ...] = tuple(
        ("dirty", fault) for condition, fault in moving.faults if condition != "long"
    )
    return replace(moving, faults=(*moving.faults, *spoiled))


def _clean(moving: Moving, index: AxisMap, border: Border, after: int) -> tuple[IndexSet, int]:
    """The results all of whose reads are clean, and for WRAP by how many sizes these are moved."""
    everywhere = IndexSet.range(0, after)
    if border is not Border.WRAP:
        return everywhere - _dirty(moving, index, after), 0
    if moving.whole:
        return everywhere, 0
    reach = index.reach(after)
    found = (
        (everywhere - _dirty(moving, moved, after), turns)
        for turns in range(-(reach.stop // moving.size), -(reach.start // moving.size) + 1)
        for moved in (index.then(AxisMap.affine(1, turns * moving.size)),)
    )
    return max(found, key=lambda pair: (pair[0].count, -abs(pair[1])))


def _dirty(moving: Moving, index: AxisMap, after: int) -> IndexSet:
    """The results that read something that is not clean, or lies outside the window."""
    reach = index.reach(after)
    return index.push(IndexSet.range(reach.start, reach.stop) - moving.clean, after)


# -------------------------------------------------------------------- digits of digits


def cut(moving: Moving, tail: int, name: tuple[object, ...], explain: Explain) -> Moving:
    """The leading digit of a window cut into blocks of ``tail``; the digit within a block stays.

    >>> x = Moving(8, Fraction(1), 8, IndexSet.range(1, 8), ("x",))
    >>> cut(x, 2, ("y",), lambda *_: Fault("")).clean
    IndexSet{1..3}
    """
    blocks = AxisMap(tail, (IndexSet.range(0, tail),))
    return stretched(moving, blocks, Border.DROP, moving.size // tail, name, explain)


def merged(part: DigitGroup) -> SignalDigit | None:
    """The digits as one; None where what moves is not the leading one.

    >>> lead = Moving(4, Fraction(1, 2), 4, IndexSet.range(0, 4), ("x",))
    >>> merged((lead, Still(2))).rate
    Fraction(1, 1)
    """
    part = without_ones(part)
    if len(part) == 1:
        return part[0]
    size, tail = length(part), length(part[1:])
    moving = [digit for digit in part if isinstance(digit, Moving | Spectrum)]
    if not moving:
        uniform = all(isinstance(digit, Same) for digit in part)
        return Same(size) if uniform else Still(size)
    lead = part[0]
    if len(moving) > 1 or not isinstance(lead, Moving):
        return None
    return replace(
        lead,
        size=size,
        rate=lead.rate * tail,
        turn=None if lead.turn is None else lead.turn * tail,
        clean=lead.clean.scale(tail).minkowski(IndexSet.range(0, tail))
        if lead.clean
        else lead.clean,
        origin=(*lead.origin, part[1:]),
        at=lead.at * tail,
        grain=lead.grain * tail,
    )


def without_ones(part: DigitGroup) -> DigitGroup:
    """Without digits of size 1 that do not move; never empty."""
    kept = tuple(digit for digit in part if digit.size != 1 or isinstance(digit, Moving))
    return kept or (Same(1),)


def length(part: DigitGroup) -> int:
    """The number of positions of a group."""
    return prod(digit.size for digit in part)
