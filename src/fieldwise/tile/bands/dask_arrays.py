"""Streaming over dask arrays: lazy, each input row read where it is needed.

Sections are independent of each other; within one, each task takes the rows of about one chunk and
the state of the task before.  Layers that read the whole axis have passes of their own, in which
tasks sum up what they see of their rows; the sums are joined in the order of the rows, so that the
result does not depend on who computed what, or when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from fieldwise.tile.bands.passes import Pass
from fieldwise.tile.bands.program import Program, Streamed
from fieldwise.tile.bands.programs import Programs
from fieldwise.tile.bands.recipe import START, Findings, Recipe
from fieldwise.tile.bands.run import BandState
from fieldwise.tile.bands.section_parts import SectionPart, parts_of, run_part
from fieldwise.tile.bands.sections import sections_of
from fieldwise.tile.outputs import structured

PartTask = Callable[..., tuple[object, ...]]
"""From a recipe, findings, a state and rows of each input: the state after a part, and results."""


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
    begun = _Begun(
        delayed(Recipe.of(run.streaming, shapes), traverse=False),
        delayed(START, traverse=False),
        dict(zip(planned.graph.inputs, arrays, strict=True)),
        section,
        run.band,
    )
    for one in planned.passes:
        begun = _passed(one, begun)
    results = _streamed(program, begun)
    for place, _, like in program.fixed:
        value = delayed(_fixed)(begun.recipe, begun.findings, place)
        results.insert(place, da.from_delayed(value, tuple(like.shape), numpy_dtype(like.dtype)))
    return structured(program.structure, results, lambda x: da.from_array(as_numpy(x)))


@dataclass(frozen=True)
class _Begun:
    """A run as far as its tasks are made.

    recipe:   makes the programs, on whichever machine; findings: what passes have found
    named:    values that are there, by name: inputs, and what was kept; rows have their own
              dimension
    section, band: input rows that are streamed in one go, at least; input rows per step
    """

    recipe: Delayed
    findings: Delayed
    named: Mapping[str, da.Array]
    section: int | None
    band: int

    def parts(
        self, program: Program, task: PartTask, results: int
    ) -> Iterator[tuple[SectionPart, list[Delayed]]]:
        """Each part of a program, and the delayed results of its task."""
        if not program.wiring.outputs:
            return
        dims = [program.values[value].dim for value in program.wiring.inputs]
        arrays = [self.named[program.values[value].name] for value in program.wiring.inputs]
        rows = max(max(a.chunks[dim]) for a, dim in zip(arrays, dims, strict=True))
        grains = [1] * len(program.wiring.outputs)
        for one in sections_of(program, self.band, grains, rows=self.section):
            state = delayed(state_at_start(program, one), traverse=False)
            for part in parts_of(program, one, self.band, rows):
                blocks = [
                    array[(slice(None),) * dim + (slice(*reads),)]
                    for array, dim, reads in zip(arrays, dims, part.reads, strict=True)
                ]
                state, *found = delayed(partial(task, part), nout=results + 1)(
                    self.recipe, self.findings, state, *blocks
                )
                yield part, found


def _passed(one: Pass, begun: _Begun) -> _Begun:
    """The same after a pass: what it has found is known, what it keeps is there."""
    recipe, findings, named = begun.recipe, begun.findings, begun.named
    outputs, shape = one.program.wiring.outputs, one.graph.shape
    sums, rows = list[Delayed](), _Rows(one.program)
    for part, (summed, *found) in begun.parts(one.program, _summed, 1 + len(outputs)):
        sums.append(summed)
        rows.add(part, found)
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
    after = delayed(Recipe.found)(recipe, findings, _joined(recipe, findings, sums), whole)
    return replace(begun, findings=after, named={**named, **kept})


def _as_dask(array: object) -> da.Array:
    """An input as a dask array; beside dask arrays there may be others."""
    return da.asarray(as_numpy(array) if isinstance(array, Tensor) else array)


def _streamed(program: Program, begun: _Begun) -> list[da.Array]:
    """The outputs that are streamed, as dask arrays."""
    rows, outputs = _Rows(program), len(program.wiring.outputs)
    for part, found in begun.parts(program, _computed, outputs):
        rows.add(part, found)
    return [rows.joined(value).reshape(program.values[value].whole) for value in program.outputs]


class _Rows:
    """The rows of a program's outputs, as they come from part to part."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._parts: list[list[da.Array]] = [[] for _ in program.wiring.outputs]

    def add(self, part: SectionPart, found: Sequence[Delayed]) -> None:
        """What a part gives of each output."""
        for number, (rows, value) in enumerate(zip(part.rows, found, strict=True)):
            if rows[0] < rows[1]:
                self._parts[number].append(_lazy(self._program, number, rows, value))

    def joined(self, value: int) -> da.Array:
        """All rows of an output, as a dask array."""
        number = self._program.wiring.outputs.index(value)
        return da.concatenate(self._parts[number], axis=self._program.values[value].dim)


def _joined(recipe: Delayed, findings: Delayed, parts: Sequence[Delayed]) -> Delayed:
    """The sums of all parts, a few at a time."""
    while len(parts) > 1:
        groups = [parts[at : at + _FEW] for at in range(0, len(parts), _FEW)]
        parts = [delayed(Recipe.joined)(recipe, findings, group) for group in groups]
    return parts[0] if parts else delayed((), traverse=False)


# -------------------------------------------------------------------- what a task does


def _computed(
    part: SectionPart, recipe: Recipe, findings: Findings, state: BandState, *blocks: Readable
) -> tuple[object, ...]:
    after, found = run_part(recipe.program(findings), recipe.device, part, state, blocks)
    return after, *map(_as_given, found)


def _as_given(rows: Tensor | None) -> Numbers:
    return np.empty(0) if rows is None else as_numpy(rows)


def _summed(
    part: SectionPart, recipe: Recipe, findings: Findings, state: BandState, *blocks: Readable
) -> tuple[object, ...]:
    after, found = run_part(recipe.pass_program(findings), recipe.device, part, state, blocks)
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
