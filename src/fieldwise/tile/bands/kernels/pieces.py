"""Rows that lie in several pieces of memory: a result is written piece by piece, nothing joined."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from itertools import pairwise

from torch import Tensor

from fieldwise.tile.bands.kernels.registry import Link, Rows


def by_pieces(
    rows: Rows,
    operands: Iterable[tuple[int, Link]],
    dim: int,
    lo: int,
    hi: int,
    write: Callable[[int, int, Tensor], object],
) -> Tensor:
    """Rows [lo, hi) of a result, in the run's room: those that read across a seam by themselves.

    write: makes the rows [start, stop) of it, called with (start, stop, where to write them)
    """
    room = rows.room
    assert room is not None
    cuts, wanted = {lo, hi}, range(lo, hi)
    for number, link in operands:
        for seam in rows.seams(number, *link.reach.span(lo, hi)):
            cuts.add(lo + bisect_right(wanted, seam, key=link.reach.stop))
            cuts.add(lo + bisect_left(wanted, seam, key=link.reach.first))
    for start, stop in pairwise(sorted(cuts)):
        whole = stop - start == hi - lo
        write(start, stop, room if whole else room.narrow(dim, start - lo, stop - start))
    return room
