"""Element-wise ops that torch does not tag as such; the tagged ones need no rule."""

from __future__ import annotations

from fieldwise.capture.torch.registry import OpCall, Reads, one, rule
from fieldwise.capture.torch.rules.common import broadcasts, per_result, separably, source
from fieldwise.graph.ir import WHOLE, Along, broadcast, identity, numel, separable, straight
from fieldwise.graph.kinds import ANY, COPY, DRAWN, ELEMENTWISE, SYMMETRIC, Kind


def _noise(call: OpCall) -> Kind:
    """Noise is drawn in training only."""
    return DRAWN if call.args.get("training") else ELEMENTWISE


@rule("clone", "alias", "detach", "lift", "lift_fresh", kind=COPY)
@rule(
    "hardswish", "_neg_view", "_conj", "floor_divide", "rsub", "complex", "polar", "real",
    kind=ELEMENTWISE,
)  # fmt: skip
@rule("bernoulli", kind=DRAWN)
@rule("rrelu_with_noise", "rrelu_with_noise_functional", kind=_noise)
def _element_wise(call: OpCall) -> Reads:
    result = call.results[0]
    reads = (broadcast(number, call.operands[number], result) for _, number in call.derived())
    return per_result(call, *reads)


@rule("alias_copy", "detach_copy", "lift_fresh_copy", name="clone", kind=COPY)
@rule("_neg_view_copy", name="_neg_view", kind=ELEMENTWISE)
@rule("_conj_copy", name="_conj", kind=ELEMENTWISE)
def _copied(call: OpCall) -> Reads:
    number, shape = source(call)
    return one(identity(number, len(shape)))


def _converting(call: OpCall) -> Kind:
    """A copy where no number changes."""
    kept = any(call.keeps_numbers(name) for name in ("self", "src", "value"))
    return COPY if kept else ELEMENTWISE


@rule("fill", "copy", kind=_converting)
def _overwritten(call: OpCall) -> Reads:
    """Nothing is left of what is written to."""
    return one(*broadcasts(call, "value", "src"))


@rule("normal", kind=DRAWN)
def _drawn(call: OpCall) -> Reads:
    return one(*broadcasts(call, "mean", "std"))


@rule("multinomial", kind=Kind("place", draws=True))
def _drawn_by_weight(call: OpCall) -> Reads:
    """Each draw of a row looks at all its weights."""
    rows = straight(len(call.shape("self")) - 1)
    return one(*separably(call, self=[*rows, WHOLE]))


@rule("contiguous", "to", "_to_copy", "type_as", name="to", kind=_converting)
def _converted(call: OpCall) -> Reads:
    """Another tensor among the arguments only says to which type."""
    return one(*separably(call, self=straight(len(call.result))))


def _drops(call: OpCall) -> float:
    """The share that is dropped; a flag that is None, or that an op lacks, is taken for on."""
    on = call.args.get("train", call.args.get("training")) is not False
    return call["p"] if on else 0


def _dropping(call: OpCall) -> Kind:
    return DRAWN if _drops(call) else COPY


@rule(
    "dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout",
    name="dropout", kind=_dropping,
)  # fmt: skip
def _dropped(call: OpCall) -> Reads:
    """Where everything is dropped nothing is read."""
    return _with_a_mask(call) if _drops(call) < 1 else ((),) * len(call.results)


@rule("log_sigmoid", "log_sigmoid_forward", name="log_sigmoid", kind=ELEMENTWISE)
def _with_a_mask(call: OpCall) -> Reads:
    """What is kept for the derivative beside the result reads nothing."""
    number, shape = source(call, "input" if "input" in call.args else "self")
    return ((identity(number, len(shape)),), *[()] * (len(call.results) - 1))


def _sloping(call: OpCall) -> Kind:
    """One slope for all, or one for each channel."""
    if numel(call.shape("weight")) == 1:
        return ELEMENTWISE
    return ELEMENTWISE.per_channel(min(1, len(call.result) - 1))


@rule("prelu", "_prelu_kernel", name="prelu", kind=_sloping)
def _prelu(call: OpCall) -> Reads:
    """The slopes, where they derive from the input, belong to the channels."""
    rank = len(call.result)
    reads = separably(call, self=straight(rank))
    if (number := call.operand("weight")) is not None:
        shape = call.operands[number]
        if shape == (1,):
            reads.append(separable(number, WHOLE))
        elif len(shape) == 1:
            reads.append(separable(number, Along(min(rank - 1, 1))))
        else:
            reads.append(broadcast(number, shape, call.result))
    return one(*reads)


_LOOKED_UP = ("boundaries", "sorted_sequence", "sorter", "test_elements", "test_element")


@rule("bucketize", "searchsorted", kind=ANY)
@rule("isin", kind=SYMMETRIC)
def _looked_up(call: OpCall) -> Reads:
    """Every element is compared with all boundaries (or with its row of them)."""
    reads = []
    for name, number in call.derived():
        shape = call.operands[number]
        looked_up = name in _LOOKED_UP
        if not looked_up:
            reads.append(broadcast(number, shape, call.result))
        elif len(shape) <= 1 or call.op == "isin":
            reads.append(separable(number, *[WHOLE] * len(shape)))
        else:
            reads.append(separable(number, *map(Along, range(len(shape) - 1)), WHOLE))
    return one(*reads)
