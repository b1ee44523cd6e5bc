"""Normalisations: an element, and everything that its statistics are taken over.

Scales and shifts count as generic; where they themselves derive from the input they are read
like any broadcast operand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.capture.torch.registry import Kinds, OpCall, Reads, rule
from fieldwise.capture.torch.rules.common import (
    along_but,
    blocks,
    broadcasts,
    lined,
    separably,
    source,
)
from fieldwise.errors import CaptureError
from fieldwise.graph.ir import WHOLE, Along, Coord, Read, separable
from fieldwise.graph.kinds import ELEMENTWISE, NORMALISED, SYMMETRIC

_AFFINE = ("weight", "bias")
_STORED = ("running_mean", "running_var")


def _normalising(call: OpCall) -> Kinds:
    """What is normalised, and the statistics that may be returned besides."""
    kind = NORMALISED.per_channel(1) if _is_given(call, _AFFINE) else NORMALISED
    return (kind, SYMMETRIC)


def _normalising_or_each(call: OpCall) -> Kinds:
    """Element by element with stored statistics."""
    taken = call.args.get("use_input_stats")
    taken = _takes_batch_statistics(call) if taken is None else taken
    if taken:
        return _normalising(call)
    return ELEMENTWISE.per_channel(1) if _is_given(call, (*_AFFINE, *_STORED)) else ELEMENTWISE


def _is_given(call: OpCall, names: Sequence[str]) -> bool:
    return any(call.args.get(name) is not None for name in names)


@rule(
    "layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm",
    name="layer_norm", kind=(NORMALISED, SYMMETRIC),
)  # fmt: skip
def _layer_norm(call: OpCall) -> Reads:
    """Statistics over the last dimensions; they may be results too."""
    number, shape = source(call, "input")
    rank = len(shape)
    whole = dict.fromkeys(range(rank - len(call["normalized_shape"]), rank), WHOLE)
    read = along_but(number, rank, whole)
    reads = (read, *broadcasts(call, "weight"))
    return _of_group(
        call, reads, broadcasts(call, "bias"), read, math.prod(call["normalized_shape"])
    )


def _of_group(
    call: OpCall, reads: Sequence[Read], shifts: Sequence[Read], statistic: Read, size: int
) -> Reads:
    """What is normalised over so many elements, their mean and their deviation, if these are given.

    A single element less its mean is zero whatever it holds, whatever multiplies it then; a norm
    that subtracts no mean has no shift either.

    reads, shifts: of what is normalised and its scale, and of what is added to it
    """
    varies = size > 1 or "bias" not in call.args
    made = (*reads, *shifts) if varies else tuple(shifts)
    return (made, (statistic,), (statistic,) if varies else ())[: len(call.results)]


@rule("group_norm", "native_group_norm", name="group_norm", kind=_normalising)
def _group_norm(call: OpCall) -> Reads:
    """Statistics over a group of channels and all positions."""
    number, shape = source(call, "input")
    groups = call["num_groups"] if "num_groups" in call.args else call["group"]
    share = shape[1] // groups
    space = [WHOLE] * (len(shape) - 2)
    channels = blocks(1, shape[1], shape[1], groups)
    read = separable(number, Along(0), channels, *space)
    of_group = Along(1, AxisMap(share, (IndexSet.range(0, share),)))
    statistic = separable(number, Along(0), of_group, *space)
    reads, size = (read, *_per_channel(call, ("weight",))), share * math.prod(shape[2:])
    return _of_group(call, reads, _per_channel(call, ("bias",)), statistic, size)


@rule("renorm", kind=NORMALISED)
def _renorm(call: OpCall) -> Reads:
    """Each slice along a dimension is scaled by its own norm."""
    number, shape, dim = lined(call)
    rest = {d: WHOLE for d in range(len(shape)) if d != dim}
    return ((along_but(number, len(shape), rest),),)


@rule("instance_norm", kind=_normalising_or_each)
def _instance_norm(call: OpCall) -> Reads:
    number, shape = source(call, "input")
    taken = call["use_input_stats"]
    space = range(2, len(shape)) if taken else ()
    read = along_but(number, len(shape), dict.fromkeys(space, WHOLE))
    return ((read, *_per_channel(call, _AFFINE if taken else (*_AFFINE, *_STORED))),)


@rule(
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "_native_batch_norm_legit_functional",
    "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_impl_index", "_batch_norm_no_update",
    "_batch_norm_with_update", "_batch_norm_with_update_functional",
    name="batch_norm", kind=_normalising_or_each,
)  # fmt: skip
def _batch_norm(call: OpCall) -> Reads:
    """Per channel affine with stored statistics; else the statistics of batch and space.

    Raises CaptureError where the module that runs it is in training mode.
    """
    number, shape = source(call, "input")
    mixed: Mapping[int, Coord] = {}
    if _takes_batch_statistics(call):
        if call.training:
            raise CaptureError(
                "BatchNorm in training mode mixes the samples of a batch; call model.eval() first"
            )
        mixed = {dim: WHOLE for dim in range(len(shape)) if dim != 1}
    own = _per_channel(call, _AFFINE if mixed else (*_AFFINE, *_STORED))
    reads = (along_but(number, len(shape), mixed), *own)
    taken = _statistics(number, len(shape)) if mixed else ()
    more = (
        (*taken, *_kept_statistics(call, place)) if result == shape[1:2] else ()
        for place, result in enumerate(call.results[1:], 1)
    )
    return (reads, *more)


def _takes_batch_statistics(call: OpCall) -> bool:
    """Where no argument says whether it does, an op that makes new running statistics does."""
    if call.args.get("running_mean") is None:
        return True
    return bool(call.args.get("training", call.renews))


def _statistics(number: int, rank: int) -> tuple[Read, ...]:
    return (separable(number, *(Along(0) if dim == 1 else WHOLE for dim in range(rank))),)


def _kept_statistics(call: OpCall, place: int) -> list[Read]:
    """The derived running statistic of which a result is the new one: the last two may be."""
    if place < max(3, len(call.results) - len(_STORED)):
        return []
    return separably(call, **{_STORED[place - len(call.results)]: (Along(0),)})


def _per_channel(call: OpCall, names: Sequence[str]) -> list[Read]:
    """Those of these arguments that are derived: one value per channel."""
    return separably(call, **dict.fromkeys(names, (Along(1),)))
