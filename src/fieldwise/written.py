"""Numbers as people and files write them, read with bounds; other texts, short enough to show.

Python reads digits of any script and of any number; a number from outside is digits 0 to 9, and no
larger than what it can mean.
"""

from __future__ import annotations

import re
from fractions import Fraction

MAX_SIZE = (1 << 31) - 1
"""Samples along an axis, and whatever else is counted in them."""

_DIGITS = 40
_WHOLE = re.compile(rf"[+-]?[0-9]{{1,{_DIGITS}}}")
_DECIMAL = rf"[0-9]{{1,{_DIGITS}}}(?:\.[0-9]{{0,{_DIGITS}}})?|\.[0-9]{{1,{_DIGITS}}}"
_RATIO = re.compile(
    rf"(?P<sign>[+-]?)(?P<above>{_DECIMAL})"
    rf"(?:[eE](?P<power>[+-]?[0-9]{{1,3}})|/(?P<below>[0-9]{{1,{_DIGITS}}}))?"
)


def whole_number(text: str) -> int | None:
    """The integer that a text is, of at most 40 digits; None for anything else.

    >>> whole_number("-3"), whole_number("3.0"), whole_number("٣"), whole_number("9" * 6000)
    (-3, None, None, None)
    """
    return int(text) if _WHOLE.fullmatch(text.strip()) else None


def ratio(text: str) -> Fraction | None:
    """The number that a text is: a decimal, with an exponent of three digits, or a fraction.

    >>> ratio("1/255"), ratio("2.5e-1"), ratio("1e999999999"), ratio("1/0"), ratio("nan")
    (Fraction(1, 255), Fraction(1, 4), None, None, None)
    """
    found = _RATIO.fullmatch(text.strip())
    if found is None:
        return None
    above = Fraction(found["above"]) * Fraction(10) ** int(found["power"] or 0)
    below = int(found["below"] or 1)
    if not below:
        return None
    return (-above if found["sign"] == "-" else above) / below


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number of things; several: how more than one are called, by default with an s.

    >>> counted(1, "input"), counted(0, "input"), counted(2, "axis", "axes")
    ('1 input', '0 inputs', '2 axes')
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def shown(text: str, length: int = 60) -> str:
    """A text in quotes, for a message: its beginning, where it is long.

    >>> shown("conv3"), shown("9" * 6000, 5)
    ("'conv3'", "'99999...'")
    """
    return repr(text if len(text) <= length else f"{text[:length]}...")
