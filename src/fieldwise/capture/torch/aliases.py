"""Memory shared between tensors, made functional: storages, views, and writes through views.

A ``Storage`` holds one value at a time.  A tensor is an ``Entry``: a chain of views on a storage.
Writing through a view makes a new value of the whole storage; every other view of it is read
again, through its chain, the next time it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

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


@dataclass(slots=True)
class Storage:
    """Memory: the value it holds now, and how often it was written."""

    value: int
    version: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """One view op: how it reads its base, the shapes before and after, and its call.

    In the call ``Ref(0)`` stands for the base.
    """

    op: str
    read: Read
    before: Shape
    after: Shape
    source: Call


@dataclass(slots=True)
class Entry:
    """A tensor that derives from the input: views on a storage, and the value last read."""

    tensor: Tensor
    storage: Storage
    value: int
    version: int
    chain: tuple[View, ...]


def scatter_reads(view: View) -> tuple[tuple[Read, ...], tuple[Read, ...]]:
    """How a base reads after a write through one of its views.

    Returns the reads of the old base (what the view does not cover) and of the written value.
    """
    step = view.read.steps[0]
    if isinstance(step, Reshape) and len(view.read.steps) == 1:
        return (), (Read(0, (Reshape(),)),)
    if isinstance(step, Separable) and len(view.read.steps) == 1:
        found = _invert(step, view)
        if found is not None:
            return found
    why = f"a write through the view '{view.op}'"
    return (identity(0, len(view.before)),), (unknown(0, len(view.after), why),)


def _invert(step: Separable, view: View) -> tuple[tuple[Read, ...], tuple[Read, ...]] | None:
    coords: list[Coord] = [Fixed(IndexSet(0, 1))] * len(view.after)
    where: list[tuple[int, IndexSet]] = []
    kept: list[Read] = []
    for dim, coord in enumerate(step.coords):
        everything = IndexSet.range(0, view.before[dim])
        if isinstance(coord, Fixed) and coord.indices.count == 1:
            covered = coord.indices
            where.append((dim, covered))
        elif isinstance(coord, Along) and coord.map.is_single:
            covered = coord.map.pull(IndexSet.range(0, view.after[coord.dim])) & everything
            back = _inverse(coord.map)
            if back is None:
                return None
            coords[coord.dim] = Along(dim, back)
            if covered != everything:
                where.append((dim, covered))
        else:
            return None
        if covered != everything:
            rest = ((dim, everything - covered),)
            kept.append(separable(0, *(Along(d) for d in range(len(view.before))), where=rest))
    return tuple(kept), (separable(0, *coords, where=tuple(where)),)


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
