"""Sets of integers that never end: all of the past, every other index, everything from here on.

A recurrent layer reads all that came before; behind ``x[::2]`` it reads every other index of it,
and a convolution in between leaves a few indices near the end that follow no pattern.  Such a set
is a finite *window* with a *tail* on either side, and a tail is a part of a lattice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import lcm
from operator import and_, or_, sub

from fieldwise.axes.index_set import EMPTY, IndexSet
from fieldwise.axes.lattice import ALL, NONE, Lattice


@dataclass(frozen=True, slots=True)
class Tailed:
    """``left`` below ``low``, ``window`` in [low, high), ``right`` from ``high`` on.

    Made by :func:`tailed`, which brings a set to the one form that equal sets share and makes an
    :class:`IndexSet` of one without tails.

    >>> past = until(2)
    >>> past, 2 in past, 3 in past
    (Tailed{…2}, True, False)
    >>> every_other = past.scale(2) | IndexSet.of([5, 9])
    >>> every_other, every_other.clip(10)
    (Tailed{…4 by 2, 5, 9}, IndexSet{0, 2, 4..5, 9})
    """

    left: Lattice
    low: int
    window: IndexSet
    high: int
    right: Lattice

    # ---------------------------------------------------------------- looking at it

    @property
    def is_lattice(self) -> bool:
        """Whether it has no end on either side and no exception in between."""
        return self.left == self.right and self.low == self.high

    def __contains__(self, index: int) -> bool:
        if index < self.low:
            return index in self.left
        return index in self.right if index >= self.high else index in self.window

    def __bool__(self) -> bool:
        return True

    @property
    def first(self) -> int | None:
        """The least index; None where there is none."""
        if self.left:
            return None
        return self.window.first if self.window else _next(self.right, self.high)

    @property
    def last(self) -> int | None:
        """The greatest index; None where there is none."""
        if self.right:
            return None
        return self.window.last if self.window else -_next(self.left.scale(-1), 1 - self.low)

    def between(self, low: int, high: int) -> IndexSet:
        """Its indices in [low, high)."""
        before, after = min(high, self.low), max(low, self.high)
        tails = self.left.between(low, before) | self.right.between(after, high)
        return tails | self.window.between(low, high)

    def clip(self, size: int) -> IndexSet:
        """Its indices in [0, size)."""
        return self.between(0, size)

    def __repr__(self) -> str:
        return f"Tailed{self}"

    def __str__(self) -> str:
        return f"{{{_written(self)}}}"

    # ---------------------------------------------------------------- set algebra

    def __or__(self, other: AnySet) -> AnySet:
        return _combined(self, other, or_) if other else self

    __ror__ = __or__

    def __and__(self, other: AnySet) -> AnySet:
        return _combined(self, other, and_)

    __rand__ = __and__

    def __sub__(self, other: AnySet) -> AnySet:
        return _combined(self, other, sub)

    def __rsub__(self, other: AnySet) -> AnySet:
        return _combined(other, self, sub)

    # ---------------------------------------------------------------- moving it

    def shift(self, by: int) -> Tailed:
        """{i + by}."""
        if self.is_lattice:
            return lattice(self.left.shift(by))
        window, left, right = self.window.shift(by), self.left.shift(by), self.right.shift(by)
        return Tailed(left, self.low + by, window, self.high + by, right)

    def scale(self, factor: int) -> AnySet:
        """{factor · i}, any integer factor.

        >>> until(0).scale(-3)
        Tailed{0… by 3}
        """
        if factor == 0:
            return IndexSet(0, 1)
        left, right = self.left.scale(factor), self.right.scale(factor)
        window = self.window.scale(factor)
        low, high = self.low * factor, self.high * factor
        if factor < 0:
            left, right, low, high = right, left, high + 1, low + 1
        return tailed(left, low, window, high, right)

    def quotients(self, step: int, remainder: int = 0) -> AnySet:
        """{q : q · step + remainder is in the set}, step positive.

        >>> until(7).quotients(3)
        Tailed{…2}
        """
        low, high = (-((remainder - end) // step) for end in (self.low, self.high))
        left, right = (tail.quotients(step, remainder) for tail in (self.left, self.right))
        return tailed(left, low, self.window.quotients(step, remainder), high, right)

    def dealt(self, step: int) -> tuple[AnySet, ...]:
        """``quotients(step, r)`` for every remainder r."""
        return tuple(self.quotients(step, remainder) for remainder in range(step))

    def modulo(self, size: int) -> IndexSet:
        """{i mod size}, size positive."""
        turn = Lattice(size, IndexSet(0, 1))
        tails = self.left.plus(turn).between(0, size) | self.right.plus(turn).between(0, size)
        return self.window.modulo(size) | tails


AnySet = IndexSet | Tailed
"""A set of integers, finite or not."""

_Operation = Callable[[IndexSet, IndexSet], IndexSet]


# -------------------------------------------------------------------- making one


def tailed(left: Lattice, low: int, window: IndexSet, high: int, right: Lattice) -> AnySet:
    """The set that these make, in the one form that equal sets share.

    ``low`` is as great as the left tail allows, then ``high`` as small as the right one allows; a
    lattice is cut at 0.
    """
    if not left and not right:
        return window
    high = max(low, high)
    top = high + lcm(left.modulus, right.modulus)
    inner = window | right.between(high, top)
    differing = inner ^ left.between(low, top)
    if not differing:
        return lattice(left)
    low = differing.first
    inner = inner.between(low, top)
    differing = inner ^ right.between(low, top)
    high = differing.last + 1 if differing else low
    return Tailed(left, low, inner.between(low, high), high, right)


def until(last: int) -> Tailed:
    """Every index up to ``last``: what a causal layer without a bound reads.

    >>> until(-1).clip(5)
    IndexSet{}
    """
    return Tailed(ALL, last + 1, EMPTY, last + 1, NONE)


def since(first: int) -> Tailed:
    """Every index from ``first`` on.

    >>> since(3).clip(5)
    IndexSet{3..4}
    """
    return Tailed(NONE, first, EMPTY, first, ALL)


def lattice(indices: Lattice) -> Tailed:
    """Every index of a lattice that is not empty."""
    return Tailed(indices, 0, EMPTY, 0, indices)


# -------------------------------------------------------------------- two sets


def minkowski(one: AnySet, two: AnySet) -> AnySet:
    """{a + b : a in the one, b in the other}.

    >>> minkowski(until(0), IndexSet.of([0, 3]))
    Tailed{…3}
    >>> minkowski(until(0).scale(4), until(0).scale(6))
    Tailed{…-4 by 2, 0}
    """
    if isinstance(one, IndexSet) and isinstance(two, IndexSet):
        return one.minkowski(two)
    sums = [_sum(mine, yours) for mine in _parts(one) for yours in _parts(two)]
    return reduce(or_, sums) if sums else EMPTY


def issubset(one: AnySet, two: AnySet) -> bool:
    """Whether every index of the one is in the other.

    >>> issubset(until(3).scale(2), until(6)), issubset(until(6), until(3).scale(2))
    (True, False)
    """
    if isinstance(one, IndexSet) and isinstance(two, IndexSet):
        return one.issubset(two)
    return not one - two


def _parts(whole: AnySet) -> list[AnySet]:
    """A set as a union of its tails and its window; a lattice is one part."""
    if isinstance(whole, IndexSet):
        return [whole] if whole else []
    if whole.is_lattice:
        return [whole]
    parts: list[AnySet] = [whole.window] if whole.window else []
    if whole.left:
        parts.append(Tailed(whole.left, whole.low, EMPTY, whole.low, NONE))
    if whole.right:
        parts.append(Tailed(NONE, whole.high, EMPTY, whole.high, whole.right))
    return parts


def _sum(one: AnySet, two: AnySet) -> AnySet:
    """Of two parts: finite sets, tails alone, or lattices."""
    if isinstance(one, IndexSet):
        return one.minkowski(two) if isinstance(two, IndexSet) else _sum(two, one)
    tail = two if isinstance(two, IndexSet) else two.left or two.right
    if one.is_lattice or (isinstance(two, Tailed) and _both_ways(one, two)):
        return lattice((one.left or one.right).plus(tail))
    if one.right:
        return _sum_of_left(one.scale(-1), two.scale(-1)).scale(-1)
    return _sum_of_left(one, two)


def _both_ways(one: Tailed, two: Tailed) -> bool:
    """Whether these parts never end on either side together."""
    return two.is_lattice or bool(one.left) != bool(two.left)


def _sum_of_left(one: AnySet, two: AnySet) -> AnySet:
    """Of a left tail and another one, or a finite set; what is regular begins a period below."""
    assert isinstance(one, Tailed)
    if isinstance(two, IndexSet):
        tail, near = one.left.plus(two), two
        low, high = one.low + two.first, one.low + two.last
    else:
        tail, high = one.left.plus(two.left), one.low + two.low - 1
        low = high - 2 * lcm(one.left.modulus, two.left.modulus)
        near = two.between(low - one.low, two.low)
    far = one.between(low - near.last, one.low)
    return tailed(tail, low, far.minkowski(near).between(low, high), high, NONE)


def _combined(one: AnySet, two: AnySet, how: _Operation) -> AnySet:
    parts = [part for part in (one, two) if part]
    low = min(p.low if isinstance(p, Tailed) else p.first for p in parts)
    high = max(p.high if isinstance(p, Tailed) else p.last + 1 for p in parts)
    tails = [(p.left, p.right) if isinstance(p, Tailed) else (NONE, NONE) for p in (one, two)]
    left, right = (mine.combined(yours, how) for mine, yours in zip(*tails, strict=True))
    return tailed(left, low, how(one.between(low, high), two.between(low, high)), high, right)


def _written(whole: Tailed) -> str:
    if whole.is_lattice:
        return f"…{_step(whole.left)}…"
    parts = []
    if whole.left:
        parts.append(f"…{-_next(whole.left.scale(-1), 1 - whole.low)}{_step(whole.left)}")
    if whole.window:
        parts.append(repr(whole.window)[len("IndexSet{") : -1])
    if whole.right:
        parts.append(f"{_next(whole.right, whole.high)}…{_step(whole.right)}")
    return ", ".join(parts)


def _step(tail: Lattice) -> str:
    """What a tail leaves out."""
    if tail.residues.count == 1:
        return f" by {tail.modulus}" if tail.modulus > 1 else ""
    return f" {repr(tail.residues)[len('IndexSet') :]} mod {tail.modulus}"


def _next(tail: Lattice, start: int) -> int:
    """The first index of a lattice from ``start`` on."""
    return tail.between(start, start + tail.modulus).first


EVERYWHERE = lattice(ALL)
"""All integers."""
