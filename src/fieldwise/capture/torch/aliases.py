"""Views: how they read their base, and how the base reads after a write through one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldwise.axes import AxisMap, IndexSet, Table
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
    step = view.read.steps[0]
    if len(view.read.steps) == 1 and not view.casts:
        if isinstance(step, Reshape):
            return (), (Read(0, (Reshape(),)),)
        found = _invert(step, view)
        if found is not None:
            return found
    why = f"a write through the view '{view.op}'"
    return (identity(0, len(view.before)),), (unknown(0, len(view.after), why),)


def _invert(step: Separable, view: View) -> tuple[tuple[Read, ...], tuple[Read, ...]] | None:
    """None where the view is no box of its base (a diagonal), or shows an element twice."""
    coords: list[Coord] = [Fixed(IndexSet(0, 1))] * len(view.after)
    where: list[tuple[int, IndexSet]] = []
    driving = [coord.dim for coord in step.coords if isinstance(coord, Along)]
    resting = (size for dim, size in enumerate(view.after) if dim not in driving)
    if len(driving) != len(set(driving)) or any(size != 1 for size in resting):
        return None
    for dim, coord in enumerate(step.coords):
        everything = IndexSet.range(0, view.before[dim])
        if isinstance(coord, Fixed) and coord.indices.count == 1:
            covered = coord.indices
        elif isinstance(coord, Along) and coord.map.is_single:
            covered = coord.map.pull(IndexSet.range(0, view.after[coord.dim])) & everything
            back = _inverse(coord.map)
            if back is None:
                return None
            coords[coord.dim] = Along(dim, back)
        else:
            return None
        if covered != everything:
            where.append((dim, covered))
    whole = tuple(Along(dim) for dim in range(len(view.before)))
    kept = tuple(
        separable(0, *whole, where=((dim, IndexSet.range(0, view.before[dim]) - covered),))
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
    """How ``as_strided(size, stride, offset)`` reads a contiguous base; Unknown if not regular."""
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
            return unknown(0, len(base), "as_strided with overlapping strides")
        coords[target] = Along(dim, AxisMap.affine(jump // steps[target], starts[target]))
    return separable(0, *coords)
