"""How every op treats the positions of its operands: the one table that the proof stands on.

The reads of a graph say *where* an op looks; this table says *how*.  An op that is not in it ends
every proof that reaches it: unknown is never taken for harmless.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Whole = Literal["symmetric", "kept", "ordered"]
Constants = Literal["none", "broadcast", "trailing", "channels", "listed"]


@dataclass(frozen=True, slots=True)
class Treatment:
    """How one op treats positions.

    whole:     what is done with a dimension that is read whole: 'symmetric': its order does not
               matter (a mean); 'kept': the result has it too, and position i is position i and
               something symmetric (a softmax); 'ordered': every position has its own weight
    constants: where constant tensors stand: 'broadcast' against the result, along the
               'trailing' dimensions, along the 'channels' only, 'listed' beside each other (cat)
    averages:  what is the same everywhere stays so (copies, interpolation)
    channels:  positions along the channel dimension have weights of their own
    results:   how many results it is true of; None: all
    """

    whole: Whole = "ordered"
    constants: Constants = "none"
    averages: bool = False
    channels: bool = False
    results: int | None = None


POINTWISE = Treatment(constants="broadcast")
COPIES = Treatment(averages=True)

_POINTWISE = """
    abs acos acosh add addcdiv addcmul angle asin asinh atan atan2 atanh bitwise_and
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil celu clamp
    clamp_max clamp_min clip complex copysign cos cosh deg2rad digamma div divide elu eq erf erfc
    erfinv exp exp2 expm1 fix float_power floor floor_divide fmax fmin fmod frac ge gelu gt
    hardshrink hardsigmoid hardswish hardtanh heaviside hypot i0 imag isfinite isinf isnan isneginf
    isposinf ldexp le leaky_relu lerp lgamma log log10 log1p log2 log_sigmoid logaddexp logaddexp2
    logical_and logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish mul
    multiply nan_to_num ne neg negative not_equal polar positive pow rad2deg reciprocal relu relu6
    remainder round rsqrt rsub selu sgn sigmoid sign signbit silu sin sinc sinh softplus softshrink
    softsign sqrt square sub subtract tan tanh tanhshrink threshold true_divide trunc where xlogy
    fill copy
"""
_COPIES = """
    alias as_strided channel_shuffle clone detach diagonal expand flip im2col index index_select
    lift lift_fresh narrow pad permute pixel_shuffle pixel_unshuffle repeat repeat_interleave
    reshape roll rot90 select slice split tile to unbind unfold gather constant write dropout
    alias_scatter as_strided_scatter expand_scatter permute_scatter reshape_scatter
    split_scatter unbind_scatter diagonal_scatter unfold_scatter _conj _neg_view view_as_real
    view_as_complex
"""
_REDUCTIONS = """
    mean sum amax amin nanmean nansum logsumexp prod all any linalg_vector_norm norm count_nonzero
    var std var_mean std_mean aminmax _aminmax
"""
_PICKS = "max min median nanmedian mode kthvalue"

TABLE: dict[str, Treatment] = {
    **dict.fromkeys(_POINTWISE.split(), POINTWISE),
    **dict.fromkeys(_COPIES.split(), COPIES),
    **dict.fromkeys(
        ("cat", "stack", "slice_scatter", "select_scatter"),
        Treatment("ordered", "listed", averages=True),
    ),
    **dict.fromkeys(_REDUCTIONS.split(), Treatment("symmetric")),
    **dict.fromkeys(_PICKS.split(), Treatment("symmetric", "broadcast", results=1)),
    **dict.fromkeys(("glu", "bucketize", "one_hot"), Treatment()),
    "prelu": Treatment(channels=True),
    "softmax": Treatment("kept"),
    "layer_norm": Treatment("kept", "trailing"),
    "group_norm": Treatment("kept", channels=True),
    "instance_norm": Treatment("kept", channels=True),
    "batch_norm": Treatment("kept", channels=True),
    "conv": Treatment(channels=True),
    "conv_transpose": Treatment(channels=True),
    "col2im": Treatment(),
    "max_pool": Treatment("symmetric", results=1),
    "avg_pool": Treatment("symmetric"),
    "adaptive_avg_pool": Treatment("symmetric", averages=True),
    "adaptive_max_pool": Treatment("symmetric", averages=True, results=1),
    **dict.fromkeys(
        ("upsample_nearest", "upsample_linear", "upsample_bilinear", "upsample_trilinear",
         "upsample_bicubic", "upsample_lanczos"),
        Treatment(averages=True),
    ),
    "cumulative": Treatment(),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), Treatment(channels=True)),
}  # fmt: skip
"""Canonical op name → how it treats positions."""

CONTRACTIONS = frozenset({"matmul", "linear", "einsum", "attention"})
"""Sums of products, which pair the positions of two operands; see ``contract``."""
