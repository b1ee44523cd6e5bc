"""Rows that were found one by one, as the few regular maps that they are.

A loop that is unrolled takes position t by its number, and puts what it makes of it beside the
others again.  What each row reads is then known by itself; together the rows follow the axis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from fieldwise.axes.axis_map import AxisMap
from fieldwise.axes.index_set import IndexSet
from fieldwise.axes.tailed import AnySet, minkowski, since, until

Law = tuple[AxisMap[AnySet], IndexSet]
"""A regular map, and the outputs for which it holds."""


def progressions(rows: Mapping[int, IndexSet], size: int) -> Sequence[Law] | None:
    """Regular maps whose union gives these rows; None where they are not few.

    rows: by output, in ascending order, what it reads of an axis of this size; rows that only ever
          grow, from the end of the axis on, are those of a map that never ends

    >>> clamped = {t: IndexSet.of({max(t - 1, 0), t}) for t in range(5)}
    >>> for index, outputs in progressions(clamped, 5):
    ...     print(index, outputs)
    i -> 1i+{0} IndexSet{0..4}
    i -> 1i+{-1} IndexSet{1..4}
    >>> [(law, _)] = progressions({t: IndexSet.range(0, t + 1) for t in range(5)}, 5)
    >>> print(law)
    i -> 1i+{…0}
    """
    if len(rows) < 2:
        return None
    endless = _endless(rows, size)
    if endless is not None:
        return [(endless, IndexSet.of(rows))]
    found = [laws for step in _steps(rows) if (laws := _at_step(rows, step)) is not None]
    turning = _turning(rows)
    if turning is not None:
        found.append([(turning, IndexSet.of(rows))])
    return min(found, key=len, default=None)


# -------------------------------------------------------------------- one step for each output


def _steps(rows: Mapping[int, IndexSet]) -> Iterator[int]:
    """How far the rows move from one output to the next, as most of their ends say."""
    for ends in ("first", "last"):
        moved = Counter(
            (getattr(rows[after], ends) - getattr(rows[before], ends), after - before)
            for before, after in pairwise(rows)
            if rows[before] and rows[after]
        )
        if moved:
            (far, gap), _ = moved.most_common(1)[0]
            if far and far % gap == 0:
                yield far // gap


def _at_step(rows: Mapping[int, IndexSet], step: int) -> Sequence[Law] | None:
    """The rows as offsets from step · i, each for the outputs that have it."""
    alike: dict[IndexSet, list[int]] = {}
    for output, row in rows.items():
        alike.setdefault(row.shift(-step * output), []).append(output)
    if len(alike) > 1 + len(rows) // _ALIKE:
        return None
    outputs: dict[int, IndexSet] = {}
    for offsets, members in alike.items():
        here = IndexSet.of(members)
        for offset in offsets:
            outputs[offset] = outputs[offset] | here if offset in outputs else here
    together: dict[IndexSet, list[int]] = {}
    for offset, here in outputs.items():
        together.setdefault(here, []).append(offset)
    return [(AxisMap(step, (IndexSet.of(taps),)), here) for here, taps in together.items()]


_ALIKE = 4
"""So many rows there are, at least, for each kind of row beyond the first."""


# -------------------------------------------------------------------- outputs that take turns


def _turning(rows: Mapping[int, IndexSet]) -> AxisMap | None:
    """The one map with a period that all rows follow, at least twice around."""
    found = list(rows.values())
    if list(rows) != list(range(len(rows))):
        return None
    for period in range(2, len(found) // 2 + 1):
        if not (found[0] and found[period]):
            return None
        advance = found[period].first - found[0].first
        pairs = zip(found, found[period:], strict=False)
        if advance and all(later == row.shift(advance) for row, later in pairs):
            return AxisMap(advance, tuple(found[:period]))
    return None


# -------------------------------------------------------------------- rows that only ever grow


def _endless(rows: Mapping[int, IndexSet], size: int) -> AxisMap[AnySet] | None:
    """The map without end of which the rows are what lies on the axis: a state is carried on."""
    if list(rows) != list(range(len(rows))):
        return None
    for onwards in (1, -1):
        growth = _growth(list(rows.items())[::onwards])
        if len(growth) < _GROWING:
            continue
        (_, before), (output, new) = growth[len(growth) // 2 - 1 :][:2]
        step = (new.first - before.first) * onwards
        if not step:
            continue
        tail = (until(0) if step * onwards > 0 else since(0)).scale(abs(step))
        law = AxisMap(step, (minkowski(tail, new.shift(-step * output)),))
        if all(law(output).clip(size) == row.clip(size) for output, row in rows.items()):
            return law
    return None


def _growth(rows: Sequence[tuple[int, IndexSet]]) -> list[tuple[int, IndexSet]]:
    """What each row has more than the one before it, if anything; empty where one has less."""
    found = []
    for (_, before), (output, after) in pairwise(rows):
        if not before.issubset(after):
            return []
        if new := after - before:
            found.append((output, new))
    return found


_GROWING = 3
"""Rows that grow fewer times may as well be a window that looks beyond the border."""
