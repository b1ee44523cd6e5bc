"""From what the sweeps know of a value to what its certificate says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import gcd

from fieldwise.axes import IndexSet
from fieldwise.shift.certificate import AxisCertificate, Breaker, Circular, Interior, Move
from fieldwise.shift.proof.layout import Layout, has_spectrum, movers
from fieldwise.shift.proof.signal import Fault, Moving, length
from fieldwise.shift.proof.states import Follows, Lost, ProofState

_FITS = "no circular padding is larger than the axis that it pads"


def axis_certificate(
    axis: int, size: int, circular: ProofState, interior: ProofState, *, value: str, refuted: bool
) -> AxisCertificate:
    """The certificate of one axis of the input, of ``size``, from the ends of both sweeps.

    value:   whose certificate it is, which is what breaks it where no node did
    refuted: whether numbers show that the circular theorem is not broken, whatever is in the way
    """
    faults = tuple(dict.fromkeys(_faults(circular)))
    if refuted:
        faults = tuple(dict.fromkeys(replace(fault, known=False) for fault in faults))
    inside = _interior(interior)
    return AxisCertificate(
        axis=axis,
        size=size,
        circular=_broken(faults) if faults else _circular(circular, size),
        interior=inside,
        broken_by=_breakers(faults, axis, value),
        emptied_by=_breakers(_faults(interior), axis, value) if inside.empty else (),
    )


def is_claimed(state: ProofState) -> bool:
    """Whether a value would be called broken."""
    return any(fault.known for fault in _faults(state))


def _breakers(faults: Sequence[Fault], axis: int, value: str) -> tuple[Breaker, ...]:
    return tuple(
        Breaker(fault.node or value, fault.module, axis, fault.why, fault.remedy, fault.known)
        for fault in dict.fromkeys(faults)
    )


def _faults(state: ProofState) -> tuple[Fault, ...]:
    if isinstance(state, Lost):
        return state.faults
    if any(map(has_spectrum, state.layout)):
        return (Fault("it is a spectrum, which turns its phases instead of moving"),)
    return tuple(fault for moving in movers(state.layout) for _, fault in moving.faults)


def _broken(faults: Sequence[Fault]) -> Circular:
    return Circular(holds=False, undecided=not any(fault.known for fault in faults))


def _circular(state: ProofState, size: int) -> Circular:
    assert isinstance(state, Follows)
    period = gcd(state.period, size)
    found = tuple(
        replace(move, step=_step(state.period, moving, period, size))
        for move, moving in _moves(state.layout, state.period)
    )
    steps = {move.step * move.inner for move in found}
    sizes = (f"the size of the axis is a multiple of {period}",) if period > 1 else ()
    conditions = (*sizes, _FITS) if state.wraps else sizes
    step = next(iter(steps), 0) if len(steps) < 2 else None
    return Circular(True, period, step, conditions, found)


def _step(proven: int, moving: Moving, period: int, size: int) -> int:
    """The step at the common divisor of the proven period and the size of the axis.

    Multiples of the proven period reach it after some turns of the axis.
    """
    assert moving.turn is not None
    natural = moving.rate * period
    if natural.denominator == 1 and moving.rate * size % moving.turn == 0:
        return int(natural)
    times = next(k for k in range(1, size + 1) if (k * proven - period) % size == 0)
    step = times * moving.step(proven) % moving.turn
    return step if 2 * step <= moving.turn else step - moving.turn


def _interior(state: ProofState) -> Interior:
    if isinstance(state, Lost):
        return Interior()
    found = tuple(_moves(state.layout, state.period))
    ranges = [(_range(move, moving.clean), move) for move, moving in found if moving.clean]
    if not ranges:
        return Interior()
    best, move = max(ranges, key=lambda pair: pair[0][1] - pair[0][0])
    beside = (other for other, _ in found if (other.dim, other.start) == (move.dim, move.start))
    steps = {other.step * other.inner for other in beside}
    step = next(iter(steps)) if len(steps) == 1 else None
    return Interior(best, state.period, step, tuple(other for other, _ in found))


def clean_length(state: Follows) -> int:
    """The number of positions in the longest run that holds the signal."""
    found = (
        _range(move, moving.clean)
        for move, moving in _moves(state.layout, state.period)
        if moving.clean
    )
    return max((stop - start for start, stop in found), default=0)


def _range(move: Move, clean: IndexSet) -> tuple[int, int]:
    """The longest run of clean positions, as [start, stop)."""
    first, last = max(clean.runs(), key=lambda run: run[1] - run[0])
    start = move.start if move.outer == 1 else 0
    return start + first * move.inner, start + last * move.inner


def _moves(layout: Layout, period: int) -> Iterator[tuple[Move, Moving]]:
    for dim, parts in enumerate(layout):
        start = 0
        for part in parts:
            stop = start + length(part)
            for place, digit in enumerate(part):
                if isinstance(digit, Moving):
                    outer, inner = length(part[:place]), length(part[place + 1 :])
                    step = digit.step(period)
                    yield Move(dim, start, stop, outer, digit.size, inner, step), digit
            start = stop
