"""How every op treats the positions of its operands: the table that proofs of shift and tile read.

The reads of a graph say *where* an op looks; this table says *how*.  An op that is not in it ends
every proof that reaches it: unknown is never taken for harmless.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WholeTreatment = Literal["symmetric", "kept", "ordered"]
ConstantPlaces = Literal["none", "broadcast", "trailing", "rows", "listed", "copied"]


@dataclass(frozen=True, slots=True)
class Treatment:
    """How one op treats positions.

    whole:     what is done with a dimension that is read whole: 'symmetric': its order does not
               matter (a mean); 'kept': the result has it too, and position i is position i and
               something symmetric (a softmax); 'ordered': every position has its own weight
    constants: where constant tensors stand: 'broadcast' against the result, along the
               'trailing' dimensions, in 'rows' that are looked up, 'listed' beside each other
               (cat), or 'copied' to where the op's rule says
    averages:  what is the same everywhere stays so (copies, interpolation)
    channels:  positions along the channel dimension have weights of their own
    repeats:   along a dimension that no operand drives the result repeats itself
    results:   how many results it is true of; None: all; the others hold positions
    """

    whole: WholeTreatment = "ordered"
    constants: ConstantPlaces = "none"
    averages: bool = False
    channels: bool = False
    repeats: bool = False
    results: int | None = None


POINTWISE = Treatment(constants="broadcast", repeats=True)
COPIES = Treatment(constants="copied", averages=True, repeats=True)
POSITIONS = Treatment()
"""Results that say where something was found: the order of what is searched matters."""

_POINTWISE = """
    abs acos acosh add addcdiv addcmul angle asin asinh atan atan2 atanh bitwise_and
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil celu clamp
    clamp_max clamp_min clip complex conj_physical copysign cos cosh deg2rad digamma div
    divide elu eq erf erfc erfinv exp exp2 expm1 fill fix float_power floor floor_divide fmax
    fmin fmod frac frexp gcd ge gelu gelu_backward gt hardshrink hardsigmoid hardswish hardtanh
    heaviside hypot i0 igamma igammac imag isfinite isinf isnan isneginf isposinf lcm ldexp le
    leaky_relu lerp lgamma log log10 log1p log2 log_sigmoid logaddexp logaddexp2 logical_and
    logical_not logical_or logical_xor logit logit_backward lt masked_fill maximum minimum mish
    mul multiply mvlgamma nan_to_num native_dropout_backward ne neg negative nextafter not_equal
    polar polygamma positive pow rad2deg real reciprocal relu relu6 remainder round rsqrt rsub
    selu sgn sigmoid sigmoid_backward sign signbit silu silu_backward sin sinc sinh softplus
    softshrink softsign special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0
    special_bessel_y1 special_chebyshev_polynomial_t special_chebyshev_polynomial_u
    special_chebyshev_polynomial_v special_chebyshev_polynomial_w special_entr special_erfcx
    special_hermite_polynomial_h special_hermite_polynomial_he special_i0e special_i1
    special_i1e special_laguerre_polynomial_l special_legendre_polynomial_p special_log_ndtr
    special_modified_bessel_i0 special_modified_bessel_i1 special_modified_bessel_k0
    special_modified_bessel_k1 special_ndtri special_scaled_modified_bessel_k0
    special_scaled_modified_bessel_k1 special_shifted_chebyshev_polynomial_t
    special_shifted_chebyshev_polynomial_u special_shifted_chebyshev_polynomial_v
    special_shifted_chebyshev_polynomial_w special_spherical_bessel_j0 special_xlog1py
    special_zeta sqrt square sub subtract tan tanh tanh_backward tanhshrink threshold
    threshold_backward true_divide trunc where xlogy __ilshift__ __ixor__ __lshift__
    __rshift__ __xor__ _conj _conj_physical
"""
_COPIES = """
    alias as_strided channel_shuffle clone detach diagonal expand flip im2col index index_select
    lift lift_fresh narrow pad permute pixel_shuffle pixel_unshuffle repeat repeat_interleave
    reshape roll rot90 select slice split take tile to unbind unfold gather constant write dropout
    alias_scatter as_strided_scatter expand_scatter permute_scatter reshape_scatter
    split_scatter unbind_scatter diagonal_scatter unfold_scatter _neg_view view_as_complex
"""
_REDUCTIONS = """
    mean sum amax amin nanmean nansum logsumexp prod all any linalg_vector_norm norm count_nonzero
    var std var_mean std_mean aminmax _aminmax frobenius_norm msort pdist isin trace quantile
    nanquantile hash_tensor
"""
_PICKS = "max min median nanmedian mode kthvalue"
_PLAIN = """
    col2im cumulative stft istft unfold_backward argmax argmin argsort affine_grid_generator
    one_hot embedding glu linspace logspace
"""

TABLE: dict[str, Treatment] = {
    **dict.fromkeys(_POINTWISE.split(), POINTWISE),
    **dict.fromkeys(_COPIES.split(), COPIES),
    **dict.fromkeys(
        ("cat", "stack", "slice_scatter", "select_scatter"),
        Treatment("ordered", "listed", averages=True),
    ),
    "copy": Treatment(repeats=True),
    "block_diag": Treatment(),
    "view_as_real": Treatment(averages=True),
    **dict.fromkeys(_REDUCTIONS.split(), Treatment("symmetric")),
    **dict.fromkeys(_PICKS.split(), Treatment("symmetric", "broadcast", repeats=True, results=1)),
    **dict.fromkeys(("sort", "topk"), Treatment("symmetric", results=1)),
    **dict.fromkeys(("bucketize", "searchsorted"), Treatment("ordered", "rows")),
    "linalg_cross": Treatment("ordered", "broadcast"),
    "prelu": Treatment(channels=True),
    "softmax": Treatment("kept"),
    "layer_norm": Treatment("kept", "trailing"),
    "encoder_layer": Treatment("kept", channels=True),
    "group_norm": Treatment("kept", channels=True),
    "instance_norm": Treatment("kept", channels=True),
    "renorm": Treatment("kept"),
    "batch_norm": Treatment("kept", channels=True),
    "conv": Treatment(channels=True),
    "conv_transpose": Treatment(channels=True),
    "max_pool": Treatment("symmetric", results=1),
    "avg_pool": Treatment("symmetric"),
    "adaptive_avg_pool": Treatment("symmetric", averages=True),
    "adaptive_max_pool": Treatment("symmetric", averages=True, results=1),
    **dict.fromkeys(
        ("upsample_nearest", "upsample_linear", "upsample_bilinear", "upsample_trilinear",
         "upsample_bicubic", "upsample_lanczos"),
        Treatment(averages=True),
    ),
    **dict.fromkeys(_PLAIN.split(), Treatment()),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), Treatment(channels=True)),
}  # fmt: skip
"""Canonical op name → how it treats positions."""

CONTRACTIONS = frozenset({
    "matmul", "linear", "einsum", "attention", "addbmm", "addr", "bilinear", "cdist",
})  # fmt: skip
"""Sums of products, which pair the positions of two operands."""

OTHERS = frozenset(
    "fft attention grid_sample diag_embed histc tril triu loss dist index_put index_copy "
    "index_fill index_add index_reduce scatter scatter_add scatter_reduce rrelu "
    "rrelu_with_noise rrelu_with_noise_functional".split()
)
"""Ops about which shift has a theorem each."""

RANDOM = frozenset(
    "bernoulli cauchy exponential geometric log_normal multinomial normal random uniform".split()
)
"""Ops that answer differently each time."""

UNJUDGED: dict[str, str] = {
    **dict.fromkeys(
        ("nonzero", "nonzero_static", "masked_select", "masked_scatter", "nms"),
        "it picks elements by their values, wherever they are",
    ),
    **dict.fromkeys(
        ("bincount", "histogram", "put", "segment_reduce", "_unsafe_masked_index"),
        "it counts or places elements by their values",
    ),
    **dict.fromkeys(
        (
            "nll_loss",
            "margin_loss",
            "ctc_loss",
            "linear_cross_entropy",
            "embedding_bag",
            "embedding_renorm",
        ),
        "it picks by classes or indices that are numbers",
    ),
    **dict.fromkeys(
        ("softmax_backward", "max_pool_backward"), "the derivative of an op is not looked into"
    ),
    "_chunk_cat": "its pieces are not looked into",
    "fractional_max_pool": "it pools regions that random numbers choose",
    "max_unpool": "it writes to positions that depend on the data",
    "deform_conv2d": "it reads at positions that its offsets hold",
    **dict.fromkeys(
        ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"),
        "it reads the regions that its boxes hold",
    ),
    "matrix_function": "a function of a whole matrix is not looked into",
}
"""Ops of which nothing is claimed where what they read moves, and why."""
