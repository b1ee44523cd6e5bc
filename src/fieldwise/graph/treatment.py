"""How an op treats the positions of its operands: what proofs of shift and tile need of its kinds.

Kinds say how an op combines what it reads; what stands here by name is where constants stand
(``_CONSTANTS``), which layers have weights per channel, and what is a theorem of its own or given
up.  An op without a kind ends every proof that reaches it: unknown is never taken for harmless.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from fieldwise.graph.ir import Node
from fieldwise.graph.kinds import EVERYTHING, Kind

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
    """

    whole: WholeTreatment = "ordered"
    constants: ConstantPlaces = "none"
    averages: bool = False
    channels: bool = False
    repeats: bool = False


POINTWISE = Treatment(constants="broadcast", repeats=True)
COPIES = Treatment(constants="copied", averages=True, repeats=True)
POSITIONS = Treatment()
"""Results that say where something was found: the order of what is searched matters."""

_LISTED = frozenset({"cat", "stack", "slice_scatter", "select_scatter"})
"""Copies whose constants stand beside each other, each along a part of one dimension."""
_CONSTANTS: dict[str, ConstantPlaces] = {
    **dict.fromkeys(("where", "masked_fill", "linalg_cross"), "broadcast"),
    **dict.fromkeys(("bucketize", "searchsorted"), "rows"),
    "layer_norm": "trailing",
}
"""Where the constants of some ops stand that are no copies and not element-wise."""
CHANNELS = frozenset({
    "prelu", "group_norm", "instance_norm", "batch_norm", "conv", "conv_transpose", "encoder_layer",
    "lstm", "gru", "rnn_tanh", "rnn_relu",
})  # fmt: skip
"""Layers with weights of their own for each channel."""
_ENCODER = Treatment("kept", channels=True)


def treatment(node: Node, position: int = 0) -> Treatment | None:
    """How an op treats positions in one of its results, as the kinds of its reads say.

    None where some kind is not known.

    >>> from dataclasses import replace
    >>> from fieldwise.graph.ir import identity
    >>> from fieldwise.graph.kinds import ELEMENTWISE
    >>> relu = Node("relu", ("x",), ("y",), ((replace(identity(0, 2), kind=ELEMENTWISE),),))
    >>> treatment(relu) == POINTWISE
    True
    """
    kinds = {read.kind for read in node.reads[position]}
    if node.op == "encoder_layer":
        return _ENCODER
    if node.op in CONTRACTIONS:
        return Treatment()
    if not kinds:
        return COPIES
    if not all(kind.is_known for kind in kinds):
        return None
    data = {kind for kind in kinds if kind.combines != "asked"} or kinds
    ways = {kind.combines for kind in data}
    if "place" in ways:
        return POSITIONS
    if node.op in ("where", "masked_fill") or (ways == {"each"} and node.op not in CHANNELS):
        return POINTWISE
    copies = ways <= {"one", "asked"}
    return Treatment(
        whole=_whole(data),
        constants=_CONSTANTS.get(node.op, "none") if not copies else _of_copies(node),
        averages=all(kind.keeps_equal or kind.geometry == EVERYTHING for kind in data),
        channels=node.op in CHANNELS,
        repeats=copies,
    )


def _whole(kinds: Collection[Kind]) -> WholeTreatment:
    if any(kind.keeps for kind in kinds):
        return "kept"
    return "symmetric" if all(kind.alike for kind in kinds) else "ordered"


def _of_copies(node: Node) -> ConstantPlaces:
    return "listed" if node.op in _LISTED else "copied"


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
