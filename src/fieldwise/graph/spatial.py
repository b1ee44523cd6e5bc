"""Which axes of a value count as spatial."""

from __future__ import annotations

from collections.abc import Sequence

from fieldwise.errors import UsageError
from fieldwise.graph.ir import Value


def spatial_axes(value: Value, axes: Sequence[int] | None) -> tuple[int, ...]:
    """The axes asked for; by default all from 2 on, the last one of a value of fewer dimensions.

    A value without dimensions has none.

    Raises UsageError for an axis that the value does not have.

    >>> spatial_axes(Value("image", (1, 3, 8, 8)), None), spatial_axes(Value("line", (1, 9)), None)
    ((2, 3), (1,))
    """
    rank = len(value.shape)
    if axes is None:
        return tuple(range(2, rank)) if rank > 2 else tuple(range(rank))[-1:]
    for axis in axes:
        if not 0 <= axis < rank:
            raise UsageError(
                f"'{value.name}' has axes 0 to {rank - 1}; axis {axis} is none of them."
            )
    return tuple(axes)
