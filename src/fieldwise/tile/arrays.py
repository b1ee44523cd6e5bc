"""Reading crops from arrays of any kind, and finding the arrays in what a callable returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldwise.capture.torch.tree import named_tensors
from fieldwise.errors import UsageError
from fieldwise.tile.plan import Interval, OutputPlan, Tile


def read(source: Any, reads: Mapping[int, tuple[Interval, ...]]) -> Any:
    """A crop: these intervals per axis, side by side; a tensor of a tensor, else a numpy array.

    >>> read(np.arange(10), {0: ((0, 2), (8, 10))})
    array([0, 1, 8, 9])
    """
    single = {axis: found[0] for axis, found in reads.items() if len(found) == 1}
    index = [slice(*single[axis]) if axis in single else slice(None) for axis in
             range(len(source.shape))]  # fmt: skip
    double = next((axis for axis, found in reads.items() if len(found) > 1), None)
    if double is not None:
        rest = {axis: found for axis, found in reads.items() if axis != double}
        parts = [read(source, {**rest, double: (one,)}) for one in reads[double]]
        return (
            torch.cat(parts, double)
            if isinstance(source, Tensor)
            else np.concatenate(parts, double)
        )
    crop = source[tuple(index)]
    return crop if isinstance(crop, Tensor) else np.asarray(crop)


def named_arrays(tree: Any) -> list[tuple[str, Any]]:
    """The arrays or tensors of a nested result, with the keys that lead to them.

    >>> [name for name, _ in named_arrays([np.ones(2), np.ones(3)])]
    ['0', '1']
    """
    found = list(named_tensors(tree))
    return found or list(_arrays(tree, ""))


def _arrays(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if hasattr(tree, "shape"):
        yield prefix or "output", tree
    elif isinstance(tree, Mapping):
        for key, item in tree.items():
            yield from _arrays(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(tree, (list, tuple)):
        for key, item in enumerate(tree):
            yield from _arrays(item, f"{prefix}.{key}" if prefix else str(key))


def chosen(tree: Any, outputs: Sequence[OutputPlan]) -> list[Any]:
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


def kept(array: Any, tile: Tile, number: int, output: OutputPlan) -> Any:
    """What is kept of output ``number`` of a crop.  Raises UsageError where it is too small."""
    slices = tile.keeps[number]
    for dim in output.dims:
        if slices[dim].start < 0 or slices[dim].stop > array.shape[dim]:
            raise UsageError(
                f"The output '{output.name}' of a crop has {array.shape[dim]} positions along "
                f"dimension {dim}, and {slices[dim].start} to {slices[dim].stop} were to be kept; "
                f"the plan was made for another network."
            )
    return array[slices]
