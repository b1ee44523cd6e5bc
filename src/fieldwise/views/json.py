"""JSON: one writer for the data of every report (docs/json.md describes the fields).

Numbers that are not finite are null, fractions that are not whole are strings 'p/q', and a range of
positions is [first, last], both inclusive.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isfinite
from types import NoneType
from typing import Any

SCHEMA = 1
"""The version of the form; a field that changes its meaning or goes makes it a new one."""


def document(**fields: object) -> dict[str, object]:
    """The data of a report, which begins with the version of its form."""
    return {"schema": SCHEMA, **fields}


def text(data: Mapping[str, object]) -> str:
    """Data as JSON, with a line for every entry of a list of entries.

    >>> print(text({"schema": 1, "items": [{"name": "a"}, {"name": "b"}]}))
    {"schema": 1, "items": [
      {"name": "a"},
      {"name": "b"}
    ]}
    """
    return "{" + ", ".join(f"{_plain(key)}: {_listed(value)}" for key, value in data.items()) + "}"


def number(value: Fraction | float | None) -> int | float | str | None:
    """A number as JSON has it.

    >>> number(Fraction(1, 2)), number(Fraction(4)), number(float("inf")), number(0.5)
    ('1/2', 4, None, 0.5)
    """
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else str(value)
    return value if value is not None and isfinite(value) else None


def entry(found: object, *names: str) -> dict[str, object]:
    """These attributes of a value, as JSON has them; sequences become lists.

    >>> from types import SimpleNamespace
    >>> entry(SimpleNamespace(shape=(1, 3), scale=Fraction(1, 2), why=None), "shape", "scale")
    {'shape': [1, 3], 'scale': '1/2'}
    """
    return {name: _value(getattr(found, name)) for name in names}


def as_data(found: object) -> object:
    """Data of a file as JSON has it: keys are texts, and numbers are as ``number`` writes them."""
    if isinstance(found, Mapping):
        return {str(key): as_data(value) for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [as_data(one) for one in found]
    return _value(found) if isinstance(found, (float, Fraction, str, int, NoneType)) else str(found)


def _value(found: object) -> object:
    if isinstance(found, (list, tuple)):
        return [_value(one) for one in found]
    return number(found) if isinstance(found, (float, Fraction)) else found


def interval(found: Sequence[int] | None) -> list[int] | None:
    """A range [start, stop) of positions, with inclusive ends.

    >>> interval((2, 31)), interval(None)
    ([2, 30], None)
    """
    return None if found is None else [found[0], found[1] - 1]


def _listed(value: Any) -> str:
    entries = isinstance(value, list) and value and all(isinstance(one, dict) for one in value)
    if not entries:
        return _plain(value)
    lines = ",\n  ".join(map(_plain, value))
    return f"[\n  {lines}\n]"


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
