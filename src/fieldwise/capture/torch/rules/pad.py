"""Padding ops: a shift along each padded axis, and what stands beyond the border."""

from __future__ import annotations

from collections.abc import Sequence

from fieldwise.axes import AxisMap, Border
from fieldwise.capture.torch.registry import OpCall, Reads, one, rule
from fieldwise.capture.torch.rules.common import along_but, source
from fieldwise.graph.ir import Along, Read, Step
from fieldwise.graph.kinds import COPY, FILLED, Kind

BORDERS = {
    "constant": Border.DROP,
    "reflect": Border.REFLECT,
    "replicate": Border.CLAMP,
}


def _padded(call: OpCall, pad: Sequence[int], border: Border) -> Reads:
    number, shape = source(call)
    return one(Read(number, (_shifts(len(shape), pad, border),)))


def _shifts(rank: int, pad: Sequence[int], border: Border) -> Step:
    """Pads are listed from the last dimension backwards: (before, after) each."""
    shifted = {
        rank - 1 - k: Along(rank - 1 - k, AxisMap.affine(1, -before), border)
        for k, before in enumerate(pad[::2])
    }
    return along_but(0, rank, shifted).steps[0]


def _filled(call: OpCall) -> Kind:
    """A value stands beyond the border where what is padded does not go on."""
    return FILLED if call.args.get("mode", "constant") == "constant" else COPY


@rule("pad", kind=_filled)
def _pad(call: OpCall) -> Reads:
    if call["mode"] == "circular":
        return _circular_pad(call)
    return _padded(call, call["pad"], BORDERS[call["mode"]])


@rule("constant_pad_nd", name="pad", kind=_filled)
def _constant_pad(call: OpCall) -> Reads:
    return _padded(call, call["pad"], Border.DROP)


@rule("_pad_circular", name="pad", kind=COPY)
def _circular_pad(call: OpCall) -> Reads:
    """What negative pads cut off is gone before the rest is wrapped around."""
    pad = call["pad"]
    number, shape = source(call)
    if min(pad, default=0) >= 0:
        return _padded(call, pad, Border.WRAP)
    lengths = [-sum(min(side, 0) for side in pad[2 * k : 2 * k + 2]) for k in range(len(pad) // 2)]
    cut = (0,) * (len(shape) - len(lengths)) + tuple(reversed(lengths))
    cropped = tuple(size - by for size, by in zip(shape, cut, strict=True))
    steps = (
        _shifts(len(shape), [min(side, 0) for side in pad], Border.DROP),
        _shifts(len(shape), [max(side, 0) for side in pad], Border.WRAP),
    )
    return one(Read(number, steps, (cropped,)))


@rule("reflection_pad1d", "reflection_pad2d", "reflection_pad3d", name="pad", kind=COPY)
def _reflection_pad(call: OpCall) -> Reads:
    return _padded(call, call["padding"], Border.REFLECT)


@rule("replication_pad1d", "replication_pad2d", "replication_pad3d", name="pad", kind=COPY)
def _replication_pad(call: OpCall) -> Reads:
    return _padded(call, call["padding"], Border.CLAMP)
