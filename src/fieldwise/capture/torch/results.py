"""Running an op on the meta device, where nothing is computed but shapes, strides and dtypes.

For a few ops torch works them out in Python, through decompositions, at a hundred times the cost
of the rest.  Those that networks use most are answered here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def run_on_meta(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The op's results as tensors on the meta device."""
    shortcut = _SHORTCUTS.get(func)
    if shortcut is not None:
        found = shortcut(*args, **kwargs)
        if found is not None:
            return found
    return func(*args, **kwargs)


def _batch_norm(x: Tensor, *statistics: Any) -> Tensor | None:
    return torch.empty_like(x) if x.dim() > 1 else None


_SHORTCUTS: dict[Any, Callable[..., Tensor | None]] = {aten.batch_norm.default: _batch_norm}
