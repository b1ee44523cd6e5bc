"""The sides of tiles and strips that nobody has asked for: on the grid, and as files take them."""

from __future__ import annotations

from collections.abc import Iterator


def even_side(side: int, grid: int) -> int:
    """No more than a side, on the grid; a multiple of 16 times the grid where it is as wide.

    Results then lie in steps of 16, as the tiles of a TIFF file do.

    >>> even_side(512, 3), even_side(512, 32), even_side(40, 3), even_side(2, 3)
    (480, 512, 39, 3)
    """
    step = grid * _SIDE if side >= grid * _SIDE else grid
    return max(side // step * step, grid)


def halves(size: int, grid: int) -> Iterator[int]:
    """Widths of at least two strips, each about half as wide as the one before.

    >>> list(halves(96, 3)), list(halves(4000, 16))[:3]
    ([48, 24, 12, 6, 3], [1792, 768, 256])
    """
    side = size // 2
    while side >= grid:
        side = even_side(side, grid)
        yield side
        side //= 2


_SIDE = 16
"""Samples of which the sides of a TIFF file's tiles are multiples."""
