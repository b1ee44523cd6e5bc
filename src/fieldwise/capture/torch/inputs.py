"""What a run is given: arrays in the order of the example, as the tensors that the model takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldwise.errors import UsageError

T = TypeVar("T")


def ordered(example: object, inputs: Sequence[T], named: Mapping[str, T]) -> list[T]:
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
            f"The example has no names, and the inputs {_quoted(named)} were given by name; give "
            f"them in the order of the example, or a dict as the example."
        )
    if inputs or set(named) != set(example):
        beside = f" beside {len(inputs)} without a name" if inputs else ""
        raise UsageError(
            f"The inputs of the example are {_quoted(example)}, and {_quoted(named)} were given"
            f"{beside}; give each of them by its name, or all in this order."
        )
    return [named[name] for name in example]


def as_tensor(
    rows: object, device: torch.device, dtype: torch.dtype, *, own: bool = False
) -> Tensor:
    """Rows of an input, of any byte order, as the model takes them.

    own: as memory of its own, which may be changed, or be kept when the user changes the input
    """
    given = rows.detach() if isinstance(rows, Tensor) else torch.from_numpy(_native(rows))
    return given.to(device, dtype, copy=own)


def _native(rows: object) -> NDArray[Any]:
    """As torch reads it: contiguous, writable, of this machine's byte order.

    >>> _native(np.ones(2, ">f4")).dtype.isnative, _native(np.ones(2, np.longdouble)).dtype.name
    (True, 'float64')
    """
    array = np.ascontiguousarray(rows)
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype.itemsize > np.dtype(np.float64).itemsize:
        dtype = np.dtype(np.float64)
    return array.astype(dtype, copy=not array.flags.writeable)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
