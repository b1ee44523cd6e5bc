"""Mixed-radix indices: one axis of the input driven by several dimensions of a value.

After a window partition, row h of an image is (h // 7, h mod 7) in two dimensions of the value;
after flattening to tokens, one dimension holds (h, w).  The *digits* of a value are the factors
of its dimensions; a *track* says which digits, in which order, form the index that an axis map
takes to the input.  The leading digit is unbounded, as the index of a feature map is; the
others lie in [0, size).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

from fieldwise.axes.axis_map import AxisMap
from fieldwise.axes.borders import Border
from fieldwise.axes.index_set import IndexSet
from fieldwise.axes.table import Table, Within
from fieldwise.axes.tailed import AnySet

DigitSizes = tuple[int, ...]


@lru_cache(maxsize=4096)
def subindex(sizes: DigitSizes, keep: tuple[int, ...]) -> AxisMap:
    """From the index over all digits to the index over the kept ones.

    >>> subindex((8, 7), (0,)) == AxisMap(1, (IndexSet(0, 1),) * 7)     # i // 7
    True
    >>> subindex((8, 7), (1,))(15)                                      # i mod 7
    IndexSet{1}
    """
    if keep == tuple(range(len(sizes))):
        return AxisMap.affine(1)
    weights = {digit: prod(sizes[k] for k in keep if k > digit) for digit in keep}
    rows = []
    for index in range(prod(sizes[1:])):
        total, rest = 0, index
        for digit in range(len(sizes) - 1, 0, -1):
            rest, value = divmod(rest, sizes[digit])
            total += value * weights.get(digit, 0)
        rows.append(IndexSet(total, 1))
    return AxisMap(weights.get(0, 0), tuple(rows))


@lru_cache(maxsize=4096)
def substituted(
    sizes: DigitSizes,
    position: int,
    index: AxisMap | Table,
    border: Border,
    after: int,
    limits: IndexSet | None,
) -> tuple[AxisMap[AnySet], bool]:
    """Digit ``position`` read through ``index`` from a new digit of size ``after``.

    ``limits`` are the values of the digit that count; None for all of them.  Returns the map
    from the new index to the old one, and whether it holds at this size only (the leading
    digit through a table, or within limits).
    """
    tail = prod(sizes[position + 1 :])
    law = index.law if isinstance(index, Within) else index
    if position == 0 and isinstance(law, AxisMap) and limits is None:
        offsets = tuple(
            offset.scale(tail).shift(rest) for offset in law.offsets for rest in range(tail)
        )
        return AxisMap(law.advance * tail, offsets), False
    rows: list[IndexSet] = []
    for new in range(after):
        landed = border.land(index(new), sizes[position])
        if limits is not None:
            landed = landed & limits
        rows.extend(landed.scale(tail).shift(rest) for rest in range(tail))
    return AxisMap(sizes[position] * tail, tuple(rows)), position == 0


@lru_cache(maxsize=4096)
def summed_out(sizes: DigitSizes, position: int, values: IndexSet | None) -> AxisMap:
    """From the index without digit ``position`` to the indices with every value of it.

    ``values`` are the digit's values that are read; None for all of them.
    """
    tail = prod(sizes[position + 1 :])
    read = IndexSet.range(0, sizes[position]) if values is None else values
    offsets = tuple(read.scale(tail).shift(rest) for rest in range(tail))
    return AxisMap(sizes[position] * tail, offsets)


def regroup(digits: Sequence[int], dims: Sequence[int]) -> list[list[tuple[int, int]]] | None:
    """Cut a row-major run of digits at the borders of new dimensions.

    Returns per new dimension its digits as (number of the old digit, size), or None where a
    border falls inside a digit that it does not divide, and where there are no elements.

    >>> regroup([56], [8, 7])
    [[(0, 8)], [(0, 7)]]
    >>> regroup([4, 6], [6, 4]) is None
    True
    """
    if 0 in digits:
        return None
    waiting = [(number, size) for number, size in enumerate(digits) if size != 1]
    waiting.reverse()
    out = []
    for size in dims:
        taken: list[tuple[int, int]] = []
        while size > 1:
            number, digit = waiting.pop()
            if size % digit == 0:
                taken.append((number, digit))
                size //= digit
            elif digit % size == 0:
                taken.append((number, size))
                waiting.append((number, digit // size))
                size = 1
            else:
                return None
        out.append(taken)
    return out
