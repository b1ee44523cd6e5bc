"""Which axes an input has, where neither the user nor the model's name says: those it runs on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from fieldwise.capture import load_model
from fieldwise.capture.torch import capture
from fieldwise.errors import CaptureError, UsageError
from fieldwise.tile.jobs.models import dtype_of_weights

Shape = tuple[int, ...]


def has_usual_shape(spec: str) -> bool:
    """Whether the name of a model says what input it takes; a factory's does not.

    >>> has_usual_shape("timm:resnet18"), has_usual_shape("net.pt2"), has_usual_shape("nets:unet")
    (True, True, False)
    """
    return spec.endswith(".pt2") or spec.startswith(("torchvision:", "timm:", "layers:"))


def taken_reading(spec: str, readings: Mapping[str, Shape]) -> str:
    """The reading of an input that the model runs on, on the meta device: nothing is computed.

    readings: axes, and the shape that the model would see (see io.readings)

    Of several, that with the most dimensions is taken: torch's layers also take one sample
    without a batch, which is the same.

    Raises UsageError where the model runs on none, or on several of as many dimensions.
    """
    module = load_model(spec, "x".join(map(str, next(iter(readings.values()))))).source
    assert isinstance(module, nn.Module)
    taken = [axes for axes, shape in readings.items() if _runs(module, shape)]
    most = max((len(readings[axes]) for axes in taken), default=0)
    fitting = [axes for axes in taken if len(readings[axes]) == most]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        what = f"{spec!r} runs on the input read as {' and as '.join(fitting)}"
        raise UsageError(f"{what}; give --axes, for example --axes {fitting[0]}.")
    told = ", ".join(readings) or "none of 1 to 5 dimensions"
    raise UsageError(
        f"{spec!r} fails on the input however it is read ({told}); give --axes, and it is said why."
    )


def _runs(module: nn.Module, shape: Shape) -> bool:
    dtype = dtype_of_weights(module) or torch.float32
    try:
        capture(module, torch.empty(shape, dtype=dtype, device="meta"))
    except CaptureError:
        return False
    return True
