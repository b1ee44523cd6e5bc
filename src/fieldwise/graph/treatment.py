"""How an op treats the positions of its operands: what proofs of shift and tile need of its kinds.

Kinds say how an op combines what it reads; what stands here by name is a theorem of its own or
given up.  An op without a kind ends every proof that reaches it: unknown is never taken for
harmless.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from fieldwise.graph.ir import Node
from fieldwise.graph.kinds import EVERYTHING, Kind

WholeTreatment = Literal["symmetric", "kept", "ordered"]
ConstantPlaces = Literal["broadcast", "read"]


@dataclass(frozen=True, slots=True)
class Treatment:
    """How one op treats positions.

    whole:     what is done with a dimension that is read whole: 'symmetric': its order does not
               matter (a mean); 'kept': the result has it too, and position i is position i and
               something symmetric (a softmax); 'ordered': every position has its own weight
    constants: where constant tensors stand: 'broadcast' against the result, or where they are
               'read', as the op's rule says once it is asked for them too
    averages:  what is the same everywhere stays so (copies, interpolation)
    channel:   the dimension of the result whose positions have weights of their own; the op's
               constants are these weights
    repeats:   along a dimension that no operand drives the result repeats itself
    """

    whole: WholeTreatment = "ordered"
    constants: ConstantPlaces = "read"
    averages: bool = False
    channel: int | None = None
    repeats: bool = False


POINTWISE = Treatment(constants="broadcast", repeats=True)
COPIES = Treatment(averages=True, repeats=True)
POSITIONS = Treatment()
"""Results that say where something was found: the order of what is searched matters."""

_MASKED = frozenset({"where", "masked_fill"})
"""Masks, a theorem: their places say which operand is copied, and constant ones stand by value."""


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
    return _of_kinds(node.op, frozenset([read.kind for read in node.reads[position]]))


@lru_cache(maxsize=1 << 12)
def _of_kinds(op: str, kinds: frozenset[Kind]) -> Treatment | None:
    if op in CONTRACTIONS:
        return Treatment()
    if not kinds:
        return COPIES
    if not all(kind.is_known for kind in kinds):
        return None
    data = {kind for kind in kinds if kind.combines != "asked"} or kinds
    ways = {kind.combines for kind in data}
    channel = next((kind.channel for kind in data if kind.channel is not None), None)
    if "place" in ways:
        return POSITIONS
    if op in _MASKED or (ways == {"each"} and channel is None):
        return POINTWISE
    return Treatment(
        whole=_whole(data),
        averages=all(kind.keeps_equal or kind.geometry == EVERYTHING for kind in data),
        channel=channel,
        repeats=ways <= {"one", "asked"},
    )


def _whole(kinds: Collection[Kind]) -> WholeTreatment:
    if any(kind.keeps for kind in kinds):
        return "kept"
    return "symmetric" if all(kind.alike for kind in kinds) else "ordered"


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
