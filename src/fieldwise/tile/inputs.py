"""What a run takes: arrays that can be read as they are.

What would be read as something else is refused: a masked array (its mask would be ignored), complex
numbers (their imaginary parts would be), a dask array of which nobody knows the size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fieldwise.errors import UsageError


def check_readable(number: int, x: object, *, like: Tensor | None = None) -> None:
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
    if isinstance(x, Tensor) and x.layout is not torch.strided:
        raise UsageError(f"{what} is a sparse tensor; give its to_dense().")
    if isinstance(x, Tensor) and x.is_meta:
        raise UsageError(f"{what} is on the meta device and holds nothing; give one with data.")
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


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


_KINDS = "biufc"
