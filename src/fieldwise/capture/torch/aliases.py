"""Views: how they read their base, and how the base reads after a write through one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import torch

from fieldwise.axes import AxisMap, IndexSet, Table, index_map
from fieldwise.graph.calls import replay
from fieldwise.graph.ir import (
    Along,
    Call,
    Coord,
    Fixed,
    Read,
    Reshape,
    Separable,
    Shape,
    identity,
    separable,
    straight,
    unknown,
)


@dataclass(frozen=True, slots=True)
class View:
    """One view op: how it reads its base, the shapes before and after, and its call.

    ``dtype`` is that of the view, and ``casts`` says whether its base has another; in the call
    ``Ref(0)`` stands for the base.
    """

    op: str
    read: Read
    before: Shape
    after: Shape
    dtype: str
    source: Call
    casts: bool = False


def scatter_reads(view: View) -> tuple[tuple[Read, ...], tuple[Read, ...]]:
    """How a base reads after a write through one of its views.

    Returns the reads of the old base (what the view does not cover) and of the written value.
    """
    if view.casts:
        return _anywhere(view.before, view.after, f"a write through the view '{view.op}'")
    what = f"a write through the view '{view.op}'"
    found = _known(view.read, view.before, view.after) or _walked(view)
    return found or _anywhere(view.before, view.after, what)


def overlay(
    view: Read, before: Shape, after: Shape, what: str = "a write through a view"
) -> tuple[tuple[Read, ...], tuple[Read, ...]]:
    """How a base reads of its old self and of what replaces what a view of it reads.

    ``what`` is the reason of the bound where nobody knows.
    """
    return _known(view, before, after) or _anywhere(before, after, what)


def _known(
    view: Read, before: Shape, after: Shape
) -> tuple[tuple[Read, ...], tuple[Read, ...]] | None:
    """The same, where the read of the view has a form that can be turned around."""
    step = view.steps[0]
    if len(view.steps) == 1:
        if isinstance(step, Reshape):
            return (), (Read(0, (Reshape(),)),)
        return _invert(step, before, after) or _on_diagonal(step, before, after)
    if len(view.steps) == 3 and isinstance(view.steps[1], Separable):
        return _flat(view.steps[1], view.shapes)
    return None


_WALKED = 1 << 16
"""Elements of a base up to which a view of any form is walked through."""


def _walked(view: View) -> tuple[tuple[Read, ...], tuple[Read, ...]] | None:
    """The view's elements one by one (``Tensor.unfold``); None where these are many."""
    size, count = prod(view.before), prod(view.after)
    if max(size, count) > _WALKED:
        return None
    (walk,) = replay(view.source, [torch.arange(size).view(view.before)])
    return _by_places(((place,) for place in walk.reshape(-1).tolist()), size, count)


def _anywhere(before: Shape, after: Shape, why: str) -> tuple[tuple[Read, ...], tuple[Read, ...]]:
    return (identity(0, len(before)),), (unknown(0, len(after), why),)


def _flat(
    walk: Separable, shapes: tuple[Shape, ...]
) -> tuple[tuple[Read, ...], tuple[Read, ...]] | None:
    """The view of a walk through the flattened base: the last of equal places is what stays."""
    (coord,), (size,), (count,) = walk.coords, *shapes
    if walk.where or not isinstance(coord, Along):
        return None
    return _by_places(map(coord.map, range(count)), size, count)


def _by_places(
    walk: Iterable[Iterable[int]], size: int, count: int
) -> tuple[tuple[Read, ...], tuple[Read, ...]]:
    """A write to the flattened base, of ``size``: per element written, the places it goes to."""
    places: list[list[int]] = [[] for _ in range(size)]
    for position, reached in enumerate(walk):
        for place in reached:
            places[place].append(position)
    found = index_map([IndexSet.of(positions) for positions in places])
    kept = Separable((Along(0),), ((0, IndexSet.of(n for n, at in enumerate(places) if not at)),))
    steps, flat = (Reshape(), kept, Reshape()), (size,)
    written = (Reshape(), Separable((Along(0, found),)), Reshape())
    return (Read(0, steps, (flat, flat)),), (Read(0, written, ((count,), flat)),)


def _on_diagonal(
    step: Separable, before: Shape, after: Shape
) -> tuple[tuple[Read, ...], tuple[Read, ...]] | None:
    """None where the view is no diagonal: two dimensions that one drives, the others pass."""
    along = [coord for coord in step.coords if isinstance(coord, Along)]
    driving = [coord.dim for coord in along]
    shared = {dim for dim in driving if driving.count(dim) == 2}
    if len(driving) < len(before) or len(shared) != 1:
        return None
    (driver,) = shared
    crossed = [dim for dim, number in enumerate(driving) if number == driver]
    rest = [dim for dim in range(len(before)) if dim not in crossed]
    if not all(along[dim].keeps(before[dim], after[driving[dim]]) for dim in rest):
        return None
    down, right = crossed
    places = [(along[down].map(i), along[right].map(i)) for i in range(after[driver])]
    rows, columns = (IndexSet.range(0, before[dim]) for dim in crossed)
    passing = {driving[dim]: Along(dim) for dim in rest}
    written = tuple(
        separable(
            0,
            *(passing.get(dim, Fixed(IndexSet(i, 1))) for dim in range(len(after))),
            where=((down, row), (right, column)),
        )
        for i, (row, column) in enumerate(places)
    )
    beside = [((down, row), (right, columns - column)) for row, column in places]
    beyond = rows - IndexSet.of(i for row, _ in places for i in row)
    wheres = [*beside, *([((down, beyond),)] if beyond else [])]
    whole = straight(len(before))
    return tuple(separable(0, *whole, where=where) for where in wheres), written


def _invert(
    step: Separable, before: Shape, after: Shape
) -> tuple[tuple[Read, ...], tuple[Read, ...]] | None:
    """None where the view is no box of its base (a diagonal), or shows an element twice."""
    coords: list[Coord] = [Fixed(IndexSet(0, 1))] * len(after)
    where: list[tuple[int, IndexSet]] = []
    driving = [coord.dim for coord in step.coords if isinstance(coord, Along)]
    resting = (size for dim, size in enumerate(after) if dim not in driving)
    if len(driving) != len(set(driving)) or any(size != 1 for size in resting):
        return None
    for dim, coord in enumerate(step.coords):
        everything = IndexSet.range(0, before[dim])
        if isinstance(coord, Fixed) and coord.indices.count == 1:
            covered = coord.indices
        elif isinstance(coord, Along) and coord.map.is_single:
            covered = coord.map.pull(IndexSet.range(0, after[coord.dim])) & everything
            back = _inverse(coord.map)
            if back is None:
                return None
            coords[coord.dim] = Along(dim, back)
        else:
            return None
        if covered != everything:
            where.append((dim, covered))
    whole = straight(len(before))
    kept = tuple(
        separable(0, *whole, where=((dim, IndexSet.range(0, before[dim]) - covered),))
        for dim, covered in where
    )
    return kept, (separable(0, *coords, where=tuple(where)),)


def _inverse(forward: AxisMap | Table) -> AxisMap | None:
    """The inverse of i ↦ {step·i + start}."""
    if not isinstance(forward, AxisMap) or forward.period != 1 or forward.advance == 0:
        return None
    step, start = forward.advance, forward.offsets[0].base
    if step < 0:
        return AxisMap.affine(-1, start) if step == -1 else None
    return AxisMap(
        1,
        tuple(
            IndexSet.of([(r - start) // step] if (r - start) % step == 0 else [])
            for r in range(step)
        ),
    )


def strided_read(base: Shape, size: Sequence[int], stride: Sequence[int], offset: int) -> Read:
    """How ``as_strided(size, stride, offset)`` reads a contiguous base.

    Where it is no box of the base it is a walk through its elements; Unknown for a long one.
    """
    steps, unit = [1] * len(base), 1
    for dim in reversed(range(len(base))):
        steps[dim], unit = unit, unit * base[dim]
    starts = [offset // steps[dim] % base[dim] for dim in range(len(base))]
    coords: list[Coord] = [Fixed(IndexSet(start, 1)) for start in starts]
    for dim, (length, jump) in enumerate(zip(size, stride, strict=True)):
        if length == 1 or jump == 0:
            continue
        target = next(
            (
                d
                for d in range(len(base))
                if jump % steps[d] == 0
                and starts[d] + (length - 1) * (jump // steps[d]) < base[d]
                and isinstance(coords[d], Fixed)
            ),
            None,
        )
        if target is None:
            return _strided_walk(base, size, stride, offset)
        coords[target] = Along(dim, AxisMap.affine(jump // steps[target], starts[target]))
    return separable(0, *coords)


_LONGEST = 1 << 16


def _strided_walk(base: Shape, size: Sequence[int], stride: Sequence[int], offset: int) -> Read:
    total = prod(size)
    if total > _LONGEST:
        return unknown(0, len(base), "as_strided with overlapping strides")
    places = [offset]
    for length, jump in zip(size, stride, strict=True):
        places = [place + i * jump for place in places for i in range(length)]
    walk = Separable((Along(0, index_map([IndexSet(place, 1) for place in places])),))
    return Read(0, (Reshape(), walk, Reshape()), ((prod(base),), (total,)))
