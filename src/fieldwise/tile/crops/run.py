"""The callable: a large input in, the model's outputs out, crop by crop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldwise.tile.arrays import ArrayOrTensor, Readable, Shapes, any_dask, as_numpy, read
from fieldwise.tile.certificate import RunCertificate, Runnable, verify
from fieldwise.tile.crops.outputs import chosen, kept, returned
from fieldwise.tile.crops.parts import Batch, Tile
from fieldwise.tile.crops.plan import TilePlan
from fieldwise.tile.crops.stacking import stacked, unstacked
from fieldwise.tile.crops.targets import Arguments, CropTarget
from fieldwise.tile.inputs import check_complete


class TiledCallable:
    """A model, or any callable with a plan, that is run on crops; made by ``tiled``.

    A callable is called with arrays (numpy arrays; tensors where the large inputs are tensors) and
    returns arrays, a sequence or a mapping of them, in the order of the plan's outputs or by their
    names.  A model is not changed, and runs where its weights are.
    """

    def __init__(self, target: CropTarget, *, verify: bool = False) -> None:
        self.target = target
        self._verify, self.certificates = verify, dict[Shapes, RunCertificate]()
        self._certified = dict[Shapes, TilePlan]()

    def plan(self, *shapes: Sequence[int]) -> TilePlan:
        """The plan for inputs of these shapes, made once for each; see ``plan_tiles``.

        Of a callable, its plan.  Raises UsageError where that is for inputs of another size.
        """
        return self.target.plan(*shapes)

    def plan_for(self, *inputs: Readable, **named: Readable) -> TilePlan:
        """The plan for such inputs, given as in a call."""
        return self.plan(*self.target.ordered(inputs, named).shapes)

    def __call__(self, *inputs: Readable, **named: Readable) -> Any:
        """The outputs for a large input: anything with shape, dtype and slices.

        They come in the structure in which the planned model returns them, constants and other
        leaves included: as tensors where the first input is one, else as numpy arrays; as dask
        arrays, of which nothing is computed yet, where one is a dask array.
        """
        given = self.target.ordered(inputs, named)
        plan = self.plan(*given.shapes)
        if self._verify and self._certified.get(plan.shapes) is not plan:
            self.certificates[plan.shapes] = self._certificate(plan, given)
            self._certified[plan.shapes] = plan
        if any_dask(given.arrays):
            from fieldwise.tile.crops.dask_arrays import tiled_array

            return tiled_array(self, *inputs, **named)
        tensors = isinstance(given.arrays[0], Tensor)
        return returned(
            plan, _assembled(self.target, plan, given), lambda x: _as(x, tensor=tensors)
        )

    def verify(self, *inputs: Readable, **named: Readable) -> RunCertificate:
        """Compare with the whole: on the inputs' first corner, as small as shows all of the plan.

        Both are run on random numbers in the range of what is there.

        Raises MismatchError where they differ by more than the arithmetic explains.
        """
        given = self.target.ordered(inputs, named)
        return self._certificate(self.plan(*given.shapes), given)

    def _certificate(self, plan: TilePlan, given: Arguments) -> RunCertificate:
        plan = plan.shortened()
        corner = {axis.axis: ((0, axis.size),) for axis in plan.axes}
        given = self.target.cast(given.holding(read(x, corner) for x in given.arrays))
        double = self.target.doubled()
        return verify(
            *_both(self.target, plan, given),
            *given.arrays,
            double=None if double is None else _both(double, plan, given),
        )

    def pieces(
        self, *inputs: Readable, **named: Readable
    ) -> Iterator[tuple[str, tuple[slice, ...], Any]]:
        """The outputs piece by piece: (name, where it goes in the whole output, array)."""
        given = self.target.ordered(inputs, named)
        plan = self.plan(*given.shapes)
        for number, tile, array in _run(self.target, plan, given):
            yield plan.outputs[number].name, tile.writes[number], array

    def crop(self, tile: Tile, *inputs: Readable, **named: Readable) -> list[Any]:
        """What one tile gives by itself, per output: for those who schedule tiles themselves."""
        return self.crops(Batch((tile,)), *inputs, **named)[0]

    def crops(self, batch: Batch, *inputs: Readable, **named: Readable) -> list[list[Any]]:
        """What each tile of a batch gives, per output (see ``TilePlan.batches``)."""
        given = self.target.ordered(inputs, named)
        return _computed(self.target, self.plan(*given.shapes), batch, given)


def _both(target: CropTarget, plan: TilePlan, given: Arguments) -> tuple[Runnable, Runnable]:
    """A run from pieces, and one at once, of arrays in the places of the given ones."""

    def named(found: Sequence[object]) -> object:
        names = [output.name for output in plan.outputs]
        return found[0] if len(found) == 1 else dict(zip(names, found, strict=True))

    def whole(*arrays: Readable) -> object:
        return named(chosen(target.whole(given.holding(arrays), plan), plan.outputs))

    def pieces(*arrays: Readable) -> object:
        return named(_assembled(target, plan, given.holding(arrays)))

    return pieces, whole


def _assembled(target: CropTarget, plan: TilePlan, given: Arguments) -> list[ArrayOrTensor]:
    """The planned outputs, each put together from its pieces."""
    tensors = isinstance(given.arrays[0], Tensor)
    found: list[Any] = [None] * len(plan.outputs)
    with target.between_crops(plan):
        for number, tile, array in _run(target, plan, given):
            if found[number] is None:
                found[number] = _empty_like(array, plan.outputs[number].shape, tensor=tensors)
            found[number][tile.writes[number]] = _as(array, tensor=tensors)
            del array  # or it would be there beside the next crop
    return found


def _run(
    target: CropTarget, plan: TilePlan, given: Arguments
) -> Iterator[tuple[int, Tile, Readable]]:
    for batch in plan.batches():
        found = _computed(target, plan, batch, given)
        for tile in batch.tiles:
            arrays = found.pop(0)
            while arrays:
                yield len(plan.outputs) - len(arrays), tile, arrays.pop(0)


def _computed(
    target: CropTarget, plan: TilePlan, batch: Batch, given: Arguments
) -> list[list[Readable]]:
    """Per tile of a batch, what is kept of each output."""
    crops = [given.holding(_parts(tile, given)) for tile in batch.tiles]
    arrays = chosen(target.crop(stacked(crops, batch.count), plan), plan.outputs)
    return [
        [
            kept(unstacked(array, place, batch.count, output.batched), tile, number, output)
            for number, (array, output) in enumerate(zip(arrays, plan.outputs, strict=True))
        ]
        for place, tile in enumerate(batch.tiles)
    ]


def _parts(tile: Tile, given: Arguments) -> Iterator[ArrayOrTensor]:
    return (_part(number, x, tile) for number, x in enumerate(given.arrays))


def _part(number: int, x: Readable, tile: Tile) -> ArrayOrTensor:
    """What a tile reads of an input.  Raises UsageError where it is not all there."""
    sizes = {axis: sum(hi - lo for lo, hi in found) for axis, found in tile.reads.items()}
    crop = read(x, tile.reads)
    check_complete(number, crop.shape, [sizes.get(a, n) for a, n in enumerate(x.shape)])
    return crop


def _empty_like(array: object, shape: Sequence[int], *, tensor: bool) -> ArrayOrTensor:
    like = _as(array, tensor=tensor)
    if isinstance(like, Tensor):
        return torch.empty(tuple(shape), dtype=like.dtype, device=like.device)
    return np.empty(tuple(shape), dtype=like.dtype)


def _as(array: object, *, tensor: bool) -> ArrayOrTensor:
    if tensor:
        return array.detach() if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
    return as_numpy(array)
