"""Which axes an input has, where neither the user nor the model's name says: those it runs on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from fieldwise.capture import load_model
from fieldwise.capture.specs import load_onnx_file
from fieldwise.capture.torch.capture import capture
from fieldwise.errors import CaptureError, UsageError
from fieldwise.graph.ir import Shape
from fieldwise.tile.jobs.models import dtype_of_weights


def has_usual_shape(spec: str) -> bool:
    """Whether the name of a model says what input it takes; a factory's does not.

    >>> has_usual_shape("timm:resnet18"), has_usual_shape("net.pt2"), has_usual_shape("nets:unet")
    (True, True, False)
    """
    return spec.endswith(".pt2") or spec.startswith(("torchvision:", "timm:", "layers:"))


def taken_reading(
    spec: str, readings: Mapping[str, Shape], values: Mapping[str, object] | None = None
) -> str:
    """The reading of an input that the model runs on, on the meta device: nothing is computed.

    readings: axes, and the shape that the model would see (see io.readings)
    values:   of inputs of an ONNX file, as in load_model; such a file says itself what it takes

    Of several, that with the most dimensions is taken: torch's layers also take one sample
    without a batch, which is the same.  Where it runs on none as it is, rounder sizes are tried:
    then the axes are known, and what is wrong with the size can be said.

    Raises UsageError where the model runs on none, or on several of as many dimensions.
    """
    tried = ", ".join(readings) or "one of 1 to 5 dimensions is needed"
    failed = UsageError(
        f"{spec!r} fails on the input however it is read ({tried}); give --layout, and the reason "
        f"is named."
    )
    if not readings:
        raise failed
    if spec.endswith(".onnx"):
        readings = _as_declared(spec, readings, values or {})
        if len(readings) == 1:
            return next(iter(readings))
        what = f"the input of {spec!r} can be read as {' and as '.join(readings)}"
        raise UsageError(f"{what}; give --layout.") if readings else failed
    module = load_model(spec, "x".join(map(str, next(iter(readings.values()))))).source
    assert isinstance(module, nn.Module)
    taken = [axes for axes, shape in readings.items() if _runs(module, shape)]
    taken = taken or [axes for axes, shape in readings.items() if _runs(module, _round(shape))]
    most = max((len(readings[axes]) for axes in taken), default=0)
    fitting = [axes for axes in taken if len(readings[axes]) == most]
    if not fitting:
        raise failed
    if len(fitting) > 1:
        what = f"{spec!r} runs on the input read as {' and as '.join(fitting)}"
        raise UsageError(f"{what}; give --layout, for example --layout {fitting[0]}.")
    return fitting[0]


def _as_declared(
    spec: str, readings: Mapping[str, Shape], values: Mapping[str, object]
) -> dict[str, Shape]:
    """The readings of as many dimensions, and channels, as an ONNX file says that it takes."""
    inputs = load_onnx_file(spec, values).graph.inputs
    dims = inputs[0].dims if inputs else ()
    if dims is None:
        return dict(readings)
    return {
        axes: shape
        for axes, shape in readings.items()
        if len(shape) == len(dims) and (not isinstance(dims[1], int) or dims[1] == shape[1])
    }


def _round(shape: Shape) -> Shape:
    """The next sizes that every usual stride divides.

    >>> _round((1, 3, 601, 31))
    (1, 3, 640, 64)
    """
    return (*shape[:2], *(-(-size // _ROUND) * _ROUND for size in shape[2:]))


def _runs(module: nn.Module, shape: Shape) -> bool:
    dtype = dtype_of_weights(module) or torch.float32
    try:
        capture(module, torch.empty(shape, dtype=dtype, device="meta"))
    except CaptureError:
        return False
    return True


_ROUND = 64
