"""What a report says of a window that is no longer whole, and how to repair it."""

from __future__ import annotations

from dataclasses import dataclass

from fieldwise.axes import AxisMap, Border
from fieldwise.graph.ir import Along, Kwargs, Node
from fieldwise.graph.treatment import UNJUDGED
from fieldwise.shift.proof.signal import Fault, Moving

CIRCULAR = "pad circularly: fieldwise.shift.circular, or --repair circular"
_POOLS = ("max_pool", "avg_pool")


@dataclass(frozen=True, slots=True)
class Reasons:
    """The reasons that one op gives.

    op, given: its canonical name and the arguments of its call, where known
    axis_size: of the input axis that is shifted
    """

    op: str
    given: Kwargs
    axis_size: int

    def __call__(self, condition: str, moving: Moving, along: Along | None) -> Fault:
        """Why a window is dirty, short or long after this op."""
        if condition == "dirty":
            return self._dirty(along)
        if along is not None and self.given.get("align_corners"):
            return _ALIGNED
        if condition == "short":
            return self._short(moving, along)
        return Fault(
            "the axis is longer than a whole number of periods",
            "crop what is padded or repeated beyond them",
        )

    def _dirty(self, along: Along | None) -> Fault:
        if along is None:
            return Fault("it puts something beside what moves", "wrap the axis around instead")
        if along.border is Border.REFLECT or along.border is Border.SYMMETRIC:
            return Fault("reflect padding", CIRCULAR)
        if self.op.startswith("upsample"):
            if self.given.get("align_corners"):
                return _ALIGNED
            return Fault("the interpolation is clamped at the edge", "wrap the edge around first")
        if along.border is Border.CLAMP:
            return Fault("padding by the edge sample", CIRCULAR)
        if along.border is Border.WRAP:
            return Fault("it wraps around what is not a whole number of periods", CIRCULAR)
        if self.op in _POOLS and self.given.get("ceil_mode"):
            return _HANGS
        if self.op == "max_pool":
            return Fault("padding by −inf", CIRCULAR)
        if self.op == "pad" and self._asymmetric():
            return Fault("asymmetric zero padding, as in SAME", CIRCULAR)
        if self.op in ("slice", "index", "index_select", "select"):
            return Fault("it reads beyond what moves", None)
        return Fault("zero padding", CIRCULAR)

    def _asymmetric(self) -> bool:
        pad = self.given.get("pad") or ()
        return any(a != b for a, b in zip(pad[::2], pad[1::2], strict=False))

    def _short(self, moving: Moving, along: Along | None) -> Fault:
        index = along.map if along is not None else None
        turn = moving.turn or 0
        if isinstance(index, AxisMap) and turn > abs(moving.rate) * self.axis_size:
            before = abs(moving.rate * index.advance / index.period) * self.axis_size
            if abs(index.advance) > 1 and before.denominator == 1:
                return Fault(
                    f"the size {before} is not a multiple of the stride {abs(index.advance)}",
                    "use a size that the strides divide",
                )
        if self.op == "conv" or self.op in _POOLS:
            return Fault("a valid convolution shortens the axis" if self.op == "conv"
                         else "a valid window shortens the axis", CIRCULAR)  # fmt: skip
        return Fault("it crops the axis", "keep the whole axis")


_HANGS = Fault(
    "ceil_mode: the last window hangs over the edge",
    "use ceil_mode=False, or a size that the windows fit",
)
_ALIGNED = Fault(
    "align_corners stretches the axis by a ratio that no step fits",
    "use align_corners=False",
)
_LINEAR = Fault(
    "a linear layer gives every position its own weights", "average over the axis first"
)
ORDERED = {
    "linear": _LINEAR,
    "matmul": Fault(
        "a product with a constant matrix weighs positions one by one", "use a convolution"
    ),
    "cumulative": Fault("it goes through the positions in order", None),
}
ORDERED |= dict.fromkeys(
    (
        "argmax",
        "argmin",
        "argsort",
        "sort",
        "topk",
        *"max min median nanmedian mode kthvalue".split(),
    ),
    Fault("it says at which position of the axis something is", None),
)
ORDERED["causal"] = Fault("causal attention goes through the positions in order")
ORDERED["pdist"] = ORDERED["linalg_cross"] = Fault("it pairs positions in order", known=False)
ORDERED |= dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), ORDERED["cumulative"])
ORDERED["einsum"] = ORDERED["matmul"]


_GIVE_A_KIND = "give its rule a kind (see fieldwise.graph.kinds)"


def undescribed(node: Node) -> Fault:
    """The reason of an op without a treatment: nothing is known of it."""
    why = f"'{node.called}' is not supported: how it treats positions is not described"
    return Fault(why, _GIVE_A_KIND, known=False)


PAD_OR_WRAP = "pad it, or repair with valid='wrap'"
DROP_INDICES = "drop return_indices"
USE_FUNCTIONS = "compute it with the functions of torch.nn.functional, which a repair can rewrite"
"""Remedies where a repair does not reach."""

_OF_FILES = {
    _ALIGNED.remedy: "use another coordinate_transformation_mode",
    _HANGS.remedy: "use ceil_mode 0, or a size that the windows fit",
    _GIVE_A_KIND: None,
    PAD_OR_WRAP: "pad it, or repair with --wrap-valid (valid='wrap')",
    DROP_INDICES: "use its first output alone",
    USE_FUNCTIONS: "no repair rewrites it",
}


def of_files(remedy: str) -> str | None:
    """A remedy in the words of an ONNX file, whose attributes have other values; None without one.

    >>> of_files("use align_corners=False"), of_files("use a larger input")
    ('use another coordinate_transformation_mode', 'use a larger input')
    """
    return _OF_FILES.get(remedy, remedy)


PICKED = Fault("it picks a position of the axis", "reduce over the axis instead")
ABSOLUTE = Fault("the indices that it returns are absolute positions", "use the values alone")


def ordered(node: Node) -> Fault:
    """The reason of an op that gives positions their own weights."""
    known = ORDERED.get(node.op)
    if known is None or (node.operator and known is _LINEAR):
        why = f"'{node.called}' gives every position its own weight"
        return Fault(why, known.remedy if known else None)
    return known


def unjudged(op: str) -> Fault:
    """The reason of an op of which nothing is claimed."""
    return Fault(UNJUDGED[op], known=False)


def varies(op: str, what: str) -> Fault:
    """A constant that differs between positions."""
    if op == "layer_norm":
        return Fault(
            f"its {what} varies along the axis", "normalise over the channels, or without affine"
        )
    if op == "attention":
        return Fault(
            f"its {what} varies with the position",
            "use a bias that depends on the circular distance alone, or none",
        )
    return Fault(
        f"it meets {what} that varies along the axis",
        "remove it, or make it periodic with the stride",
    )
