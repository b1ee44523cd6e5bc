"""The callable: a large input in, the model's outputs out, crop by crop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldwise.capture.torch import as_example
from fieldwise.capture.torch.keeping import remembered
from fieldwise.capture.torch.private import prepared
from fieldwise.capture.torch.running import copied, doubled, forward, in_double
from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.errors import UsageError
from fieldwise.graph.spatial import Axes
from fieldwise.tile.arrays import Shapes, any_dask, as_numpy, owned, read
from fieldwise.tile.certificate import RunCertificate, Runnable, verify
from fieldwise.tile.crops.outputs import chosen, kept, returned
from fieldwise.tile.crops.parts import Tile
from fieldwise.tile.crops.plan import TilePlan
from fieldwise.tile.crops.planner import plan_tiles
from fieldwise.tile.errors import TileError
from fieldwise.tile.inputs import as_tensor, check_complete, check_readable, ordered


class TiledCallable:
    """Any callable, run on the crops of a given plan; made by ``tiled``.

    It is called with arrays (numpy arrays; tensors where the large inputs are tensors) and returns
    arrays, a sequence or a mapping of them, in the order of the plan's outputs or by their names.
    """

    def __init__(self, call: Runnable, plan: TilePlan, *, verify: bool = False) -> None:
        self.call, self._plan = call, plan
        self._verify, self.certificates = verify, dict[Shapes, RunCertificate]()

    def plan(self, *shapes: Sequence[int]) -> TilePlan:
        """The plan.  Raises UsageError for inputs of another size."""
        given = tuple(tuple(shape) for shape in shapes)
        if given and given != self._plan.shapes:
            raise UsageError(
                f"The plan is for inputs of {_told(self._plan.shapes)}, and these are "
                f"{_told(given)}; plan for this size."
            )
        return self._plan

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """The outputs for a large input: anything with shape, dtype and slices.

        They come in the structure in which the planned model returns them, constants and other
        leaves included: as tensors where the first input is one, else as numpy arrays; as dask
        arrays, of which nothing is computed yet, where one is a dask array.
        """
        plan = self.plan_for(*inputs, **named)
        if self._verify and plan.shapes not in self.certificates:
            self.certificates[plan.shapes] = self.verify(*inputs, **named)
        if any_dask((*inputs, *named.values())):
            from fieldwise.tile.crops.dask_arrays import tiled_array

            return tiled_array(self, *inputs, **named)
        tensors = isinstance(next(iter((*inputs, *named.values()))), Tensor)
        return returned(
            plan, self._assembled(plan, inputs, named), lambda x: _as(x, tensor=tensors)
        )

    def verify(self, *inputs: Any, **named: Any) -> RunCertificate:
        """Compare with the whole: on the inputs' first corner, as small as shows all of the plan.

        Both are run on random numbers in the range of what is there.

        Raises MismatchError where they differ by more than the arithmetic explains.
        """
        plan = self.plan_for(*inputs, **named).shortened()
        corner = {axis.axis: ((0, axis.size),) for axis in plan.axes}
        given = [self._cast(n, read(x, corner)) for n, x in enumerate(self._ordered(inputs, named))]
        double, names = self._doubled(), self._names(named)
        return verify(
            *self._both(plan, names),
            *given,
            double=None if double is None else double._both(plan, names),
        )

    def _both(self, plan: TilePlan, names: Sequence[str]) -> tuple[Runnable, Runnable]:
        """A run from pieces, and one at once; the last arguments are those with names."""

        def split(given: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
            positional = len(given) - len(names)
            return given[:positional], dict(zip(names, given[positional:], strict=True))

        def named_outputs(found: Sequence[Any]) -> Any:
            names = [output.name for output in plan.outputs]
            return found[0] if len(found) == 1 else dict(zip(names, found, strict=True))

        def whole(*given: Any) -> Any:
            return named_outputs(chosen(self._called(*split(given)), plan.outputs))

        def pieces(*given: Any) -> Any:
            return named_outputs(self._assembled(plan, *split(given)))

        return pieces, whole

    def _doubled(self) -> TiledCallable | None:
        """The same in float64, where that can be had."""
        return None

    def _assembled(
        self, plan: TilePlan, inputs: Sequence[Any], named: Mapping[str, Any]
    ) -> list[Any]:
        """The planned outputs, each put together from its pieces."""
        tensors = isinstance(next(iter((*inputs, *named.values()))), Tensor)
        found: list[Any] = [None] * len(plan.outputs)
        for number, tile, array in self._run(plan, inputs, named):
            if found[number] is None:
                found[number] = _empty_like(array, plan.outputs[number].shape, tensor=tensors)
            found[number][tile.writes[number]] = _as(array, tensor=tensors)
            del array  # or it would be there beside the next crop
        return found

    def pieces(self, *inputs: Any, **named: Any) -> Iterator[tuple[str, tuple[slice, ...], Any]]:
        """The outputs piece by piece: (name, where it goes in the whole output, array)."""
        plan = self.plan_for(*inputs, **named)
        for number, tile, array in self._run(plan, inputs, named):
            yield plan.outputs[number].name, tile.writes[number], array

    def crop(self, tile: Tile, *inputs: Any, **named: Any) -> list[Any]:
        """What one tile gives, per output: for those who schedule tiles themselves."""
        return self._cropped(self.plan_for(*inputs, **named), tile, inputs, named)

    def _cropped(
        self, plan: TilePlan, tile: Tile, inputs: Sequence[Any], named: Mapping[str, Any]
    ) -> list[Any]:
        given = [*inputs, *named.values()]
        parts = [_part(number, x, tile) for number, x in enumerate(given)]
        crops, keyed = parts[: len(inputs)], dict(zip(named, parts[len(inputs) :], strict=True))
        arrays = chosen(self._on_crop(crops, keyed), plan.outputs)
        return [
            kept(array, tile, number, output)
            for number, (array, output) in enumerate(zip(arrays, plan.outputs, strict=True))
        ]

    # ---------------------------------------------------------------- one run

    def _run(
        self, plan: TilePlan, inputs: Sequence[Any], named: Mapping[str, Any]
    ) -> Iterator[tuple[int, Tile, Any]]:
        for tile in plan.tiles():
            arrays = self._cropped(plan, tile, inputs, named)
            while arrays:
                yield len(plan.outputs) - len(arrays), tile, arrays.pop(0)

    def plan_for(self, *inputs: Any, **named: Any) -> TilePlan:
        """The plan for such inputs, given as in a call."""
        given = self._ordered(inputs, named)
        for number, x in enumerate(given):
            self._check(number, x)
        return self.plan(*(x.shape for x in given))

    def _ordered(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """The inputs in the order of the plan's shapes."""
        return [*inputs, *named.values()]

    def _check(self, number: int, x: Any) -> None:
        check_readable(number, x)

    def _cast(self, _: int, x: Any) -> Any:
        """An input as what is called sees it."""
        return x

    def _names(self, named: Mapping[str, Any]) -> tuple[str, ...]:
        """By which names the last of the ordered inputs are handed on."""
        return tuple(named)

    def _called(self, crops: Sequence[Any], keyed: Mapping[str, Any]) -> Any:
        """What is called gets copies: it may change its input, which others still read."""
        return self.call(
            *(owned(crop) for crop in crops), **{name: owned(crop) for name, crop in keyed.items()}
        )

    def _on_crop(self, crops: Sequence[Any], keyed: Mapping[str, Any]) -> Any:
        """What a crop gives; what a callable raises is its own."""
        return self._called(crops, keyed)


class TiledModel(TiledCallable):
    """A model that is run on crops; made by ``tiled``.

    model:   in eval mode; it is not changed, and runs where its weights are
    example: a tensor, or a tuple or dict of tensors; sizes along the tiled axes do not matter
    """

    def __init__(
        self,
        model: nn.Module,
        example: Any,
        *,
        tile: int | Sequence[int],
        axes: Axes | None = None,
        verify: bool = False,
    ) -> None:
        self.model, self.example = model, as_example(example, model)
        self.tile, self.axes = tile, axes
        self._verify, self.certificates = verify, dict[Shapes, RunCertificate]()
        self._tensors = list({id(t): t for t in tensors_in(self.example)}.values())
        tensors = (*model.parameters(), *model.buffers(), *self._tensors)
        self.device = next((t.device for t in tensors if not t.is_meta), torch.device("cpu"))
        self._plans: dict[Shapes, TilePlan] = {}

    def plan(self, *shapes: Sequence[int]) -> TilePlan:
        """The plan for inputs of these shapes, made once for each; see ``plan_tiles``."""
        given = tuple(tuple(shape) for shape in shapes)
        if len(given) != len(self._tensors):
            raise UsageError(
                f"The model takes {len(self._tensors)} inputs and was given {len(given)}."
            )
        if given not in self._plans:
            twins = {
                id(tensor): torch.empty(shape, dtype=tensor.dtype, device="meta")
                for tensor, shape in zip(self._tensors, given, strict=True)
            }
            size = map_tensors(lambda tensor: twins[id(tensor)], self.example)
            self._plans[given] = plan_tiles(self.model, size, tile=self.tile, axes=self.axes)
        return self._plans[given]

    def _doubled(self) -> TiledCallable:
        twins = {id(tensor): in_double(tensor) for tensor in self._tensors}
        example = map_tensors(lambda tensor: twins[id(tensor)], self.example)
        model = doubled(copied(self.model))
        return TiledModel(model, example, tile=self.tile, axes=self.axes)

    def _called(self, crops: Sequence[Any], keyed: Mapping[str, Any]) -> Any:
        given = [as_tensor(x, self.device, like.dtype, own=True) for x, like in
                 zip(self._ordered(crops, keyed), self._tensors, strict=True)]  # fmt: skip
        twins = dict(zip(map(id, self._tensors), given, strict=True))
        inputs = map_tensors(lambda tensor: twins[id(tensor)], self.example)
        plans = self._plans.values()
        draws = any(plan.draws for plan in plans) or not plans
        writes = any(plan.writes for plan in plans) or not plans
        return forward(self.model, inputs, draws=draws, writes=writes)

    def _assembled(
        self, plan: TilePlan, inputs: Sequence[Any], named: Mapping[str, Any]
    ) -> list[Any]:
        with remembered(self.model, parameters=plan.writes), prepared():
            return super()._assembled(plan, inputs, named)

    def _on_crop(self, crops: Sequence[Any], keyed: Mapping[str, Any]) -> Any:
        try:
            return self._called(crops, keyed)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            shapes = _told([crop.shape for crop in (*crops, *keyed.values())])
            told = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise TileError(
                f"The model fails on a crop of {shapes} ({told}), though without data torch runs "
                f"it on that size; tile another axis, or run it on the whole input."
            ) from error

    def _ordered(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        return ordered(self.example, inputs, named)

    def _check(self, number: int, x: Any) -> None:
        like = self._tensors[number] if number < len(self._tensors) else None
        check_readable(number, x, like=like)

    def _names(self, _: Mapping[str, Any]) -> tuple[str, ...]:
        return ()

    def _cast(self, number: int, x: Any) -> Tensor:
        return as_tensor(x, self.device, self._tensors[number].dtype)


def _part(number: int, x: Any, tile: Tile) -> Any:
    """What a tile reads of an input.  Raises UsageError where it is not all there."""
    sizes = {axis: sum(hi - lo for lo, hi in found) for axis, found in tile.reads.items()}
    crop = read(x, tile.reads)
    check_complete(number, crop.shape, [sizes.get(a, n) for a, n in enumerate(x.shape)])
    return crop


def _empty_like(array: Any, shape: Sequence[int], *, tensor: bool) -> Any:
    if tensor:
        like = _as(array, tensor=True)
        return torch.empty(tuple(shape), dtype=like.dtype, device=like.device)
    return np.empty(tuple(shape), dtype=_as(array, tensor=False).dtype)


def _as(array: Any, *, tensor: bool) -> Any:
    if tensor:
        return array.detach() if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
    return as_numpy(array) if isinstance(array, Tensor) else np.asarray(array)


def _told(shapes: Sequence[Sequence[int]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)
