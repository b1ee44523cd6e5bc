"""Dask arrays in, dask arrays out: lazy, each input row read where it is needed."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
from dask import delayed
from torch import Tensor

from fieldwise.capture.torch import meta_tensor
from fieldwise.capture.torch.tree import map_tensors
from fieldwise.errors import UsageError
from fieldwise.tile.distributed.legs import Leg, legs_of, run_leg, state_at_start
from fieldwise.tile.halo.engine import TiledCallable
from fieldwise.tile.jobs.sections import sections_of
from fieldwise.tile.jobs.streaming import as_numpy, numpy_dtype
from fieldwise.tile.plan import Interval, Tile
from fieldwise.tile.stream.engine import State
from fieldwise.tile.stream.outputs import nested
from fieldwise.tile.stream.program import Program
from fieldwise.tile.stream.streamed import StreamedModel


def streamed_array(run: StreamedModel, *arrays: Any, section: int | None = None) -> Any:
    """What a streamed model gives for dask arrays, as dask arrays; nothing is computed yet.

    section: input rows that are streamed in one go, at least; by default long enough that what
             two sections share is little beside them

    Sections are independent of each other; within one, each task takes the rows of about one
    chunk and the state of the task before, so that input rows are read twice only where sections
    meet.  One output comes as it is, several as a tuple or a dict, as from the model.

    Raises StreamError and UsageError as ``run`` itself does, and UsageError for
    ``global_ops='multipass'``.
    """
    if run.global_ops != "refuse":
        raise UsageError(
            "Several passes over a dask array are not planned; give arrays of another kind, or "
            "stream with global_ops='refuse'."
        )
    shapes = tuple(tuple(array.shape) for array in arrays)
    program = run.program(shapes)
    recipe = delayed(_Recipe.of(run, shapes), traverse=False)
    grains = [1] * len(program.wiring.outputs)
    parts: list[list[Any]] = [[] for _ in program.wiring.outputs]
    dims = [program.values[value].dim for value in program.wiring.inputs]
    rows = max(max(a.chunks[dim]) for a, dim in zip(arrays, dims, strict=True))
    for one in sections_of(program, run.band, grains, rows=section):
        state: Any = state_at_start(program, one)
        for leg in legs_of(program, one, run.band, rows):
            blocks = [
                array[(slice(None),) * dim + (slice(*reads),)]
                for array, dim, reads in zip(arrays, dims, leg.reads, strict=True)
            ]
            state, *found = delayed(partial(_run, leg), nout=len(parts) + 1)(
                recipe, delayed(state, traverse=False), *blocks
            )
            for number, (rows_given, value) in enumerate(zip(leg.rows, found, strict=True)):
                if rows_given[0] < rows_given[1]:
                    parts[number].append(_lazy(program, number, rows_given, value))
    joined = {
        value: da.concatenate(parts[number], axis=program.values[value].dim)
        for number, value in enumerate(program.wiring.outputs)
    }
    return nested(program.output_names, [joined[value] for value in program.outputs])


def tiled_array(run: TiledCallable, *arrays: Any, **named: Any) -> Any:
    """What a tiled model gives for dask arrays, as dask arrays; nothing is computed yet.

    Each tile is a task of its own, which reads exactly its crop: nothing is added at the borders.
    One output comes as it is, several as a tuple or a dict, as from the model.

    Raises TileError and UsageError as ``run`` itself does.
    """
    plan = run.plan_for(*arrays, **named)
    arrays = (*arrays, *named.values())
    called = delayed(run, traverse=False)
    inputs = _Inputs([tuple(array.shape) for array in arrays], tuple(named))
    found: list[list[Any]] = [[] for _ in plan.outputs]
    for tile in plan.tiles():
        crops = [_crop(array, tile.reads) for array in arrays]
        pieces = delayed(partial(_tile, tile, inputs), nout=len(plan.outputs))(called, *crops)
        for number, (output, piece) in enumerate(zip(plan.outputs, pieces, strict=True)):
            shape = [
                len(range(*one.indices(size)))
                for one, size in zip(tile.writes[number], output.shape, strict=True)
            ]
            found[number].append(da.from_delayed(piece, shape, np.dtype(output.dtype)))
    counts = [len(axis.pieces) for axis in plan.axes]
    results = [
        _assembled(parts, counts, output.dims)
        for parts, output in zip(found, plan.outputs, strict=True)
    ]
    return nested([output.name for output in plan.outputs], results)


# -------------------------------------------------------------------- streaming


@dataclass(frozen=True)
class _Recipe:
    """What a worker needs to make the program that the legs were planned for."""

    token: str
    model: Any
    example: Any
    axis: int
    band: int
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, run: StreamedModel, shapes: tuple[tuple[int, ...], ...]) -> _Recipe:
        example = map_tensors(lambda t: meta_tensor(t.shape).to(t.dtype), run.example)
        return cls(uuid4().hex, run.model, example, run.axis, run.band, shapes)

    def program(self) -> Program:
        """The program, made once per process; models are not captured by two threads at a time."""
        with _LOCK:
            if self.token not in _PROGRAMS:
                while len(_PROGRAMS) >= _KEPT:
                    _PROGRAMS.pop(next(iter(_PROGRAMS)))
                run = StreamedModel(
                    self.model, self.example, axis=self.axis, band=self.band, global_ops="refuse"
                )
                _PROGRAMS[self.token] = run.program(self.shapes)
            return _PROGRAMS[self.token]


def _run(leg: Leg, recipe: _Recipe, state: State, *blocks: Any) -> tuple[Any, ...]:
    after, found = run_leg(recipe.program(), leg, state, blocks)
    return (after, *found)


def _lazy(program: Program, number: int, rows: tuple[int, int], value: Any) -> Any:
    kind = program.values[program.wiring.outputs[number]]
    shape = [rows[1] - rows[0] if d == kind.dim else n for d, n in enumerate(kind.shape)]
    return da.from_delayed(value, shape, numpy_dtype(kind.dtype))


_LOCK = threading.Lock()
_PROGRAMS: dict[str, Program] = {}
_KEPT = 2


# -------------------------------------------------------------------- tiles


@dataclass(frozen=True)
class _Crop:
    """The crop of one tile in place of the whole input: it has the whole's shape and those rows."""

    shape: tuple[int, ...]
    values: Any
    reads: Mapping[int, tuple[Interval, ...]]

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        return self.values[tuple(self._place(axis, one) for axis, one in enumerate(index))]

    def _place(self, axis: int, one: slice) -> slice:
        at = 0
        for start, stop in self.reads.get(axis, ()):
            if (start, stop) == (one.start, one.stop):
                return slice(at, at + stop - start)
            at += stop - start
        return one


def _crop(array: Any, reads: Mapping[int, tuple[Interval, ...]]) -> Any:
    for axis, intervals in reads.items():
        parts = [array[(slice(None),) * axis + (slice(*one),)] for one in intervals]
        array = parts[0] if len(parts) == 1 else da.concatenate(parts, axis=axis)
    return array


@dataclass(frozen=True)
class _Inputs:
    """The shapes of the whole inputs, and the names of the last ones."""

    shapes: Sequence[tuple[int, ...]]
    names: tuple[str, ...]


def _tile(tile: Tile, inputs: _Inputs, run: TiledCallable, *crops: Any) -> Any:
    whole = [_Crop(shape, c, tile.reads) for shape, c in zip(inputs.shapes, crops, strict=True)]
    positional = len(whole) - len(inputs.names)
    named = dict(zip(inputs.names, whole[positional:], strict=True))
    found = run.crop(tile, *whole[:positional], **named)
    return tuple(as_numpy(x) if isinstance(x, Tensor) else np.asarray(x) for x in found)


def _assembled(parts: Sequence[Any], counts: Sequence[int], dims: Sequence[int]) -> Any:
    """Tiles in row-major order as one array."""
    for count, dim in zip(reversed(counts), reversed(dims), strict=True):
        rows = range(0, len(parts), count)
        parts = [da.concatenate(parts[at : at + count], axis=dim) for at in rows]
    return parts[0]
