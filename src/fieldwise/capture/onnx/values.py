"""Whether a value is known while a model is recorded, and what it is."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldwise.capture.onnx.refusal import NeedsDataError


def is_known(value: object) -> bool:
    """Whether a value can be looked at: it does not derive from the input of a recorded run."""
    if isinstance(value, Tensor):
        with torch._C.DisableTorchFunction():
            return not value.is_meta
    if isinstance(value, list):
        return all(map(is_known, value))
    return True


def known(value: Tensor | None, what: str) -> Tensor:
    """The value, if it can be looked at.

    Raises NeedsDataError where it derives from the input, ValueError where there is none.
    """
    if value is None:
        raise ValueError(f"{what} is not given")
    if not is_known(value):
        raise NeedsDataError(f"{what} depends on the data")
    return value


def ints(value: Tensor | None, what: str) -> list[int]:
    """The integers in a tensor of one dimension or none.

    Raises NeedsDataError where they derive from the input.
    """
    return [int(one) for one in known(value, what).reshape(-1).tolist()]


def integer(value: Tensor | None, what: str) -> int:
    """The one integer in a tensor; see ``ints``."""
    return ints(value, what)[0]


def floats(value: Tensor | None, what: str) -> list[float]:
    """The numbers in a tensor of one dimension or none; see ``ints``."""
    return [float(one) for one in known(value, what).reshape(-1).tolist()]
