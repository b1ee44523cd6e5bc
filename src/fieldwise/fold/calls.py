"""The constants of a recorded call as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError

Array = NDArray[np.float64]


def is_float(tensor: Any) -> bool:
    """Whether a constant tensor holds real numbers."""
    return bool(tensor.dtype.is_floating_point)


def values(tensor: Any) -> Array:
    """A constant tensor as a float64 array.

    Raises UsageError for one without values.
    """
    if tensor.device.type == "meta":
        raise UsageError("The model is on the meta device and has no weights to fold; load them.")
    array: Array = tensor.detach().double().cpu().numpy()
    return array
