"""Windows cut, met and put side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import lcm

from fieldwise.axes import AxisMap, Border
from fieldwise.shift.proof.signal import (
    BreaksError,
    DigitGroup,
    Explain,
    Fault,
    Moving,
    Same,
    SignalDigit,
    Still,
    length,
    stretched,
    with_faults,
)
from fieldwise.shift.proof.spectrum import Spectrum


def resized(digit: SignalDigit, start: int, stop: int, explain: Explain) -> SignalDigit:
    """The positions [start, stop) of a digit."""
    if (start, stop) == (0, digit.size):
        return digit
    if isinstance(digit, Spectrum):
        return digit.picked(range(start, stop))
    if not isinstance(digit, Moving):
        return replace(digit, size=stop - start)
    return stretched(
        digit, AxisMap.affine(1, start), Border.DROP, stop - start, digit.origin, explain
    )


def combined_window(one: Moving, two: Moving, name: tuple[object, ...], explain: Explain) -> Moving:
    """What an element-wise op makes of two windows.

    Raises BreaksError where they move at different rates for good.
    """
    if one == two:
        return one
    turn = None if one.turn is None or two.turn is None else lcm(one.turn, two.turn)
    ratio = two.rate / one.rate
    grain = lcm(one.grain, (ratio / two.grain).denominator)
    if ratio != 1:
        if not (one.whole and two.whole):
            raise BreaksError(_unlike(one, two), *(f for m in (one, two) for _, f in m.faults))
        grain = lcm(grain, ((1 - ratio) / one.size).denominator)
    new = Moving(one.size, one.rate, turn, one.clean & two.clean, name, grain=grain)
    joined = with_faults(new, (one, two), explain)
    return doubted(joined) if joined.conditions == ("short",) and _folds(one, two) else joined


def doubted(moving: Moving) -> Moving:
    """A window that is not whole, of which nobody has looked whether what is left repeats."""
    faults = tuple((condition, replace(fault, known=False)) for condition, fault in moving.faults)
    return replace(moving, faults=faults)


def _folds(one: Moving, two: Moving) -> bool:
    """Whether the axis may be folded: pieces of equal size of one signal, or of what was."""
    if any(not fault.known for moving in (one, two) for _, fault in moving.faults):
        return True
    if one.turn is None or one.origin != two.origin or one.turn % one.size:
        return False
    apart = (two.at - one.at) % one.turn
    return apart > 0 and apart % one.size == 0


def _unlike(one: Moving, two: Moving) -> Fault:
    return Fault(
        f"it joins signals that move by {one.rate} and by {two.rate} per sample",
        "give both branches the same stride and direction",
    )


def side_by_side(parts: Iterable[DigitGroup], explain: Explain) -> tuple[DigitGroup, ...]:
    """Neighbours that are pieces of one signal, or that all stay, become one.

    Whether pieces of several signals make one that repeats, as tiles that are worked on one by one
    do, is not looked into.
    """
    joined: list[DigitGroup] = []
    for part in parts:
        if joined and (one := _continued(joined[-1], part, explain)) is not None:
            joined[-1] = one
        else:
            joined.append(part)
    leads = [part[0] for part in joined]
    if sum(isinstance(lead, Moving) and "short" in lead.conditions for lead in leads) < 2:
        return tuple(joined)
    return tuple(
        (doubted(lead) if isinstance(lead, Moving) else lead, *part[1:])
        for lead, part in zip(leads, joined, strict=True)
    )


def _continued(left: DigitGroup, right: DigitGroup, explain: Explain) -> DigitGroup | None:
    """Two neighbours as one part; None where they are none."""
    one, two = left[0], right[0]
    if isinstance(one, Moving) and isinstance(two, Moving):
        gap = two.at - one.at - one.size
        same = (one.origin, one.rate, one.turn) == (two.origin, two.rate, two.turn)
        if left[1:] != right[1:] or not same or (gap if one.turn is None else gap % one.turn):
            return None
        clean = one.clean | two.clean.shift(one.size)
        grain = lcm(one.grain, two.grain)
        new = replace(one, size=one.size + two.size, clean=clean, grain=grain)
        return (with_faults(new, (one, two), explain), *left[1:])
    if any(isinstance(digit, Moving | Spectrum) for digit in (*left, *right)):
        return _rows(left, right, explain)
    if isinstance(one, Same) or isinstance(two, Same):
        return None
    return (Still(length(left) + length(right)),)


def _rows(left: DigitGroup, right: DigitGroup, explain: Explain) -> DigitGroup | None:
    """Rows of which each moves alike, further rows of the same kind below them."""
    if isinstance(left[0], Moving | Spectrum) or isinstance(right[0], Moving | Spectrum):
        return None
    if [digit.size for digit in left[1:]] != [digit.size for digit in right[1:]]:
        return None
    size, tail = left[0].size + right[0].size, list[SignalDigit]()
    for one, two in zip(left[1:], right[1:], strict=True):
        if isinstance(one, Moving) and isinstance(two, Moving) and one.rate == two.rate:
            name = ("rows", left[0].size, one.origin, two.origin, two.at - one.at)
            tail.append(
                one if one == two else replace(combined_window(one, two, name, explain), at=one.at)
            )
        elif any(isinstance(digit, Moving | Spectrum) for digit in (one, two)):
            return None
        else:
            tail.append(Still(one.size))
    return (Still(size), *tail)
