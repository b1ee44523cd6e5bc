"""Amounts as people write them."""

from __future__ import annotations


def size_text(nbytes: int) -> str:
    """Bytes with a unit.

    >>> size_text(512), size_text(3 << 20)
    ('512 B', '3.0 MiB')
    """
    amount, units = float(nbytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.1f} {units[0]}" if units[0] != "B" else f"{nbytes} B"
