"""Names as tables show them."""

from __future__ import annotations

_LONGEST = 64


def shortened(name: str) -> str:
    """A name as a table shows it: converters write some that no terminal holds.

    >>> shortened("model/conv"), len(shortened("model/conv;" * 40))
    ('model/conv', 64)
    """
    return name if len(name) <= _LONGEST else f"{name[:31]}…{name[-32:]}"
