"""Where the pixels of a map lie in the world: an affine map, tie points, and the keys of a CRS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

WorldAxis = tuple[Fraction, Fraction, Fraction]
"""A world coordinate per column, per row, and at the centre of the pixel in column 0 of row 0."""

TiePoint = tuple[Fraction, Fraction, Fraction, Fraction, Fraction, Fraction]
"""Column, row and layer of a pixel's centre, and its world coordinates x, y, z."""


@dataclass(frozen=True, slots=True)
class Georeference:
    """Where pixels lie in the world, counted from their centres, whatever a file counts from.

    x, y:   the affine map; None where there are tie points alone
    ties:   several points that are known (ground control points), where there is no affine map
    height: (step, origin) of layers, as a file says it
    areas:  whether a file counts from the corner of the first pixel (PixelIsArea), or from its
            centre (PixelIsPoint)
    keys:   numbers, and texts, that say what coordinates these are, as a file holds them
    """

    x: WorldAxis | None
    y: WorldAxis | None
    ties: tuple[TiePoint, ...] = ()
    height: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))
    areas: bool = True
    keys: tuple[int, ...] = ()
    doubles: tuple[float, ...] = ()
    text: str = ""

    def at(self, column: Fraction, row: Fraction) -> tuple[Fraction, Fraction] | None:
        """The world coordinates of a point, counted in pixels from the centre of the first.

        >>> half = Fraction(1, 2)
        >>> north_up = Georeference((Fraction(2), Fraction(0), Fraction(100)),
        ...                         (Fraction(0), Fraction(-2), Fraction(500)))
        >>> north_up.at(half, half)
        (Fraction(101, 1), Fraction(499, 1))
        """
        if self.x is None or self.y is None:
            return None
        return _at(self.x, column, row), _at(self.y, column, row)

    def regridded(
        self, columns: tuple[Fraction, Fraction], rows: tuple[Fraction, Fraction]
    ) -> Georeference:
        """That of positions which stand at start + step·i of these columns and rows.

        columns, rows: (start, step)
        """
        return replace(
            self,
            x=_regridded(self.x, columns, rows),
            y=_regridded(self.y, columns, rows),
            ties=tuple(
                ((tie[0] - columns[0]) / columns[1], (tie[1] - rows[0]) / rows[1], *tie[2:])
                for tie in self.ties
            ),
        )


def _at(coordinate: WorldAxis, column: Fraction, row: Fraction) -> Fraction:
    per_column, per_row, first = coordinate
    return per_column * column + per_row * row + first


def _regridded(
    coordinate: WorldAxis | None, columns: Sequence[Fraction], rows: Sequence[Fraction]
) -> WorldAxis | None:
    if coordinate is None:
        return None
    first = _at(coordinate, columns[0], rows[0])
    return coordinate[0] * columns[1], coordinate[1] * rows[1], first
