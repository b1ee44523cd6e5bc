"""Tiles of dask arrays: lazy, each crop read where it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import dask.array as da
import torch
from dask.delayed import delayed

from fieldwise.tile.arrays import Interval, Numbers, Readable, as_numpy, numpy_dtype
from fieldwise.tile.crops.outputs import returned
from fieldwise.tile.crops.parts import Tile
from fieldwise.tile.crops.plan import TilePlan


class CropByCrop(Protocol):
    """What a run on crops is asked for (see ``TiledCallable``)."""

    def plan_for(self, *inputs: Readable, **named: Readable) -> TilePlan:
        """The plan for such inputs."""

    def crop(self, tile: Tile, *inputs: Readable, **named: Readable) -> list[Readable]:
        """What one tile gives, per output."""


def tiled_array(run: CropByCrop, *given: Readable, **named: Readable) -> Any:
    """What a tiled model gives for dask arrays, as dask arrays; nothing is computed yet.

    Each tile is a task of its own, which reads exactly its crop: nothing is added at the borders.
    They come in the structure of the model's output.

    Raises TileError and UsageError as ``run`` itself does.
    """
    plan = run.plan_for(*given, **named)
    arrays = (*given, *named.values())
    called = delayed(run, traverse=False)
    inputs = _Inputs([tuple(array.shape) for array in arrays], tuple(named))
    found: list[list[da.Array]] = [[] for _ in plan.outputs]
    for tile in plan.tiles():
        crops = [_crop(array, tile.reads) for array in arrays]
        pieces = delayed(partial(_tile, tile, inputs), nout=len(plan.outputs))(called, *crops)
        for number, (output, piece) in enumerate(zip(plan.outputs, pieces, strict=True)):
            shape = [
                len(range(*one.indices(size)))
                for one, size in zip(tile.writes[number], output.shape, strict=True)
            ]
            found[number].append(
                da.from_delayed(piece, shape, numpy_dtype(getattr(torch, output.dtype)))
            )
    counts = [len(axis.pieces) for axis in plan.axes]
    results = [
        _assembled(parts, counts, output.dims)
        for parts, output in zip(found, plan.outputs, strict=True)
    ]
    return returned(plan, results, lambda x: da.from_array(as_numpy(x)))


@dataclass(frozen=True)
class _Crop:
    """The crop of one tile in place of the whole input: it has the whole's shape and those rows."""

    shape: tuple[int, ...]
    values: Readable
    reads: Mapping[int, tuple[Interval, ...]]

    def __getitem__(self, index: tuple[slice, ...]) -> Readable:
        return self.values[tuple(self._place(axis, one) for axis, one in enumerate(index))]

    def _place(self, axis: int, one: slice) -> slice:
        at = 0
        for start, stop in self.reads.get(axis, ()):
            if (start, stop) == (one.start, one.stop):
                return slice(at, at + stop - start)
            at += stop - start
        return one


def _crop(array: Readable, reads: Mapping[int, tuple[Interval, ...]]) -> Readable:
    for axis, intervals in reads.items():
        parts = [array[(slice(None),) * axis + (slice(*one),)] for one in intervals]
        array = parts[0] if len(parts) == 1 else da.concatenate(parts, axis=axis)
    return array


@dataclass(frozen=True)
class _Inputs:
    """The shapes of the whole inputs, and the names of the last ones."""

    shapes: Sequence[tuple[int, ...]]
    names: tuple[str, ...]


def _tile(tile: Tile, inputs: _Inputs, run: CropByCrop, *crops: Readable) -> tuple[Numbers, ...]:
    whole = [_Crop(shape, c, tile.reads) for shape, c in zip(inputs.shapes, crops, strict=True)]
    positional = len(whole) - len(inputs.names)
    named = dict(zip(inputs.names, whole[positional:], strict=True))
    found = run.crop(tile, *whole[:positional], **named)
    return tuple(map(as_numpy, found))


def _assembled(parts: Sequence[da.Array], counts: Sequence[int], dims: Sequence[int]) -> da.Array:
    """Tiles in row-major order as one array."""
    for count, dim in zip(reversed(counts), reversed(dims), strict=True):
        rows = range(0, len(parts), count)
        parts = [da.concatenate(parts[at : at + count], axis=dim) for at in rows]
    return parts[0]
