"""Which arrays can be fed to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fieldwise.errors import UsageError


def check_kind(path: Path, dtype: np.dtype[Any]) -> None:
    """Raise UsageError unless the elements are real numbers."""
    if dtype.kind not in "biuf":
        raise UsageError(
            f"{str(path)!r} holds elements of type {dtype}, not real numbers; convert it first."
        )
