"""Pools: windows without channels.  What ceil_mode adds at the end reads what there is."""

from __future__ import annotations

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.capture.torch.registry import OpCall, Reads, rule
from fieldwise.capture.torch.rules.common import along_but, per_axis, per_result, source
from fieldwise.graph.ir import WHOLE, Along, Coord, Unknown, separable
from fieldwise.graph.kinds import PLACE, POOLED_EXTREME, POOLED_MEAN, POOLED_SUM, Kind


def _pool(call: OpCall, axes: int) -> Reads:
    number, shape = source(call)
    lead = len(shape) - axes
    kernel = per_axis(call["kernel_size"], axes)
    stride = per_axis(call["stride"] or kernel, axes)
    padding = per_axis(call["padding"], axes)
    dilation = per_axis(call.args.get("dilation"), axes, 1)
    windows = {
        lead + axis: Along(lead + axis, AxisMap.window(k, stride=s, padding=p, dilation=d))
        for axis, (k, s, p, d) in enumerate(zip(kernel, stride, padding, dilation, strict=True))
    }
    return per_result(call, along_but(number, len(shape), windows))


def _adaptive_pool(call: OpCall, axes: int) -> Reads:
    number, shape = source(call)
    lead = len(shape) - axes
    windows = {
        dim: _adaptive_axis(dim, shape[dim], call.results[0][dim])
        for dim in range(lead, len(shape))
    }
    return per_result(call, along_but(number, len(shape), windows))


def _adaptive_axis(dim: int, before: int, after: int) -> Coord:
    """Output i pools the inputs from ⌊i·before/after⌋ to ⌈(i+1)·before/after⌉ − 1."""
    if after == 1:
        return WHOLE
    windows = tuple(
        IndexSet.range(i * before // after, -(-(i + 1) * before // after)) for i in range(after)
    )
    return Along(dim, AxisMap(before, windows))


def _averaging(call: OpCall) -> Kind:
    """A mean where nothing but what is there is counted."""
    counted = any(per_axis(call["padding"], 1)) and call["count_include_pad"]
    return POOLED_SUM if counted or call.args.get("divisor_override") else POOLED_MEAN


def _pool_by_data(call: OpCall, axes: int, why: str) -> Reads:
    """Batch and channel pass; where along space is not known.  Indices are read alike."""
    reads = [
        along_but(number, rank, {dim: Unknown(why) for dim in range(rank - axes, rank)})
        for name, number in call.derived()
        if name in ("self", "indices")
        for rank in (len(call.operands[number]),)
    ]
    return per_result(call, *reads)


_WRITES = "writes to positions that depend on the data"

for _axes in (1, 2, 3):

    @rule(
        f"max_pool{_axes}d", f"max_pool{_axes}d_with_indices",
        name="max_pool", kind=(POOLED_EXTREME, PLACE),
    )  # fmt: skip
    def _max_pool(call: OpCall, axes: int = _axes) -> Reads:
        return _pool(call, axes)

    @rule(f"avg_pool{_axes}d", name="avg_pool", kind=_averaging)
    def _avg_pool(call: OpCall, axes: int = _axes) -> Reads:
        return _pool(call, axes)

    @rule(f"adaptive_avg_pool{_axes}d", name="adaptive_avg_pool", kind=POOLED_MEAN)
    def _adaptive_avg_pool(call: OpCall, axes: int = _axes) -> Reads:
        return _adaptive_pool(call, axes)

    @rule(f"adaptive_max_pool{_axes}d", name="adaptive_max_pool", kind=(POOLED_EXTREME, PLACE))
    def _adaptive_max_pool(call: OpCall, axes: int = _axes) -> Reads:
        return _adaptive_pool(call, axes)


for _axes in (2, 3):

    @rule(f"_adaptive_avg_pool{_axes}d", name="adaptive_avg_pool", kind=POOLED_MEAN)
    def _inner_adaptive_avg_pool(call: OpCall, axes: int = _axes) -> Reads:
        return _adaptive_pool(call, axes)

    @rule(f"max_unpool{_axes}d", name="max_unpool")
    def _max_unpool(call: OpCall, axes: int = _axes) -> Reads:
        return _pool_by_data(call, axes, f"{call.named('max_unpool')} {_WRITES}")

    @rule(f"fractional_max_pool{_axes}d", name="fractional_max_pool")
    def _fractional_max_pool(call: OpCall, axes: int = _axes) -> Reads:
        why = "fractional_max_pool draws its windows at random"
        reads = _pool_by_data(call, axes, why)
        number = call.operand("random_samples")
        if number is None:
            return reads
        drawn = separable(number, Along(0), Along(1), Unknown(why))
        return tuple((*found, drawn) for found in reads)
