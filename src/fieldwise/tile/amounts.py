"""Amounts as people write them."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from numbers import Real
from operator import index

from fieldwise.errors import UsageError


def check_count(value: object, what: str, least: int, *, of: str = "samples") -> int:
    """A whole number of at least so much.  Raises UsageError for anything else.

    what: the beginning of the sentence

    >>> check_count(2.5, "A chunk is", 1)
    Traceback (most recent call last):
    ...
    fieldwise.errors.UsageError: A chunk is a whole number of samples, 1 or more, got 2.5.
    """
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if number < least:
        raise UsageError(f"{what} a whole number of {of}, {least} or more, got {value!r}.")
    return number


def check_bytes(memory: object) -> None:
    """Raise UsageError for an amount of memory that is neither a number of bytes nor None."""
    if memory is not None and (not isinstance(memory, Real) or memory != memory):
        raise UsageError(f"memory is a number of bytes, got {memory!r}; write for example 2 << 30.")


def size_text(nbytes: int) -> str:
    """Bytes with a unit.

    >>> size_text(512), size_text(3 << 20), size_text(0)
    ('512 B', '3.0 MiB', 'nothing')
    """
    if not nbytes:
        return "nothing"
    amount, units = float(nbytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.1f} {units[0]}" if units[0] != "B" else f"{nbytes} B"


def enough_text(nbytes: int) -> str:
    """The least amount that is enough, in tenths of a unit, as ``--memory`` takes it.

    >>> enough_text(512), enough_text((3 << 20) + 1)
    ('512B', '3.1MiB')
    """
    if nbytes < 1024:
        return f"{nbytes}B"
    power, units = 1, "KMGT"
    while nbytes >= 1024 ** (power + 1) and power < len(units):
        power += 1
    return f"{ceil(Fraction(10 * nbytes, 1024**power)) / 10}{units[power - 1]}iB"
