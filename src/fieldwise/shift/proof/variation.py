"""Whether a constant varies along what moves: by its values, digit by digit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import gcd, lcm

import numpy as np

from fieldwise.axes import IndexSet
from fieldwise.graph.constants import Constant
from fieldwise.graph.tensors import Values
from fieldwise.shift.proof.frame import Frame
from fieldwise.shift.proof.layout import Dim, Layout, movers_of, period_of
from fieldwise.shift.proof.signal import (
    BreaksError,
    DigitGroup,
    Fault,
    Moving,
    Same,
    Still,
    length,
    with_faults,
)


def against(frame: Frame, layout: Layout, known: Constant, fault: Fault) -> Layout:
    """The layout after an op that combines it with a constant, of its rank or less.

    Steps are coarsened to those under which the constant repeats; where the window is not whole,
    it shrinks to where the constant is uniform.  Raises BreaksError, with the fault, where nothing
    is left.
    """
    known = known.of_rank(len(layout))
    found = [dim if known.uniform_along(d) else _varied(dim) for d, dim in enumerate(layout)]
    varying = [d for d, size in enumerate(known.shape) if size > 1 and any(movers_of(found[d]))]
    if all(known.uniform_along(d) for d in varying):
        return tuple(found)
    if known.values is None:
        raise BreaksError(fault)
    period = lcm(frame.period, period_of(tuple(found)))
    for places in product(*(_parts(found[d]) for d in varying)):
        parts = [found[d][number] for d, (number, _, _) in zip(varying, places, strict=True)]
        if not any(movers_of(tuple(parts))):
            continue
        block = known.values
        for d, (_, start, stop) in zip(varying, places, strict=True):
            block = block.take(range(start, stop), d)
        new = _parts_against(
            parts, _by_digits(block, varying, parts), period, frame.axis_size, fault
        )
        for d, (number, _, _), part in zip(varying, places, new, strict=True):
            found[d] = (*found[d][:number], part, *found[d][number + 1 :])
    return tuple(found)


def _varied(dim: Dim) -> Dim:
    """A dimension along which nothing is the same everywhere any more."""
    return tuple(
        tuple(Still(digit.size) if isinstance(digit, Same) else digit for digit in part)
        for part in dim
    )


def _parts(dim: Dim) -> Iterator[tuple[int, int, int]]:
    """Per part its number and where it stands."""
    place = 0
    for number, part in enumerate(dim):
        yield number, place, place + length(part)
        place += length(part)


def _by_digits(block: Values, varying: Sequence[int], parts: Sequence[DigitGroup]) -> Values:
    """One axis per digit of the parts, in order, then one for all the rest."""
    rest = np.moveaxis(block, varying, range(len(varying)))
    return rest.reshape([*(digit.size for part in parts for digit in part), -1])


def _parts_against(
    parts: Sequence[DigitGroup], block: Values, period: int, axis_size: int, fault: Fault
) -> list[DigitGroup]:
    digits = [digit for part in parts for digit in part]
    moving = {n: digit for n, digit in enumerate(digits) if isinstance(digit, Moving)}
    if all(digit.whole for digit in moving.values()):
        times = _least_turns(block, moving, period, axis_size)
        if times is None:
            raise BreaksError(fault)
        new = {
            n: replace(digit, grain=lcm(digit.grain, abs(digit.step(period)) * times))
            for n, digit in moving.items()
        }
    elif len(moving) == 1:
        ((n, digit),) = moving.items()
        lines = np.moveaxis(block, n, 0).reshape(digit.size, -1)
        new = {n: _narrowed(digit, lines, period, fault)}
    else:
        raise BreaksError(fault)
    flat = iter([new.get(n, digit) for n, digit in enumerate(digits)])
    return [tuple(next(flat) for _ in part) for part in parts]


def _least_turns(
    block: Values, moving: Mapping[int, Moving], period: int, axis_size: int
) -> int | None:
    """After how many steps the block is what it was; None where only after a full turn."""
    steps = {n: digit.step(period) for n, digit in moving.items()}
    order = lcm(*(digit.size // gcd(digit.size, steps[n]) for n, digit in moving.items()))
    for times in range(1, order):
        if order % times == 0 and times * period < axis_size:
            rolled = np.roll(block, [times * step for step in steps.values()], list(steps))
            if np.array_equal(rolled, block):
                return times
    return None


def _narrowed(digit: Moving, lines: Values, period: int, fault: Fault) -> Moving:
    """A window that is not whole, where a constant repeats with its steps, or is uniform."""
    step = abs(digit.step(period))
    for by in range(step, digit.size // 2 + 1, step):
        if np.array_equal(lines[by:], lines[:-by]):
            turn = None if digit.turn is None else lcm(digit.turn, by)
            new = replace(digit, grain=lcm(digit.grain, by), turn=turn)
            return with_faults(new, (digit,), lambda *_: fault)
    equal = (lines[1:] == lines[:-1]).all(axis=1)
    start, best = 0, range(0)
    for stop in range(1, digit.size + 1):
        if stop == digit.size or not equal[stop - 1]:
            best = max(best, range(start, stop), key=len)
            start = stop
    clean = digit.clean & IndexSet.range(best.start, best.stop)
    if len(best) <= step or not clean:
        raise BreaksError(fault)
    return with_faults(replace(digit, clean=clean), (digit,), lambda *_: fault)
