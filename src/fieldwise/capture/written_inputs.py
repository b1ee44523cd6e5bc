"""Shapes and values of inputs, as the command line writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fieldwise.axes.region import Shape
from fieldwise.errors import UsageError
from fieldwise.written import MAX_SIZE, shown, whole_number

_MAX_RANK = 32


def parse_named_shapes(text: str) -> Mapping[str, Shape] | tuple[Shape, ...]:
    """Shapes by the names of inputs, or, where none is named, in order.

    >>> parse_named_shapes("x=1x3x8x8,state=2x1x128"), parse_named_shapes("1x8")
    ({'x': (1, 3, 8, 8), 'state': (2, 1, 128)}, ((1, 8),))
    """
    if "=" not in text:
        return parse_shapes(text)
    found: dict[str, Shape] = {}
    for part in text.split(","):
        name, equals, shape = part.strip().rpartition("=")
        if not equals:
            raise UsageError(
                f"Some inputs in {shown(text)} are named and others are not; name all, for example "
                "--input x=1x3x64x64,state=2x1x128."
            )
        found[name] = _parse_shape(shape)
    return found


def parse_values(given: Sequence[str]) -> dict[str, object]:
    """Values of inputs, written NAME=NUMBER or NAME=NUMBER,NUMBER.

    >>> parse_values(["rate=8", "size=1,2.5", "on=true"])
    {'rate': 8, 'size': [1, 2.5], 'on': True}
    """
    found: dict[str, object] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        numbers = [_number(part.strip()) for part in value.split(",")]
        if not equals or None in numbers:
            raise UsageError(
                f"Cannot read the value {shown(text)}; write the name of an input and a number, as "
                "in --set rate=8, or numbers, --set size=64,64."
            )
        found[name] = numbers[0] if len(numbers) == 1 else numbers
    return found


def _number(text: str) -> int | float | bool | None:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else float(text)
    except ValueError:
        return None


def parse_shapes(text: str) -> tuple[Shape, ...]:
    """Shapes from text: sizes joined by 'x', several inputs separated by commas.

    >>> parse_shapes("1x3x8x8,1x10")
    ((1, 3, 8, 8), (1, 10))
    """
    return tuple(_parse_shape(part.strip()) for part in text.split(","))


def _parse_shape(text: str) -> Shape:
    written = text.lower()
    if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*)*", written):
        raise UsageError(
            f"Cannot read the input shape {shown(text)}; write positive sizes joined by "
            "'x', for example 1x3x224x224, and a comma between several inputs."
        )
    sizes = [whole_number(size) for size in written.split("x")]
    shape = tuple(size for size in sizes if size is not None and size <= MAX_SIZE)
    if len(shape) < len(sizes) or len(shape) > _MAX_RANK:
        raise UsageError(
            f"The input shape {shown(text)} is too large; write at most {_MAX_RANK} sizes of at "
            f"most {MAX_SIZE}."
        )
    return shape
