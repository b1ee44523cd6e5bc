"""Padding ops: a shift along each padded axis, and what stands beyond the border."""

from __future__ import annotations

from collections.abc import Sequence

from fieldwise.axes import AxisMap, Border
from fieldwise.capture.torch.registry import OpCall, Reads, one, rule
from fieldwise.graph.ir import Along, separable

_BORDERS = {
    "constant": Border.DROP,
    "reflect": Border.REFLECT,
    "replicate": Border.CLAMP,
    "circular": Border.WRAP,
}


def _padded(call: OpCall, pad: Sequence[int], border: Border) -> Reads:
    """torch lists the pads from the last dimension backwards: (before, after) each."""
    source = call.operand("self")
    assert source is not None
    rank = len(call.operands[source])
    before = {rank - 1 - k: pad[2 * k] for k in range(len(pad) // 2)}
    return one(
        separable(
            source,
            *(
                Along(dim, AxisMap.affine(1, -before[dim]), border) if dim in before else Along(dim)
                for dim in range(rank)
            ),
        )
    )


@rule("pad")
def _pad(call: OpCall) -> Reads:
    return _padded(call, call["pad"], _BORDERS[call["mode"]])


@rule("constant_pad_nd", name="pad")
def _constant_pad(call: OpCall) -> Reads:
    return _padded(call, call["pad"], Border.DROP)


@rule("reflection_pad1d", "reflection_pad2d", "reflection_pad3d", name="pad")
def _reflection_pad(call: OpCall) -> Reads:
    return _padded(call, call["padding"], Border.REFLECT)


@rule("replication_pad1d", "replication_pad2d", "replication_pad3d", name="pad")
def _replication_pad(call: OpCall) -> Reads:
    return _padded(call, call["padding"], Border.CLAMP)
