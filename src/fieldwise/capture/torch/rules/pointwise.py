"""Element-wise ops that torch does not tag as such; the tagged ones need no rule."""

from __future__ import annotations

from fieldwise.capture.torch.registry import OpCall, Reads, one, rule
from fieldwise.capture.torch.rules.common import per_result, source
from fieldwise.graph.ir import WHOLE, Along, Read, broadcast, identity, separable


@rule(
    "clone", "alias", "detach", "lift", "lift_fresh", "hardswish", "_neg_view", "_conj",
    "bernoulli", "rrelu_with_noise", "rrelu_with_noise_functional", "floor_divide", "rsub",
    "complex", "polar", "real", "fill", "copy",
)  # fmt: skip
def _element_wise(call: OpCall) -> Reads:
    result = call.results[0]
    reads = (broadcast(number, call.operands[number], result) for _, number in call.derived())
    return per_result(call, *reads)


@rule("contiguous", "to", "_to_copy", "type_as", name="to")
def _converted(call: OpCall) -> Reads:
    """Another tensor among the arguments only says to which type."""
    number = call.operand("self")
    return one() if number is None else one(identity(number, len(call.result)))


@rule(
    "dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout",
    name="dropout",
)  # fmt: skip
def _dropout(call: OpCall) -> Reads:
    number, shape = source(call, "input" if "input" in call.args else "self")
    return ((identity(number, len(shape)),), *[()] * (len(call.results) - 1))


@rule("log_sigmoid", "log_sigmoid_forward", name="log_sigmoid")
def _log_sigmoid(call: OpCall) -> Reads:
    number, shape = source(call)
    return ((identity(number, len(shape)),), *[()] * (len(call.results) - 1))


@rule("prelu", "_prelu_kernel", name="prelu")
def _prelu(call: OpCall) -> Reads:
    """The slopes, where they derive from the input, belong to the channels."""
    rank = len(call.result)
    reads: list[Read] = []
    if (number := call.operand("self")) is not None:
        reads.append(identity(number, rank))
    if (number := call.operand("weight")) is not None:
        shape = call.operands[number]
        per_channel = shape != (1,) and len(shape) == 1
        reads.append(
            separable(number, Along(min(rank - 1, 1)))
            if per_channel
            else broadcast(number, shape, call.result)
        )
    return one(*reads)


@rule("bucketize", "searchsorted", "isin")
def _looked_up(call: OpCall) -> Reads:
    """Every element is compared with all boundaries (or with its row of them)."""
    reads = []
    for name, number in call.derived():
        shape = call.operands[number]
        looked_up = name in ("boundaries", "sorted_sequence", "test_elements")
        if not looked_up:
            reads.append(broadcast(number, shape, call.result))
        elif len(shape) == 1 or name == "test_elements":
            reads.append(separable(number, *[WHOLE] * len(shape)))
        else:
            reads.append(separable(number, *map(Along, range(len(shape) - 1)), WHOLE))
    return one(*reads)
