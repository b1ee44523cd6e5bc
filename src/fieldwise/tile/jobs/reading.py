"""Which axes an input has, where neither the user nor the model's name says: those it runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from fieldwise.capture import load_model
from fieldwise.capture.specs import load_onnx_file
from fieldwise.capture.torch.capture import record
from fieldwise.capture.torch.other_inputs import taken_channels
from fieldwise.errors import CaptureError, UsageError
from fieldwise.graph.ir import Shape
from fieldwise.tile.files import channels_differ, without_thin
from fieldwise.tile.jobs.models import dtype_of_weights


def has_usual_shape(spec: str) -> bool:
    """Whether the name of a model says what input it takes; a factory's does not.

    >>> has_usual_shape("timm:resnet18"), has_usual_shape("net.pt2"), has_usual_shape("nets:unet")
    (True, True, False)
    """
    return spec.endswith(".pt2") or spec.startswith(("torchvision:", "timm:", "layers:"))


def taken_reading(
    spec: str,
    readings: Mapping[str, Shape],
    values: Mapping[str, object] | None = None,
    *,
    name: str = "the input",
    said: bool = False,
) -> str:
    """The reading of an input that the model runs on, on the meta device: nothing is computed.

    readings: axes, and the shape that the model would see (see files.readings)
    values:   of inputs of an ONNX file, as in load_model; such a file says itself what it takes
    name:     of the input, for messages
    said:     whether the user has said the axes: where the model runs on none, they are taken as
              they stand, so that the reason is named later

    Of several, that with the most dimensions is taken: torch's layers also take one sample
    without a batch, which is the same.  Four samples or fewer along an axis are rather channels.
    Where it runs on none as it is, rounder sizes are tried: then the axes are known, and what is
    wrong with the size can be said.

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
        readings = _as_declared(spec, readings, values or {}, name)
        if len(readings) == 1:
            return next(iter(readings))
        what = f"the input of {spec!r} can be read as {' and as '.join(readings)}"
        raise UsageError(f"{what}; give --layout.") if readings else failed
    module = _built(spec, list(readings.values()))
    likely = without_thin(readings)
    taken = [axes for axes, shape in likely.items() if _runs(module, shape)]
    taken = taken or [axes for axes, shape in likely.items() if _runs(module, _round(shape))]
    most = max((len(readings[axes]) for axes in taken), default=0)
    fitting = [axes for axes in taken if len(readings[axes]) == most]
    if not fitting:
        check_channels(module, list(likely.values()), name)
        if said:
            return next(iter(readings))
        raise _only_reason(module, readings) or failed
    if len(fitting) > 1:
        what = f"{spec!r} runs on the input read as {' and as '.join(fitting)}"
        raise UsageError(f"{what}; give --layout, for example --layout {fitting[0]}.")
    return fitting[0]


def _built(spec: str, shapes: Sequence[Shape]) -> nn.Module:
    """The model, for the first of these inputs for which there is one (a layer list has its rank).

    Raises UsageError where there is none.
    """
    errors = []
    for shape in shapes:
        try:
            module = load_model(spec, "x".join(map(str, shape))).runnable().source
        except UsageError as error:
            errors.append(error)
            continue
        assert isinstance(module, nn.Module)
        return module
    raise errors[-1]


def check_channels(module: nn.Module, shapes: Sequence[Shape], name: str) -> None:
    """Raise UsageError where a model that runs on none of these shapes does with other channels.

    Nothing is raised where it is not their number, or where several numbers go.
    """
    for shape in shapes:
        taken = taken_channels(shape, lambda other: _runs(module, _round(other)))
        if taken is not None:
            raise UsageError(channels_differ(taken, shape[1], name))


def _as_declared(
    spec: str, readings: Mapping[str, Shape], values: Mapping[str, object], name: str
) -> dict[str, Shape]:
    """The readings of as many dimensions, and channels, as an ONNX file says that it takes.

    Raises UsageError where it is their number alone that differs.
    """
    inputs = load_onnx_file(spec, values).graph.inputs
    dims = inputs[0].dims if inputs else ()
    if dims is None:
        return dict(readings)
    alike = {axes: shape for axes, shape in readings.items() if len(shape) == len(dims)}
    takes = dims[1] if len(dims) > 1 else None
    if not isinstance(takes, int):
        return alike
    fitting = {axes: shape for axes, shape in alike.items() if shape[1] == takes}
    if not fitting and len(alike) == 1:
        (shape,) = alike.values()
        raise UsageError(channels_differ(takes, shape[1], name))
    return fitting


def _round(shape: Shape) -> Shape:
    """The next sizes that every usual stride divides.

    >>> _round((1, 3, 601, 31))
    (1, 3, 640, 64)
    """
    return (*shape[:2], *(-(-size // _ROUND) * _ROUND for size in shape[2:]))


def _runs(module: nn.Module, shape: Shape) -> bool:
    return _failure(module, shape) is None


def _failure(module: nn.Module, shape: Shape) -> CaptureError | None:
    """Why a module does not run on an input of this shape; None where it does."""
    dtype = dtype_of_weights(module) or torch.float32
    try:
        record(module, torch.empty(shape, dtype=dtype, device="meta"))
    except CaptureError as error:
        return error
    return None


def _only_reason(module: nn.Module, readings: Mapping[str, Shape]) -> CaptureError | None:
    """Why the only reading fails; None where there are several."""
    return _failure(module, next(iter(readings.values()))) if len(readings) == 1 else None


_ROUND = 64
