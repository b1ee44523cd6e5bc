"""What in folded weights will hurt: overflow, blown-up channels, ranges too wide to quantise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fieldwise.folding.calls import Doubles
from fieldwise.folding.weights import Changed

_BLOWN_UP = 1e3
_WIDE = 100.0


def overflow(changed: Changed, limit: float) -> str | None:
    """The channel whose folded weights cannot be held, as a clause; None where all can.

    limit: the largest number of the weights' dtype
    """
    reach = _reach(changed)
    if changed.bias is not None and changed.bias.shape == reach.shape:
        reach = np.maximum(reach, np.abs(changed.bias))
    worst = int(np.argmax(np.nan_to_num(reach, nan=np.inf)))
    if reach[worst] <= limit:
        return None
    if not np.isfinite(reach[worst]):
        return f"channel {worst} of '{changed.layer.name}' would not be finite"
    return (
        f"channel {worst} of '{changed.layer.name}' would reach {reach[worst]:.3g}, beyond "
        f"{limit:.5g}, the largest number of its dtype"
    )


def warnings_of(changed: Changed) -> Iterator[str]:
    """Tiny running variances and wide ranges, the channel named."""
    name = changed.layer.name
    yield from _blown_up(changed)
    reach = _reach(changed)
    alive = reach[reach > 0]
    if changed.layer.kind != "batch_norm" and alive.size:
        ratio = float(alive.max() / np.median(alive))
        if ratio > _WIDE:
            yield (
                f"The weights of channel {int(np.argmax(reach))} of '{name}' are {ratio:.3g} times "
                "those of the median channel, which will hurt quantisation per tensor."
            )


def _blown_up(changed: Changed) -> Iterator[str]:
    for step in changed.steps:
        worst = int(np.argmax(np.abs(step.scale)))
        if abs(step.scale[worst]) > _BLOWN_UP:
            yield (
                f"An affine op scales channel {worst} of '{changed.layer.name}' by "
                f"{step.scale[worst]:.3g}; its running variance is tiny."
            )
    for joined in changed.joined:
        if joined.layer is not None:
            yield from _blown_up(joined.layer)


def _reach(changed: Changed) -> Doubles:
    """The largest absolute weight per channel of the weight's output dimension."""
    transposed = changed.layer.transposed and changed.weight.ndim > 1
    rows = np.moveaxis(changed.weight, 1, 0) if transposed else changed.weight
    found: Doubles = np.abs(rows).reshape(rows.shape[0], -1).max(axis=1)
    return found
