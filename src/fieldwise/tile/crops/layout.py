"""Whether the model computes the same of crops that lie in memory channels-last."""

from __future__ import annotations

from collections.abc import Sequence

from fieldwise.capture.torch.capture import record
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.tree import map_tensors
from fieldwise.errors import CaptureError
from fieldwise.graph.ir import Shape
from fieldwise.tile.crops.compare import compare
from fieldwise.tile.memory_format import channels_last_pays, in_channels_last


def lies_channels_last(call: ModelCall, shapes: Sequence[Shape]) -> bool:
    """Whether inputs of these shapes are given channels-last: where that is quicker, and no other.

    Code that looks at strides (``view``, ``as_strided``) may fail on another layout, or read other
    elements.  So the model is captured on both, and the graphs are compared as of crop and image.
    """
    if not channels_last_pays(call.device, [x.dtype for x in call.inputs]):
        return False
    example = call.resized(shapes)
    try:
        plain, last = (record(call.model, one) for one in (
            example, map_tensors(in_channels_last, example)))  # fmt: skip
    except CaptureError:
        return False
    outputs = compare(last, plain, {}).outputs
    return all(digit.is_same for state in outputs for dim in state for digit in dim)
