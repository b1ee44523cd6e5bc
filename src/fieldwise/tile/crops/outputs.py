"""The planned outputs: found in what a call returned, cut, and handed back as the model does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from fieldwise.errors import UsageError
from fieldwise.tile.arrays import Readable, named_arrays
from fieldwise.tile.crops.parts import OutputPlan, Tile
from fieldwise.tile.crops.plan import TilePlan
from fieldwise.tile.outputs import structured


def chosen(tree: object, outputs: Sequence[OutputPlan]) -> list[Readable]:
    """The planned outputs among what a call returned, by name, or in order where names differ.

    Raises UsageError where there are too few.
    """
    found = named_arrays(tree)
    names = dict(found)
    if all(output.name in names for output in outputs):
        return [names[output.name] for output in outputs]
    if len(found) < len(outputs):
        raise UsageError(
            f"The call returned {len(found)} arrays where the plan has {len(outputs)} outputs."
        )
    return [array for _, array in found[: len(outputs)]]


def kept(array: Readable, tile: Tile, number: int, output: OutputPlan) -> Readable:
    """What is kept of output ``number`` of a crop.

    Raises UsageError where it has another shape than the planned network's.
    """
    found, planned = tuple(array.shape), tile.shapes[number]
    if found != planned:
        raise UsageError(
            f"The output '{output.name}' of a crop has the shape {found} instead of {planned}; "
            f"the plan was made for another network."
        )
    if any(not 0 <= one.start <= one.stop <= n for one, n in _cut(tile, number, output)):
        raise UsageError(
            f"A crop does not hold what is to be kept of its output '{output.name}'; the plan is "
            f"wrong for this network."
        )
    return array[tile.keeps[number]]


def _cut(tile: Tile, number: int, output: OutputPlan) -> Iterator[tuple[slice, int]]:
    """Along each tiled dimension, what is kept and how long the crop's output is."""
    for dim in output.dims:
        yield tile.keeps[number][dim], tile.shapes[number][dim]


def returned(plan: TilePlan, results: Sequence[object], given: Callable[[Tensor], object]) -> Any:
    """The outputs of a plan as the planned model returns them.

    given: the form in which a tensor is handed back that does not depend on the input

    Where only names are known, one output comes as it is, numbered ones as a tuple and named ones
    as a dict.
    """
    if plan.structure is not None:
        return structured(plan.structure, results, given)
    names = [output.name for output in plan.outputs]
    if len(results) == 1:
        return results[0]
    if names == [str(number) for number in range(len(names))]:
        return tuple(results)
    return dict(zip(names, results, strict=True))
