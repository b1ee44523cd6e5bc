"""One digit of an index that counts frequencies: a shift of the input turns their phases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Frequencies of a signal of ``turn`` positions, from ``first`` on: a shift turns their phases.

    sign:  −1 where they are conjugated, and turn the other way
    order: where they stand in another order, the frequency at each position; None for a zero,
           which has any phase
    """

    size: int
    rate: Fraction
    turn: int
    first: int = 0
    sign: int = 1
    order: tuple[int | None, ...] | None = None

    def at(self, position: int) -> int | None:
        """The frequency at a position."""
        return self.first + position if self.order is None else self.order[position]

    @property
    def in_order(self) -> bool:
        """Whether position k holds frequency k."""
        return self.order is None and self.first % self.turn == 0

    def picked(self, positions: Sequence[int | None]) -> Spectrum:
        """The frequencies at these positions, in this order; zeros for None.

        Frequencies k and k + turn have the same phases, so what was rolled and rolled back, or
        mirrored twice, stands in its own order again.
        """
        found = tuple(
            self.at(position) if position is not None and 0 <= position < self.size else None
            for position in positions
        )
        known = ((place, k) for place, k in enumerate(found) if k is not None)
        place, k = next(known, (0, 0))
        first = (k - place) % self.turn
        plain = all(k is None or (k - place - first) % self.turn == 0
                    for place, k in enumerate(found))  # fmt: skip
        if plain:
            return replace(self, size=len(found), first=first, order=None)
        order = tuple(None if k is None else k % self.turn for k in found)
        return replace(self, size=len(found), first=0, order=order)
