"""Element-wise ops that torch does not tag as such; the tagged ones need no rule."""

from __future__ import annotations

from fieldwise.capture.torch.registry import OpCall, Reads, rule
from fieldwise.graph.ir import broadcast


@rule(
    "clone", "contiguous", "to", "_to_copy", "detach", "alias", "lift_fresh", "type_as",
    "dropout", "native_dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout",
    "prelu", "_prelu_kernel", "rrelu", "rrelu_with_noise", "masked_fill", "where", "bernoulli",
    "clamp", "bucketize", "nan_to_num", "gelu", "softplus", "hardswish", "hardsigmoid", "relu6",
    "hardtanh", "logit", "leaky_relu", "elu", "selu", "celu", "silu", "mish", "log_sigmoid",
    "square", "isnan", "isinf", "view_as_real_copy", "float_power", "true_divide",
)  # fmt: skip
def _element_wise(call: OpCall) -> Reads:
    reads = tuple(
        broadcast(number, call.operands[number], call.results[0]) for _, number in call.derived()
    )
    return (reads,) * len(call.results)
