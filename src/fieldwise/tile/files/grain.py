"""Blocks of a file that fit the steps in which it is written."""

from __future__ import annotations

from collections.abc import Sequence

Steps = Sequence[int | None]
"""Per axis, blocks are written from multiples of this on; None: in whole rows, in order."""


def fitting(side: int, step: int | None, size: int, *, multiple: int = 1) -> int | None:
    """The largest side up to ``side`` of which ``step`` is a multiple; None where there is none.

    Any side fits where there is one step only.

    >>> fitting(512, 384, 5000), fitting(256, 96, 5000, multiple=16), fitting(256, 24, 24)
    (384, 96, 256)
    >>> fitting(256, 24, 5000, multiple=16) is None
    True
    """
    if step is None or step >= size:
        return side
    sides = range(min(side, step), 0, -1)
    return next((n for n in sides if step % n == 0 and n % multiple == 0), None)
