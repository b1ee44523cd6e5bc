"""How long an output row of live data has to wait for later samples."""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction
from math import ceil, lcm

from fieldwise.tile.bands.schedule import Schedule, Wiring

_MOST_ROWS = 512


def latency(wiring: Wiring, value: int) -> int:
    """The most samples after sample ⌊r·rate⌋, its own first one, that row r of a value waits for.

    That is the right half of its receptive field, with what strides and mirrored starts wait for;
    0 for a causal network without strides.
    """
    return max(waits(wiring, value))


def waits(wiring: Wiring, value: int) -> tuple[int, int]:
    """The same at the start, over one period of the network, and over one far from it.

    At the start a row may wait for longer: for what is mirrored there.
    """
    per_sample = rates(wiring)[value]
    rows = min(max(ceil(period(wiring) * per_sample), 1), _MOST_ROWS)
    first = _needed(wiring, value, 0)
    far = (ceil(2 * first * per_sample) // rows + 1) * rows
    at_start = _longest(wiring, value, 0, rows)
    size = wiring.rows[value]
    if size is not None and size <= far:
        return at_start, at_start
    return at_start, _longest(wiring, value, far, far + rows)


def _longest(wiring: Wiring, value: int, start: int, stop: int) -> int:
    """The longest that one of these rows waits; those that come together wait for the same."""
    per_sample = rates(wiring)[value]
    stop = min(stop, wiring.rows[value] or stop)
    longest = 0
    while start < stop:
        samples = _needed(wiring, value, start)
        longest = max(longest, samples - 1 - int(start / per_sample))
        start = max(Schedule(wiring).ready([samples])[value], start + 1)
    return longest


def pushes_to_settle(wiring: Wiring, chunk: int) -> int:
    """After how many chunks what is kept of windows is all that will be.

    That is once rows come out, and once the widest window is full.
    """
    waiting = max((latency(wiring, value) for value in wiring.outputs), default=0)
    per_sample = rates(wiring)
    reads = (one for op in wiring.ops for one in op.operands)
    windows = (
        (reach.stop(0) - reach.first(0)) / per_sample[value]
        for value, reach in reads
        if not reach.grows and per_sample[value]
    )
    return 4 + 4 * (waiting // chunk + 1) + ceil(max(windows, default=0) / chunk)


def period(wiring: Wiring) -> int:
    """After how many input samples every value has a whole number of rows: the total stride."""
    return lcm(*(rate.denominator for rate in rates(wiring)))


def _needed(wiring: Wiring, value: int, row: int) -> int:
    """How many samples must be there before a row can be given."""
    schedule = Schedule(wiring)
    size = wiring.rows[wiring.inputs[0]]

    def given(samples: int) -> bool:
        return schedule.ready([samples])[value] > row

    most = 1
    while not given(most) and (size is None or most < size):
        most = 2 * most if size is None else min(2 * most, size)
    return bisect_left(range(most + 1), True, key=given)


def rates(wiring: Wiring) -> list[Fraction]:
    """Rows of each value per input sample."""
    found = [Fraction(1)] * len(wiring.rows)
    for op in wiring.ops:
        value, reach = op.operands[0]
        for result in op.results:
            if reach.advance > 0:
                found[result] = found[value] * Fraction(len(reach.stops), reach.advance)
            else:
                found[result] = found[value] * Fraction(reach.count or 1, reach.size or 1)
    return found
