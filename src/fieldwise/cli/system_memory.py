"""How memory is taken from the system, and given back, so that a process takes what a plan says.

By itself the C library of Linux keeps what is freed for the next allocation, and as layers differ
in size much of it lies between what is in use; what is large it gives back, and the system clears
it page by page when it is taken again.
"""

from __future__ import annotations

import ctypes
import os

SLACK = 2.5
"""Over its plan, more than a process grew by without this where it was measured (docs/tile.md)."""

_LEAST = 128 << 10
"""Bytes of an allocation that is given back by itself."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def take_large_pages() -> None:
    """Have torch ask for pages of 2 MiB where a tensor is as large, unless that is decided already.

    Said before torch is imported.  Half of the time of a stream went into clearing small pages.
    """
    os.environ.setdefault(_LARGE_PAGES, "1")


_LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""What torch calls it (c10, alloc_cpu); Linux alone has them."""


def give_back_freed() -> bool:
    """Have large allocations given back when they are freed; False where that cannot be had.

    It costs time, since what is allocated again has to be cleared by the system.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LEAST) and mallopt(_TRIM_THRESHOLD, _LEAST))
