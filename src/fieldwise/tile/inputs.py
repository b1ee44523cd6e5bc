"""What a run takes: arrays that can be read as they are, in the order of the example, as tensors.

What would be read as something else is refused: a masked array (its mask would be ignored), complex
numbers (their imaginary parts would be), a dask array of which nobody knows the size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldwise.errors import UsageError


def ordered(example: Any, inputs: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """The inputs in the order of the example.

    Raises UsageError for names that the example does not have: what is meant is not guessed.

    >>> ordered({"image": 0, "mask": 0}, [], {"mask": "b", "image": "a"})
    ['a', 'b']
    """
    if not named:
        return list(inputs)
    if not isinstance(example, Mapping):
        if not inputs and len(named) == 1 and not isinstance(example, (list, tuple)):
            return list(named.values())
        raise UsageError(
            f"The example has no names, and the inputs {_told(named)} were given by name; give "
            f"them in the order of the example, or a dict as the example."
        )
    if inputs or set(named) != set(example):
        beside = f" beside {len(inputs)} without a name" if inputs else ""
        raise UsageError(
            f"The inputs of the example are {_told(example)}, and {_told(named)} were given"
            f"{beside}; give each of them by its name, or all in this order."
        )
    return [named[name] for name in example]


def check_readable(number: int, x: Any, *, like: Tensor | None = None) -> None:
    """Whether input ``number`` can be read as it is; ``like`` has the dtype that the model takes.

    Raises UsageError, with what to do about it.
    """
    what = f"Input {number}"
    if not hasattr(x, "shape"):
        raise UsageError(f"{what} is a {type(x).__name__}; give an array or a tensor.")
    if any(size != size for size in x.shape):
        raise UsageError(
            f"{what} is a dask array of unknown size; call its compute_chunk_sizes() first."
        )
    if isinstance(x, np.ma.MaskedArray) or isinstance(getattr(x, "_meta", 0), np.ma.MaskedArray):
        raise UsageError(f"{what} is masked, and a network sees no mask; fill it first.")
    dtype = getattr(x, "dtype", None)
    kind = "" if isinstance(dtype, torch.dtype) else getattr(dtype, "kind", "")
    if kind and kind not in _KINDS:
        raise UsageError(f"{what} has the dtype {dtype}, which is no number; convert it first.")
    is_complex = kind == "c" or (isinstance(dtype, torch.dtype) and dtype.is_complex)
    if is_complex and like is not None and not like.is_complex():
        raise UsageError(
            f"{what} is complex and the example is {like.dtype}; give its real and imaginary "
            f"parts as the network takes them."
        )


def check_complete(number: int, found: Sequence[int], wanted: Sequence[int]) -> None:
    """Whether a part of input ``number`` came in the shape in which it was asked for.

    Raises UsageError where it did not: all that is read later would stand in another place.
    """
    if list(found) != list(wanted):
        raise UsageError(
            f"Input {number} gave {_by(found)} where {_by(wanted)} was to be read; it was cut "
            f"short or changed while it was read."
        )


def as_tensor(rows: Any, device: torch.device, dtype: torch.dtype, *, own: bool = False) -> Tensor:
    """Rows of an input, of any byte order, as the model takes them.

    own: as memory of its own, which may be changed, or be kept when the user changes the input
    """
    given = rows.detach() if isinstance(rows, Tensor) else torch.from_numpy(_native(rows))
    return given.to(device, dtype, copy=own)


def _native(rows: Any) -> NDArray[Any]:
    """As torch reads it: contiguous, writable, of this machine's byte order.

    >>> _native(np.ones(2, ">f4")).dtype.isnative, _native(np.ones(2, np.longdouble)).dtype.name
    (True, 'float64')
    """
    array = np.ascontiguousarray(rows)
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype.itemsize > np.dtype(np.float64).itemsize:
        dtype = np.dtype(np.float64)
    return array.astype(dtype, copy=not array.flags.writeable)


def _told(names: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


_KINDS = "biufc"
