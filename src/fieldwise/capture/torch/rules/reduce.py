"""Reductions and scans: ops that read whole dimensions, or everything before an index."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.capture.torch.registry import OpCall, Reads, normal_dim, normal_dims, one, rule
from fieldwise.capture.torch.rules.common import (
    along_but,
    broadcasts,
    past,
    per_result,
    reduced,
    source,
)
from fieldwise.graph.ir import WHOLE, Along, Ref, separable


@rule(
    "mean", "sum", "amax", "amin", "nanmean", "nansum", "logsumexp", "prod", "all", "any",
    "linalg_vector_norm", "norm", "count_nonzero", "var", "std", "var_mean", "std_mean",
    "max", "min", "median", "nanmedian", "argmax", "argmin", "mode", "kthvalue", "aminmax",
    "_aminmax", "frobenius_norm", "hash_tensor",
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


@rule("sort", "argsort", "topk")
def _sorted(call: OpCall) -> Reads:
    return _whole_line(call, call["dim"])


@rule("msort")
def _sorted_rows(call: OpCall) -> Reads:
    number, shape = source(call)
    return one(along_but(number, len(shape), {0: WHOLE} if shape else {}))


def _whole_line(call: OpCall, dim: int) -> Reads:
    """Every element reads its whole line along one dimension."""
    name = "input" if "input" in call.args else "self"
    number, shape = source(call, name)
    changed = {normal_dim(dim, len(shape)): WHOLE}
    return per_result(call, along_but(number, len(shape), changed))


@rule("quantile", "nanquantile")
def _quantile(call: OpCall) -> Reads:
    """An order statistic; several of them stand along a new first dimension."""
    several = isinstance(call["q"], (Ref, Tensor)) and len(call.shape("q")) == 1
    reads = []
    if (number := call.operand("self")) is not None:
        rank = len(call.operands[number])
        dims = normal_dims(call["dim"], rank)
        reads.append(reduced(number, rank, dims, keepdim=call["keepdim"], first=int(several)))
    if (number := call.operand("q")) is not None:
        reads.append(separable(number, *[Along(0)] * several))
    return one(*reads)


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
    return per_result(call, along_but(number, len(shape), {dim: Along(dim, past(shape[dim]))}))
