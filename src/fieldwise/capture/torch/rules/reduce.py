"""Reductions and scans: ops that read whole dimensions, or everything before an index."""

from __future__ import annotations

from collections.abc import Sequence

from fieldwise.axes import AxisMap, IndexSet, Table
from fieldwise.capture.torch.registry import OpCall, Reads, normal_dim, normal_dims, one, rule
from fieldwise.capture.torch.rules.common import (
    along_but,
    broadcasts,
    per_result,
    reduced,
    source,
)
from fieldwise.graph.ir import WHOLE, Along


@rule(
    "mean", "sum", "amax", "amin", "nanmean", "nansum", "logsumexp", "prod", "all", "any",
    "linalg_vector_norm", "norm", "count_nonzero", "var", "std", "var_mean", "std_mean",
    "max", "min", "median", "nanmedian", "argmax", "argmin", "mode", "kthvalue", "aminmax",
    "_aminmax", "frobenius_norm",
)  # fmt: skip
def _reduction(call: OpCall) -> Reads:
    if "other" in call.args:  # max and min of two tensors are element-wise
        return one(*broadcasts(call, "self", "other"))
    number, shape = source(call)
    dims: int | Sequence[int] | None = call.args.get("dim")
    keepdim = bool(call.args.get("keepdim", False))
    read = reduced(number, len(shape), normal_dims(dims, len(shape)), keepdim=keepdim)
    return per_result(call, read)


@rule("softmax", "_softmax", "log_softmax", "_log_softmax", "_safe_softmax", name="softmax")
def _softmax(call: OpCall) -> Reads:
    """A line of a single element is 1 whatever it holds, so nothing is read."""
    if call.result and call.result[call["dim"]] == 1:
        return one()
    return _whole_line(call, call["dim"])


@rule("sort", "argsort", "topk", "msort")
def _sorted(call: OpCall) -> Reads:
    return _whole_line(call, call.args.get("dim", 0))


def _whole_line(call: OpCall, dim: int) -> Reads:
    """Every element reads its whole line along one dimension."""
    name = "input" if "input" in call.args else "self"
    number, shape = source(call, name)
    changed = {normal_dim(dim, len(shape)): WHOLE}
    return per_result(call, along_but(number, len(shape), changed))


@rule(
    "mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    name="loss",
)  # fmt: skip
def _loss(call: OpCall) -> Reads:
    """Element-wise, and reduced to one number unless told not to."""
    if call["reduction"] == 0:
        return one(*broadcasts(call, *call.args))
    shapes = ((number, len(call.operands[number])) for _, number in call.derived())
    return one(*(reduced(number, rank, range(rank), keepdim=False) for number, rank in shapes))


@rule("glu")
def _glu(call: OpCall) -> Reads:
    """Element i of the first half times a gate of element i of the second half."""
    number, shape = source(call)
    dim = normal_dim(call["dim"], len(shape))
    pair = AxisMap(1, (IndexSet.of([0, call.result[dim]]),))
    return one(along_but(number, len(shape), {dim: Along(dim, pair)}))


@rule(
    "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "_logcumsumexp",
    name="cumulative",
)  # fmt: skip
def _cumulative(call: OpCall) -> Reads:
    number, shape = source(call)
    dim = normal_dim(call["dim"], len(shape))
    if not shape:
        return per_result(call, along_but(number, 0, {}))
    past = Table(tuple(IndexSet.range(0, i + 1) for i in range(shape[dim])))
    return per_result(call, along_but(number, len(shape), {dim: Along(dim, past)}))
