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
    0 for a causal network without strides.  It is measured at the start, and over one period of
    the network far from it.
    """
    found = rates(wiring)
    rows = min(max(ceil(period(wiring) * found[value]), 1), _MOST_ROWS)
    first = _needed(wiring, value, 0)
    far = (ceil(2 * first * found[value]) // rows + 1) * rows
    waits = (
        _needed(wiring, value, row) - 1 - int(row / found[value])
        for start in (0, far)
        for row in range(start, start + rows)
        if row < (wiring.rows[value] or row + 1)
    )
    return max(*waits, 0)


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
