"""Memory that is freed goes back to the system at once, so that a process takes what a plan says.

By itself the C library of Linux keeps what is freed for the next allocation, and as layers differ
in size much of it lies between what is in use.
"""

from __future__ import annotations

import ctypes

SLACK = 2.5
"""Over its plan, more than a process grew by without this where it was measured (docs/tile.md)."""

_LEAST = 128 << 10
"""Bytes of an allocation that is given back by itself."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def give_back_freed() -> bool:
    """Have large allocations given back when they are freed; False where that cannot be had.

    It costs time, since what is allocated again has to be cleared by the system.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LEAST) and mallopt(_TRIM_THRESHOLD, _LEAST))
