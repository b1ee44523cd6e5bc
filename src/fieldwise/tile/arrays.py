"""Reading crops from arrays of any kind, and finding the arrays in what a callable returns."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldwise.capture.torch.tree import is_nest, items_of

Interval = tuple[int, int]
"""[start, stop)."""

Shapes = tuple[tuple[int, ...], ...]
"""Of the inputs of a run, in the order of the example."""

Numbers = NDArray[np.generic]
"""A numpy array, of whatever type."""

ArrayOrTensor = Tensor | Numbers
"""What is read: a tensor of a tensor, else a numpy array."""


class Readable(Protocol):
    """What a run is given: numpy arrays, tensors, dask arrays, files, of which parts are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""

    def __getitem__(self, index: tuple[slice, ...], /) -> Readable:
        """A part, as an array or a tensor."""


def as_numpy(rows: object) -> Numbers:
    """Tensors and other arrays as numpy has them; bfloat16, which it lacks, as float32."""
    if not isinstance(rows, Tensor):
        return np.asarray(rows)
    rows = rows.detach().cpu()
    return (rows.float() if rows.dtype is torch.bfloat16 else rows).numpy()


def numpy_dtype(dtype: torch.dtype) -> np.dtype[np.generic]:
    """The type that ``as_numpy`` gives."""
    return as_numpy(torch.empty(0, dtype=dtype)).dtype


def owned(array: object) -> ArrayOrTensor:
    """A copy, which may be changed."""
    return array.clone() if isinstance(array, Tensor) else np.array(array)


def any_dask(arrays: Iterable[object]) -> bool:
    """Whether one of them is a dask array.  Does not import dask: who has one has it imported."""
    dask = sys.modules.get("dask.array")
    return dask is not None and any(isinstance(array, dask.Array) for array in arrays)


def read(source: Readable, reads: Mapping[int, tuple[Interval, ...]]) -> ArrayOrTensor:
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
        parts: list[Any] = [read(source, {**rest, double: (one,)}) for one in reads[double]]
        return (
            torch.cat(parts, double)
            if isinstance(source, Tensor)
            else np.concatenate(parts, double)
        )
    crop = source[tuple(index)]
    return crop if isinstance(crop, Tensor) else np.asarray(crop)


def named_arrays(tree: object) -> list[tuple[str, Readable]]:
    """The arrays or tensors of a nested result, with the keys that lead to them.

    >>> [name for name, _ in named_arrays([np.ones(2), np.ones(3)])]
    ['0', '1']
    """
    return list(_arrays(tree, ""))


def _arrays(tree: Any, prefix: str) -> Iterator[tuple[str, Readable]]:
    if is_nest(tree) and not isinstance(tree, (Tensor, np.ndarray)):
        for key, item in items_of(tree):
            yield from _arrays(item, f"{prefix}.{key}" if prefix else str(key))
    elif len(getattr(tree, "shape", ())):
        yield prefix or "output", tree
