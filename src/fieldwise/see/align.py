"""The layers of two networks side by side: by name where names agree, else by what they do."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from difflib import SequenceMatcher

from fieldwise.field.report import Row

RowPair = tuple[int | None, int | None]
"""Numbers of two rows that stand beside each other; None where one has no counterpart."""


def aligned(one: Sequence[Row], two: Sequence[Row]) -> list[RowPair]:
    """Every row of both, in order, beside its counterpart.

    Rows of one name belong together as far as their order allows; between two such pairs, rows of
    one operation do.

    >>> from fieldwise import receptive_fields
    >>> from fieldwise.capture.layers import layers_graph
    >>> texts = ("conv3 relu", "conv3 conv5 relu")
    >>> aligned(*(receptive_fields(layers_graph(text)).rows for text in texts))
    [(0, 0), (1, 1), (None, 2), (2, 3)]
    """
    return list(_pairs(one, two, range(len(one)), range(len(two)), _KEYS))


def _pairs(
    one: Sequence[Row], two: Sequence[Row], left: range, right: range, keys: Sequence[str]
) -> Iterator[RowPair]:
    if not keys:
        yield from ((number, None) for number in left)
        yield from ((None, number) for number in right)
        return
    first: list[Hashable] = [getattr(one[number], keys[0]) for number in left]
    second: list[Hashable] = [getattr(two[number], keys[0]) for number in right]
    at, beside = 0, 0
    for block in SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks():
        yield from _pairs(one, two, left[at : block.a], right[beside : block.b], keys[1:])
        for step in range(block.size):
            yield left[block.a + step], right[block.b + step]
        at, beside = block.a + block.size, block.b + block.size


_KEYS = ("name", "op")
