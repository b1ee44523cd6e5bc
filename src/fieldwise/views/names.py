"""Names as tables show them."""

from __future__ import annotations

_LONGEST = 64


def shortened(name: str) -> str:
    """A name as a table shows it: converters write some that no terminal holds.

    >>> shortened("model/conv"), len(shortened("model/conv;" * 40))
    ('model/conv', 64)
    """
    name = printable(name)
    return name if len(name) <= _LONGEST else f"{name[:31]}…{name[-32:]}"


def printable(text: str) -> str:
    r"""A text on one line of a terminal: what has no glyph, such as a line break, as its escape.

    >>> print(printable("conv\n\x1b[31m"), printable("層 1"))
    conv\n\x1b[31m 層 1
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
