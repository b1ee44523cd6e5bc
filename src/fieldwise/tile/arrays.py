"""Reading crops from arrays of any kind, and finding the arrays in what a callable returns."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Interval = tuple[int, int]
"""[start, stop)."""

Shapes = tuple[tuple[int, ...], ...]
"""Of the inputs of a run, in the order of the example."""


def as_numpy(rows: Tensor) -> np.ndarray[Any, Any]:
    """A tensor as numpy has it; bfloat16, which it lacks, as float32."""
    rows = rows.detach().cpu()
    return (rows.float() if rows.dtype is torch.bfloat16 else rows).numpy()


def numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    """The type that ``as_numpy`` gives."""
    return as_numpy(torch.empty(0, dtype=dtype)).dtype


def owned(array: Any) -> Any:
    """A copy, which may be changed."""
    return array.clone() if isinstance(array, Tensor) else np.array(array)


def any_dask(arrays: Iterable[Any]) -> bool:
    """Whether one of them is a dask array.  Does not import dask: who has one has it imported."""
    dask = sys.modules.get("dask.array")
    return dask is not None and any(isinstance(array, dask.Array) for array in arrays)


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
    return list(_arrays(tree, ""))


def _arrays(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    items = None if isinstance(tree, (Tensor, np.ndarray)) else _items(tree)
    if items is not None:
        for key, item in items:
            yield from _arrays(item, f"{prefix}.{key}" if prefix else str(key))
    elif len(getattr(tree, "shape", ())):
        yield prefix or "output", tree


def _items(tree: Any) -> Iterable[tuple[Any, Any]] | None:
    """What a nesting holds, with its keys; None for what is none, whatever attributes it has."""
    if isinstance(tree, Mapping):
        return tree.items()
    if hasattr(tree, "_fields"):
        return zip(tree._fields, tree, strict=True)
    if isinstance(tree, (list, tuple)):
        return enumerate(tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return ((field.name, getattr(tree, field.name)) for field in dataclasses.fields(tree))
    return None
