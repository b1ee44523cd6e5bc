"""Products that hold for some units only: where their guards come from, and where they go.

A guard on a dimension that a track follows is better written into the track's map, as offsets that
are empty: zeros between samples then have a period, like any other regular op.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import lcm

from fieldwise.axes import EMPTY, AnySet, AxisMap, Border, IndexSet, Region, Table
from fieldwise.field.products import DigitLayout, Guards, Product, Track, guards, over
from fieldwise.graph.ir import Along, Coord, Fixed, Shape


def landings(
    coords: Sequence[Coord], before: Shape, after: Shape
) -> dict[int, tuple[int, IndexSet]]:
    """Per operand dimension that some result indices miss: the result's, and those that do not."""
    found = {}
    for dim, coord in enumerate(coords):
        if isinstance(coord, Along) and not coord.keeps(before[dim], after[coord.dim]):
            size = after[coord.dim]
            reached = _reached(coord.map, coord.border, before[dim], size)
            if reached.count < size:
                found[dim] = coord.dim, reached
    return found


@lru_cache(maxsize=4096)
def _reached(index: AxisMap | Table, border: Border, before: int, after: int) -> IndexSet:
    every = IndexSet.range(0, before)
    return index.push(border.sources(every, before, index.reach(after)), after)


def pushed(
    where: Guards, coords: Sequence[Coord], before: Shape, after: Shape
) -> dict[int, IndexSet] | None:
    """The operand's guards in the result's dimensions; None where nothing passes."""
    out: dict[int, IndexSet] = {}
    for dim, indices in where:
        coord = coords[dim]
        if isinstance(coord, Fixed) and indices.isdisjoint(coord.indices):
            return None
        if isinstance(coord, Along):
            size = after[coord.dim]
            sources = coord.border.sources(indices, before[dim], coord.map.reach(size))
            narrow(out, coord.dim, coord.map.push(sources, size))
            if not out[coord.dim]:
                return None
    return out


def narrow(limits: dict[int, IndexSet], dim: int, indices: IndexSet) -> None:
    """Let no other indices of this dimension through."""
    limits[dim] = limits[dim] & indices if dim in limits else indices


def reshaped(
    where: Guards, groups: Sequence[tuple[range, range]], before: Shape, after: Shape
) -> list[Guards]:
    """Guards over the new dimensions; several where the guarded part is no product there."""
    if not where:
        return [()]
    known = dict(where)
    found: list[dict[int, IndexSet]] = [{}]
    for old, new in groups:
        if not any(dim in known for dim in old):
            continue
        sides = tuple(known.get(dim, IndexSet.range(0, before[dim])) for dim in old)
        region = Region.of([sides]).reshape(
            before[old.start : old.stop], after[new.start : new.stop]
        )
        found = [
            {**head, **dict(zip(new, part, strict=True))}
            for head in found
            for part in region.products
        ]
    return [guards(one, after) for one in found]


# -------------------------------------------------------------------- guards as empty offsets


def merged(product: Product, groups: Sequence[tuple[range, range]], layout: DigitLayout) -> Product:
    """The product before dimensions merge, its guards in the maps of tracks that they join.

    Of (rows, 2), guarded to 0 of the two, every other one of the merged rows sees something.
    """
    if not product.where:
        return product
    joins = {dim: old for old, _ in groups for dim in old if dim != old.start}
    for dim, indices in product.where:
        if dim not in joins or len(layout[dim]) != 1:
            continue
        for axis, track in enumerate(product.tracks):
            if track.digits and all(d in joins[dim] and d < dim for d, _ in track.digits):
                index = over(track, (*track.digits, (dim, 0)), layout)
                if index is not None:
                    new = Track((*track.digits, (dim, 0)), only(index, layout[dim][0][0], indices))
                    product = _moved(product, axis, new, dim)
                    break
    return product


def regular(product: Product, layout: DigitLayout) -> Product:
    """The product with guards that let every n-th unit through written into maps."""
    for dim, indices in product.where:
        step = _step(indices, layout[dim][0][0]) if len(layout[dim]) == 1 else None
        for axis, track in enumerate(product.tracks):
            if step and track.digits == ((dim, 0),):
                residue = IndexSet(indices.first, 1)
                new = Track(track.digits, only(track.map, step, residue))
                product = _moved(product, axis, new, dim)
                break
    return product


def _step(indices: IndexSet, size: int) -> int | None:
    """n, where the indices are every n-th one of a range of at least twice that length."""
    if indices.count < 3:
        return None
    step = (indices.last - indices.first) // (indices.count - 1)
    regular = step > 1 and indices == IndexSet.range(indices.first, size, step)
    return step if regular and indices.first < step else None


def _moved(product: Product, axis: int, track: Track, dim: int) -> Product:
    tracks = (*product.tracks[:axis], track, *product.tracks[axis + 1 :])
    return replace(
        product, tracks=tracks, where=tuple(pair for pair in product.where if pair[0] != dim)
    )


def only(index: AxisMap[AnySet], modulus: int, residues: IndexSet) -> AxisMap[AnySet]:
    """The map that reads nothing but at indices whose remainder is one of these.

    >>> print(only(AxisMap.window(3), 2, IndexSet(0, 1)))
    2q+r -> 2q+{0..2} | {}
    """
    period = lcm(index.period, modulus)
    turns = period // index.period
    offsets = [
        offset.shift(turn * index.advance) for turn in range(turns) for offset in index.offsets
    ]
    return AxisMap(
        index.advance * turns,
        tuple(
            offset if phase % modulus in residues else EMPTY for phase, offset in enumerate(offsets)
        ),
    )
