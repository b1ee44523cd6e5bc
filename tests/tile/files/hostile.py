"""Files that were changed at random: bytes of any file, leaves of plain data."""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

NUMBERS = (0, 1, 255, 2**31 - 1, 2**32 - 1)
ODD: tuple[Any, ...] = (
    0, 1, -1, 2**31, 2**32, 2**60, 2**63, 2**64, 10**30, -(2**40), 0.5, 1e308,
    float("nan"), float("inf"), None, True, False, "", "x", "é\n", "../../..", "|O", "<f8",
    "9" * 6000, [], {}, [[]], [0] * 50, {"name": "x"},
)  # fmt: skip


def changed_bytes(draw: random.Random, content: bytes) -> bytes:
    """The content cut short, made longer, or with some numbers in it replaced."""
    how = draw.random()
    if how < 0.2:
        return content[: draw.randrange(len(content))]
    if how < 0.3:
        return content + draw.randbytes(20)
    found = bytearray(content)
    within = len(found) if draw.random() < 0.4 else min(len(found), 512)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        at, width = draw.randrange(within), draw.choice([1, 1, 2, 4, 8])
        number = draw.choice([*NUMBERS, draw.getrandbits(64)]) % (1 << 8 * width)
        found[at : at + width] = number.to_bytes(width, "little")
    return bytes(found)


def changed_data(draw: random.Random, data: Any) -> Any:
    """Plain data with one or two of its parts replaced or left out, in place."""
    for _ in range(draw.randint(1, 2)):
        holder, key = draw.choice(list(_places(data)))
        if draw.random() < 0.15:
            del holder[key]
        else:
            holder[key] = deepcopy(draw.choice(ODD))
        if not list(_places(data)):
            break
    return data


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(data) if isinstance(data, dict) else range(len(data))
    for key in keys if isinstance(data, (dict, list)) else ():
        yield data, key
        if isinstance(data[key], (dict, list)):
            yield from _places(data[key])
