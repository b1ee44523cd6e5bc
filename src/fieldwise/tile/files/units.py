"""Units of length and time, by the names of OME-Zarr, and as other formats write them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction


def unit_named(text: str | None) -> str:
    """The name of a unit that a file writes as it likes; what is not known stays as it is.

    >>> unit_named("µm"), unit_named("micron"), unit_named("sec"), unit_named("furlong")
    ('micrometer', 'micrometer', 'second', 'furlong')
    """
    plain = (text or "").strip().replace("\\u00B5", "µ").replace("\u03bc", "µ")
    return _NAMED.get(plain, _NAMED.get(plain.lower(), plain))


def symbol_of(unit: str) -> str:
    """How a unit is written behind a number.

    >>> symbol_of("micrometer"), symbol_of("furlong")
    ('µm', 'furlong')
    """
    return _SYMBOLS.get(unit, unit)


def metres_of(unit: str) -> Fraction | None:
    """How many metres a unit of length is; None for another.

    >>> metres_of("micrometer"), metres_of("second")
    (Fraction(1, 1000000), None)
    """
    return _METRES.get(unit)


def is_time(unit: str) -> bool:
    """Whether a unit is one of time.

    >>> is_time("second"), is_time("micrometer"), is_time("")
    (True, False, False)
    """
    return unit in _TIMES


_TIMES = ("nanosecond", "microsecond", "millisecond", "second", "minute", "hour", "day")
_SYMBOLS: Mapping[str, str] = {
    "angstrom": "Å", "picometer": "pm", "nanometer": "nm", "micrometer": "µm", "millimeter": "mm",
    "centimeter": "cm", "meter": "m", "kilometer": "km", "inch": "in", "foot": "ft",
    "nanosecond": "ns", "microsecond": "µs", "millisecond": "ms", "second": "s", "minute": "min",
    "hour": "h", "day": "d",
}  # fmt: skip
_METRES: Mapping[str, Fraction] = {
    "angstrom": Fraction(1, 10**10), "picometer": Fraction(1, 10**12),
    "nanometer": Fraction(1, 10**9), "micrometer": Fraction(1, 10**6),
    "millimeter": Fraction(1, 1000), "centimeter": Fraction(1, 100), "meter": Fraction(1),
    "kilometer": Fraction(1000), "inch": Fraction(254, 10000), "foot": Fraction(3048, 10000),
}  # fmt: skip
_NAMED: Mapping[str, str] = {
    **{symbol: name for name, symbol in _SYMBOLS.items()},
    **{name: name for name in _SYMBOLS},
    **{f"{name}s": name for name in _SYMBOLS},
    "um": "micrometer", "micron": "micrometer", "microns": "micrometer", "sec": "second",
    "secs": "second", "msec": "millisecond", "metre": "meter", "centimetre": "centimeter",
    "millimetre": "millimeter", "micrometre": "micrometer", "nanometre": "nanometer",
    "us": "microsecond",
}  # fmt: skip
