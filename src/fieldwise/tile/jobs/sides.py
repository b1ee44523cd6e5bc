"""The sides of tiles and strips that nobody has asked for: on the grid, and as files take them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm


@dataclass(frozen=True, slots=True)
class PieceSides:
    """The sides that there may be along one axis of the input.

    least: of which all are multiples
    even:  of which those are multiples that are as wide: results lie in steps of 16 then
    """

    least: int
    even: int

    @classmethod
    def of(cls, grid: int, scales: Iterable[Fraction], multiple: int = 1) -> PieceSides:
        """Those of a network with this grid, whose outputs have so many positions per sample.

        multiple: positions of which the sides of blocks are multiples in the files of the results

        >>> PieceSides.of(3, [Fraction(1, 3)]), PieceSides.of(32, [Fraction(1)])
        (PieceSides(least=3, even=48), PieceSides(least=32, even=32))
        >>> PieceSides.of(64, [Fraction(1, 64), Fraction(1, 8)], 16)
        PieceSides(least=1024, even=1024)
        """
        counts = [int(grid * scale) for scale in scales]

        def in_steps_of(positions: int) -> int:
            return grid * lcm(*(positions // gcd(count, positions) for count in counts))

        return cls(in_steps_of(multiple), in_steps_of(lcm(multiple, _EVEN)))

    def below(self, side: int) -> int:
        """The widest up to a side; the least where that is wider.

        >>> sides = PieceSides(3, 48)
        >>> sides.below(512), sides.below(40), sides.below(2)
        (480, 39, 3)
        """
        step = self.even if side >= self.even else self.least
        return max(side // step * step, self.least)

    def halves(self, size: int) -> Iterator[int]:
        """Widths of at least two strips, each about half as wide as the one before.

        >>> list(PieceSides(3, 48).halves(96)), list(PieceSides(16, 256).halves(4000))[:3]
        ([48, 24, 12, 6, 3], [1792, 768, 256])
        >>> list(PieceSides(16, 16).halves(30)), list(PieceSides(16, 16).halves(16))
        ([16], [])
        """
        side = max(size // 2, self.least)
        while self.least <= side < size:
            side = self.below(side)
            yield side
            side //= 2


_EVEN = 16
"""Positions of which the sides of a TIFF file's tiles are multiples."""
