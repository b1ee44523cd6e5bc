"""Arrays that are not computed before someone asks."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


def any_dask(arrays: Iterable[Any]) -> bool:
    """Whether one of them is a dask array.  Does not import dask: who has one has it imported."""
    dask = sys.modules.get("dask.array")
    return dask is not None and any(isinstance(array, dask.Array) for array in arrays)
