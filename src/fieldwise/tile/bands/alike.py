"""How many steps of a run are like the last ones, each some rows further: integers only.

What a step does follows from where it stands, and that by maps which are periodic away from the
ends.  So where two turns of steps in a row did the same, and reach no end, the next ones do it too.
A turn is as many steps as make whole rows of every value: one, unless bands are narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

from fieldwise.tile.bands.input_rows import shared_rows
from fieldwise.tile.bands.latency import period
from fieldwise.tile.bands.program import Program

Stand = Sequence[Sequence[int]]
"""Rows of each value, in any number of lists: how many are done, which are held, and so on."""


class AlikeSteps:
    """Looks for steps that are alike in a run that is gone through once."""

    def __init__(self, program: Program, band: int) -> None:
        self._program, self._sizes = program, [value.rows or 0 for value in program.values]
        inputs = program.wiring.inputs
        longest = max([1, *(self._sizes[value] for value in inputs)])
        band = program.scaled(band)
        rows = [Fraction(band * self._sizes[value], longest) for value in inputs]
        turns = [Fraction(band, period(program.wiring)).denominator]
        self._turn = lcm(*turns, *(gain.denominator for gain in rows))
        self._gains = {v: self._turn * gain for v, gain in zip(inputs, rows, strict=True)}
        maps = [one for op in program.wiring.ops for one in op.operands]
        self._may = self._turn <= _LONGEST and all(reach.advance > 0 for _, reach in maps)
        self._band, self._taken = self._turn * band, 0
        self._before, self._shifts = tuple[Sequence[int], ...](), list[int]()
        self._spare = list[int]()

    def shift(self, stand: Stand, spare: Sequence[int] = ()) -> tuple[int, int, list[int]]:
        """After a step: how many more do in turn as the last few did, how many those are, and by
        how many rows each turn moves every value.

        stand: where the run stands now, the rows that are done first; spare: what has to be the
               same, of each value
        """
        self._taken += 1
        if not self._may or self._taken % self._turn:
            return _NONE
        before, shifts, same = self._before, self._shifts, self._spare == list(spare)
        self._spare = list(spare)
        self._before = tuple(tuple(rows) for rows in stand)
        if not before:
            return _NONE
        self._shifts = [now - then for now, then in zip(stand[0], before[0], strict=True)]
        moved = all(
            [now - then for now, then in zip(rows, earlier, strict=True)] == self._shifts
            for rows, earlier in zip(stand, before, strict=True)
        )
        if not moved or not same or shifts != self._shifts or not self._is_interior(before[0]):
            return _NONE
        self._may = False
        return self._room(stand[0]), self._turn, self._shifts

    def _is_interior(self, done: Sequence[int]) -> bool:
        """Whether a turn from there moves every value by its map, and reads nothing before it."""
        shifts = self._shifts
        gained = all(shifts[value] == gain for value, gain in self._gains.items())
        return gained and all(
            shifts[op.results[0]] > 0
            and shifts[op.results[0]] % len(reach.stops) == 0
            and shifts[op.results[0]] // len(reach.stops) * reach.advance == shifts[value]
            and reach.raw(done[op.results[0]], done[op.results[0]] + 1)[0] >= 0
            for op in self._program.wiring.ops
            for value, reach in op.operands
        )

    def _room(self, done: Sequence[int]) -> int:
        """Turns until one may look at an end, with some to spare."""
        ahead = 2 * -(-shared_rows(self._program) // self._band) + _SPARE
        turns = (
            (size - now) // shift
            for size, now, shift in zip(self._sizes, done, self._shifts, strict=True)
            if shift
        )
        return max(min(turns, default=0) - ahead, 0)


_NONE: tuple[int, int, list[int]] = (0, 0, [])
_SPARE = 4
_LONGEST = 64
"""Steps of a turn, at most."""
