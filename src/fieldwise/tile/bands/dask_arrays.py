"""Streaming over dask arrays: lazy, each input row read where it is needed.

Sections are independent of each other; within one, each task takes the rows of about one chunk and
the state of the task before.  Layers that read the whole axis have passes of their own, in which
tasks sum up what they see of their rows; the sums are joined in the order of the rows, so that the
result does not depend on who computed what, or when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import torch
from dask.delayed import Delayed, delayed
from torch import Tensor

from fieldwise.graph.ir import Shape
from fieldwise.tile.arrays import Numbers, Readable, as_numpy, numpy_dtype
from fieldwise.tile.bands.drive import state_at_start
from fieldwise.tile.bands.legs import Leg, legs_of, run_leg
from fieldwise.tile.bands.passes import Pass
from fieldwise.tile.bands.program import Program, Streamed
from fieldwise.tile.bands.programs import Programs
from fieldwise.tile.bands.recipe import START, Findings, Recipe
from fieldwise.tile.bands.run import BandState
from fieldwise.tile.bands.sections import sections_of
from fieldwise.tile.outputs import structured

LegTask = Callable[..., tuple[object, ...]]
"""From a recipe, findings, a state and rows of each input: the state after a leg, and results."""


def streamed_array(run: Programs, *given: Readable, section: int | None = None) -> Any:
    """What a streamed model gives for dask arrays, as dask arrays; nothing is computed yet.

    section: input rows that are streamed in one go, at least; by default long enough that what
             two sections share is little beside them

    Input rows are read twice only where sections meet, and once more per pass.  Outputs come in the
    structure of the model's output.

    Raises StreamError and UsageError as ``run`` itself does.
    """
    arrays = [_as_dask(array) for array in given]
    shapes = tuple(array.shape for array in arrays)
    planned = run.planned(shapes)
    program = planned.program
    recipe = delayed(Recipe.of(run.streaming, shapes), traverse=False)
    findings = delayed(START, traverse=False)
    named = dict(zip(planned.graph.inputs, arrays, strict=True))
    for one in planned.passes:
        findings, kept = _passed(one, recipe, findings, named, section, run.band)
        named.update(kept)
    results = _streamed(program, recipe, findings, named, section, run.band)
    for place, _, like in program.fixed:
        value = delayed(_fixed)(recipe, findings, place)
        results.insert(place, da.from_delayed(value, tuple(like.shape), numpy_dtype(like.dtype)))
    return structured(program.structure, results, lambda x: da.from_array(as_numpy(x)))


def _passed(
    one: Pass,
    recipe: Delayed,
    findings: Delayed,
    named: Mapping[str, da.Array],
    section: int | None,
    band: int,
) -> tuple[Delayed, dict[str, da.Array]]:
    """What is known after a pass, and what it keeps, by name; rows have their own dimension."""
    outputs, shape = one.program.wiring.outputs, one.graph.shape
    sums, rows = list[Delayed](), _Parts(one.program)
    for leg, (part, *found) in _legs(
        one.program, _summed, 1 + len(outputs), recipe, findings, named, section, band
    ):
        sums.append(part)
        rows.add(leg, found)
    kept = {name: rows.joined(value) for value, name in one.gathered.items()}
    whole = {name: {**named, **kept}[name].reshape(shape(name)) for name in one.whole}
    for number, run in enumerate(one.runs):
        read = {name: {**named, **kept}[name].reshape(shape(name)) for name in run.streamed}
        results = delayed(Recipe.run_whole, nout=len(run.node.results))(
            recipe, findings, number, read
        )
        for name, result in zip(run.node.results, results, strict=True):
            kind = one.graph.values[name]
            dtype = numpy_dtype(getattr(torch, kind.dtype))
            found_whole = da.from_delayed(result, kind.shape, dtype)
            if name in run.kept:
                rows_apart = Streamed.of(name, kind, run.kept[name], endless=False)
                kept[name] = found_whole.reshape(rows_apart.shape)
            else:
                whole[name] = found_whole
    return delayed(Recipe.found)(recipe, findings, _joined(recipe, findings, sums), whole), kept


def _as_dask(array: object) -> da.Array:
    """An input as a dask array; beside dask arrays there may be others."""
    return da.asarray(as_numpy(array) if isinstance(array, Tensor) else array)


def _streamed(
    program: Program,
    recipe: Delayed,
    findings: Delayed,
    named: Mapping[str, da.Array],
    section: int | None,
    band: int,
) -> list[da.Array]:
    """The outputs that are streamed, as dask arrays."""
    rows, outputs = _Parts(program), len(program.wiring.outputs)
    for leg, found in _legs(program, _computed, outputs, recipe, findings, named, section, band):
        rows.add(leg, found)
    return [rows.joined(value).reshape(program.values[value].whole) for value in program.outputs]


class _Parts:
    """The rows of a program's outputs, as they come from leg to leg."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._parts: list[list[da.Array]] = [[] for _ in program.wiring.outputs]

    def add(self, leg: Leg, found: Sequence[Delayed]) -> None:
        """What a leg gives of each output."""
        for number, (rows, value) in enumerate(zip(leg.rows, found, strict=True)):
            if rows[0] < rows[1]:
                self._parts[number].append(_lazy(self._program, number, rows, value))

    def joined(self, value: int) -> da.Array:
        """All rows of an output, as a dask array."""
        number = self._program.wiring.outputs.index(value)
        return da.concatenate(self._parts[number], axis=self._program.values[value].dim)


def _legs(
    program: Program,
    task: LegTask,
    results: int,
    recipe: Delayed,
    findings: Delayed,
    named: Mapping[str, da.Array],
    section: int | None,
    band: int,
) -> Iterator[tuple[Leg, list[Delayed]]]:
    """Each leg of a program, and the delayed results of its task."""
    if not program.wiring.outputs:
        return
    dims = [program.values[value].dim for value in program.wiring.inputs]
    arrays = [named[program.values[value].name] for value in program.wiring.inputs]
    rows = max(max(a.chunks[dim]) for a, dim in zip(arrays, dims, strict=True))
    grains = [1] * len(program.wiring.outputs)
    for one in sections_of(program, band, grains, rows=section):
        state = delayed(state_at_start(program, one), traverse=False)
        for leg in legs_of(program, one, band, rows):
            blocks = [
                array[(slice(None),) * dim + (slice(*reads),)]
                for array, dim, reads in zip(arrays, dims, leg.reads, strict=True)
            ]
            state, *found = delayed(partial(task, leg), nout=results + 1)(
                recipe, findings, state, *blocks
            )
            yield leg, found


def _joined(recipe: Delayed, findings: Delayed, parts: Sequence[Delayed]) -> Delayed:
    """The sums of all legs, a few at a time."""
    while len(parts) > 1:
        groups = [parts[at : at + _FEW] for at in range(0, len(parts), _FEW)]
        parts = [delayed(Recipe.joined)(recipe, findings, group) for group in groups]
    return parts[0] if parts else delayed((), traverse=False)


# -------------------------------------------------------------------- what a task does


def _computed(
    leg: Leg, recipe: Recipe, findings: Findings, state: BandState, *blocks: Readable
) -> tuple[object, ...]:
    after, found = run_leg(recipe.program(findings), recipe.device, leg, state, blocks)
    return after, *map(_as_given, found)


def _as_given(rows: Tensor | None) -> Numbers:
    return np.empty(0) if rows is None else as_numpy(rows)


def _summed(
    leg: Leg, recipe: Recipe, findings: Findings, state: BandState, *blocks: Readable
) -> tuple[object, ...]:
    after, found = run_leg(recipe.pass_program(findings), recipe.device, leg, state, blocks)
    kept = recipe.gathered(findings, found)
    return after, recipe.parts(findings, found), *map(_as_given, kept)


def _fixed(recipe: Recipe, findings: Findings, place: int) -> Numbers:
    program = recipe.program(findings)
    return next(as_numpy(result) for at, _, result in program.fixed if at == place)


def _lazy(program: Program, number: int, rows: tuple[int, int], value: Delayed) -> da.Array:
    kind = program.values[program.wiring.outputs[number]]
    shape: Shape = tuple(
        rows[1] - rows[0] if dim == kind.dim else size for dim, size in enumerate(kind.shape)
    )
    return da.from_delayed(value, shape, numpy_dtype(kind.dtype))


_FEW = 16
