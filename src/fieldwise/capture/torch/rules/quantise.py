"""Quantisation: numbers rounded to a grid in place, and the grids that are chosen for them.

A grid, a scale and a zero point, is one for all, one per channel, or one per row ('token').
"""

from __future__ import annotations

from fieldwise.capture.torch.registry import OpCall, Reads, normal_dim, rule
from fieldwise.capture.torch.rules.common import separably
from fieldwise.graph.ir import WHOLE, Along, Coord, Read, element_wise, straight
from fieldwise.graph.kinds import ELEMENTWISE, SYMMETRIC, Kind

_KEPT = ("running_min", "running_max", "scale", "zero_point")
_GRIDS = ("scale", "scales", "zero_point", "zero_points")


def _source(call: OpCall) -> tuple[str, int]:
    """The name of the argument that is rounded, and its rank."""
    name = "input" if "input" in call.args else "self"
    return name, len(call.shape(name))


def _per_channel(call: OpCall) -> Kind:
    return ELEMENTWISE.per_channel(normal_dim(call["axis"], _source(call)[1]))


@rule(
    "fake_quantize_per_tensor_affine_cachemask",
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
    "_fake_quantize_learnable_per_tensor_affine",
    name="fake_quantize", kind=ELEMENTWISE,
)  # fmt: skip
@rule("quantized_decomposed::quantize_per_tensor", name="quantize", kind=ELEMENTWISE)
@rule("quantized_decomposed::dequantize_per_tensor", name="dequantize", kind=ELEMENTWISE)
def _one_grid(call: OpCall) -> Reads:
    return _rounded(call, WHOLE)


@rule(
    "fake_quantize_per_channel_affine_cachemask", "_fake_quantize_learnable_per_channel_affine",
    "quantized_decomposed::fake_quant_per_channel", name="fake_quantize", kind=_per_channel,
)  # fmt: skip
@rule("quantized_decomposed::quantize_per_channel", name="quantize", kind=_per_channel)
@rule("quantized_decomposed::dequantize_per_channel", name="dequantize", kind=_per_channel)
def _grid_per_channel(call: OpCall) -> Reads:
    return _rounded(call, Along(normal_dim(call["axis"], _source(call)[1])))


def _rounded(call: OpCall, along: Coord) -> Reads:
    """What is kept for the derivative beside the result reads nothing."""
    name, rank = _source(call)
    grids = {g: [along] * len(call.shape(g)) for g in _GRIDS if call.operand(g) is not None}
    reads = separably(call, **{name: straight(rank)}, **grids)
    return (tuple(reads), *[()] * (len(call.results) - 1))


@rule("_fused_moving_avg_obs_fq_helper_functional", name="fake_quantize", kind=SYMMETRIC)
def _observed(call: OpCall) -> Reads:
    """Rounded to a grid that follows the range of what was seen, while that is observed.

    The results are what is rounded, what is kept for the derivative, and the new ranges and grids.
    """
    rank, per_row = len(call.shape("self")), call["per_row_fake_quant"]
    axis = normal_dim(call["ch_axis"], rank)
    looks, rounds = (_is_on(call, name) for name in ("observer_on", "fake_quant_on"))

    def ranges(dim: int) -> list[Read]:
        """What a range or a grid is made of, read at the channel in this dimension."""
        along = Along(dim) if per_row else WHOLE
        seen = [along if place == axis else WHOLE for place in range(rank)]
        kept = {name: [along] * len(call.shape(name)) for name in _KEPT}
        return separably(call, **kept, **({"self": seen} if looks else {}))

    number = call.operand("self")
    itself = () if number is None else (element_wise(number, call.shape("self"), call.result),)
    output = (*itself, *(ranges(axis) if rounds else ()))
    return (output, (), *[tuple(ranges(0))] * (len(call.results) - 2))


def _is_on(call: OpCall, name: str) -> bool:
    """Whether a switch is on, or may be."""
    known = call.constant(name)
    return known is None or bool(known.any())
