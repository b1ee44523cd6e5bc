"""Which axes are meant: by number, from either end, one or several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index

from fieldwise.errors import UsageError
from fieldwise.graph.ir import Value

Axes = int | Sequence[int]
"""What a user gives as axes: one or several, counted from the front or, negative, from the end."""


def spatial_axes(value: Value, axes: Axes | None) -> tuple[int, ...]:
    """The axes of a value that were asked for; by default all from 2 on, the last of fewer.

    A value without dimensions has none.  Raises UsageError as ``chosen_axes`` does.

    >>> spatial_axes(Value("image", (1, 3, 8, 8)), None), spatial_axes(Value("line", (1, 9)), -1)
    ((2, 3), (1,))
    """
    rank = len(value.shape)
    return usual_axes(rank) if axes is None else chosen_axes(axes, rank, of=f"'{value.name}'")


def usual_axes(rank: int) -> tuple[int, ...]:
    """Those of (batch, channels, *spatial) that are spatial; the last one of a smaller rank."""
    return tuple(range(2, rank)) if rank > 2 else tuple(range(rank))[-1:]


def chosen_axes(axes: Axes, rank: int, *, of: str = "The input") -> tuple[int, ...]:
    """The axes, each once, counted from the front.

    Raises UsageError for one that is no integer, or that nothing of this rank has.

    >>> chosen_axes(-1, 4), chosen_axes([2, -1, 3], 4)
    ((3,), (2, 3))
    """
    several = axes if isinstance(axes, Iterable) and not isinstance(axes, str) else (axes,)
    return tuple(dict.fromkeys(_one(axis, rank, of) for axis in several))


def axis_number(axis: object) -> int:
    """The integer by which an axis is named.  Raises UsageError for anything else."""
    try:
        return index(axis)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"An axis is named by an integer; {axis!r} is none.") from None


def _one(axis: int, rank: int, of: str) -> int:
    number = axis_number(axis)
    if not -rank <= number < rank:
        raise UsageError(f"{of} has axes 0 to {rank - 1}; axis {number} is none of them.")
    return number % rank
