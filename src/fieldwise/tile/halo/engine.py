"""The callable: a large input in, the model's outputs out, crop by crop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldwise.capture.torch.tree import map_tensors, named_tensors
from fieldwise.errors import UsageError
from fieldwise.tile.halo.arrays import chosen, kept, read
from fieldwise.tile.halo.planner import plan_tiles
from fieldwise.tile.plan import Tile, TilePlan


class TiledCallable:
    """Any callable, run on the crops of a given plan; made by ``tiled``.

    It is called with arrays (numpy arrays; tensors where the large inputs are tensors) and returns
    arrays, a sequence or a mapping of them, in the order of the plan's outputs or by their names.
    """

    def __init__(self, call: Callable[..., Any], plan: TilePlan) -> None:
        self.call, self._plan = call, plan

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

        One output comes as it is, several as a tuple, or as a dict by their names.  They are
        tensors where the first input is one, else numpy arrays.
        """
        plan = self._planned(inputs, named)
        tensors = isinstance(next(iter((*inputs, *named.values()))), Tensor)
        found: list[Any] = [None] * len(plan.outputs)
        for number, tile, array in self._run(plan, inputs, named):
            if found[number] is None:
                found[number] = _empty_like(array, plan.outputs[number].shape, tensor=tensors)
            found[number][tile.writes[number]] = _as(array, tensor=tensors)
        return _nested([output.name for output in plan.outputs], found)

    def pieces(self, *inputs: Any, **named: Any) -> Iterator[tuple[str, tuple[slice, ...], Any]]:
        """The outputs piece by piece: (name, where it goes in the whole output, array)."""
        plan = self._planned(inputs, named)
        for number, tile, array in self._run(plan, inputs, named):
            yield plan.outputs[number].name, tile.writes[number], array

    def crop(self, tile: Tile, *inputs: Any, **named: Any) -> list[Any]:
        """What one tile gives, per output: for those who schedule tiles themselves."""
        plan = self._planned(inputs, named)
        crops = [read(x, tile.reads) for x in inputs]
        keyed = {name: read(x, tile.reads) for name, x in named.items()}
        arrays = chosen(self._called(crops, keyed), plan.outputs)
        return [
            kept(array, tile, number, output)
            for number, (array, output) in enumerate(zip(arrays, plan.outputs, strict=True))
        ]

    # ---------------------------------------------------------------- one run

    def _run(
        self, plan: TilePlan, inputs: Sequence[Any], named: Mapping[str, Any]
    ) -> Iterator[tuple[int, Tile, Any]]:
        for tile in plan.tiles():
            for number, array in enumerate(self.crop(tile, *inputs, **named)):
                yield number, tile, array

    def _planned(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> TilePlan:
        return self.plan(*(x.shape for x in (*inputs, *named.values())))

    def _called(self, crops: Sequence[Any], keyed: Mapping[str, Any]) -> Any:
        return self.call(*crops, **keyed)


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
        axes: Sequence[int] | None = None,
    ) -> None:
        self.model, self.example, self.tile, self.axes = model, example, tile, axes
        self._tensors = list({id(t): t for _, t in named_tensors(example)}.values())
        tensors = (*model.parameters(), *model.buffers(), *self._tensors)
        self.device = next((t.device for t in tensors if not t.is_meta), torch.device("cpu"))
        self._plans: dict[tuple[tuple[int, ...], ...], TilePlan] = {}

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

    def _called(self, crops: Sequence[Any], keyed: Mapping[str, Any]) -> Any:
        given = [self._moved(x, like) for x, like in
                 zip((*crops, *keyed.values()), self._tensors, strict=True)]  # fmt: skip
        twins = dict(zip(map(id, self._tensors), given, strict=True))
        inputs = map_tensors(lambda tensor: twins[id(tensor)], self.example)
        with torch.inference_mode():
            if isinstance(inputs, Mapping):
                return self.model(**inputs)
            return self.model(*inputs) if type(inputs) is tuple else self.model(inputs)

    def _moved(self, crop: Any, like: Tensor) -> Tensor:
        if not isinstance(crop, Tensor):
            crop = torch.from_numpy(np.ascontiguousarray(crop))
        return crop.to(self.device, like.dtype)


def _empty_like(array: Any, shape: Sequence[int], *, tensor: bool) -> Any:
    if tensor:
        like = array if isinstance(array, Tensor) else torch.from_numpy(np.asarray(array))
        return torch.empty(tuple(shape), dtype=like.dtype, device=like.device)
    return np.empty(tuple(shape), dtype=_as(array, tensor=False).dtype)


def _as(array: Any, *, tensor: bool) -> Any:
    if tensor:
        return array if isinstance(array, Tensor) else torch.from_numpy(np.asarray(array))
    return array.cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def _told(shapes: Sequence[Sequence[int]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def _nested(names: Sequence[str], results: Sequence[Any]) -> Any:
    if len(results) == 1:
        return results[0]
    if list(names) == [str(number) for number in range(len(names))]:
        return tuple(results)
    return dict(zip(names, results, strict=True))
