"""Reductions and scans: ops that read whole dimensions, or everything before an index."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.capture.torch.registry import (
    Kinds,
    OpCall,
    Reads,
    normal_dim,
    normal_dims,
    one,
    rule,
)
from fieldwise.capture.torch.rules.common import (
    along_but,
    broadcasts,
    lined,
    past,
    reduced,
    source,
)
from fieldwise.graph.ir import WHOLE, Along, Coord, Read, Ref, separable
from fieldwise.graph.kinds import (
    ANY,
    ELEMENTWISE,
    EXTREME,
    MEAN,
    MEAN_OF_SOME,
    NORMALISED,
    PLACE,
    RANKED,
    RUNNING_EXTREME,
    RUNNING_SUM,
    SCAN,
    SUM,
    SYMMETRIC,
    TOTAL,
    Kind,
)


def _of_one_or_two(alone: Kind) -> Callable[[OpCall], Kinds]:
    """max and min of two tensors are element-wise; of one the second result is a place."""
    return lambda call: ELEMENTWISE if "other" in call.args else (alone, PLACE)


def _norm(call: OpCall) -> Kind:
    """The norm of norms, unless it counts what is not zero."""
    order = call.args.get("ord", call.args.get("p", 2))
    return SYMMETRIC if order == 0 else TOTAL


@rule("mean", kind=MEAN)
@rule("nanmean", kind=MEAN_OF_SOME)
@rule("sum", "nansum", kind=SUM)
@rule("amax", "amin", "aminmax", "_aminmax", kind=EXTREME)
@rule("max", "min", kind=_of_one_or_two(EXTREME))
@rule("median", "nanmedian", "mode", "kthvalue", kind=(RANKED, PLACE))
@rule("argmax", "argmin", kind=PLACE)
@rule("logsumexp", "prod", "all", "any", "frobenius_norm", kind=TOTAL)
@rule("linalg_vector_norm", "norm", kind=_norm)
@rule("count_nonzero", "var", "std", "var_mean", "std_mean", "hash_tensor", kind=SYMMETRIC)
def _reduction(call: OpCall) -> Reads:
    if "other" in call.args:  # max and min of two tensors are element-wise
        return one(*broadcasts(call, "self", "other"))
    number, shape = source(call)
    dims: int | Sequence[int] | None = call.args.get("dim")
    keepdim = bool(call.args.get("keepdim", False))
    dims = normal_dims(dims, len(shape))
    read = reduced(number, len(shape), dims, keepdim=keepdim)
    return _chosen(call, read, math.prod(shape[dim] for dim in dims))


_KNOWN_OF_ONE = {
    **dict.fromkeys(("argmax", "argmin", "argsort", "var", "std", "var_mean", "std_mean"), 0),
    **dict.fromkeys(
        ("max", "min", "median", "nanmedian", "mode", "kthvalue", "sort", "topk", "cummax",
         "cummin"), 1,
    ),
}  # fmt: skip
"""Which result of an only element is the same whatever that is: its place, or how far it varies."""


def _chosen(call: OpCall, read: Read, candidates: int) -> Reads:
    """The same read for every result, but those that are known of an only candidate."""
    known = _KNOWN_OF_ONE.get(call.op) if candidates == 1 else None
    return tuple(() if n == known else (read,) for n in range(len(call.results)))


@rule(
    "softmax", "_softmax", "log_softmax", "_log_softmax", "_safe_softmax",
    name="softmax", kind=NORMALISED,
)  # fmt: skip
def _softmax(call: OpCall) -> Reads:
    """A line of a single element is 1 whatever it holds, so nothing is read."""
    if call.result and call.result[call["dim"]] == 1:
        return one()
    return _whole_line(call, call["dim"])


@rule("_softmax_backward_data", name="softmax_backward")
def _softmax_backward(call: OpCall) -> Reads:
    """y (g - sum(g y)), the sum along a line."""
    return one(*_along_lines(call, {"grad_output": WHOLE, "output": WHOLE}))


@rule("_log_softmax_backward_data", name="softmax_backward")
def _log_softmax_backward(call: OpCall) -> Reads:
    """g - exp(y) sum(g), the sum along a line."""
    return one(*_along_lines(call, {"grad_output": WHOLE, "output": None}))


def _along_lines(call: OpCall, coords: Mapping[str, Coord | None]) -> list[Read]:
    """Arguments of the result's shape, of which some are read in another way along a dimension."""
    rank = len(call.result)
    dim = normal_dim(call["dim"], rank)
    return [
        along_but(number, rank, {} if coord is None or not rank else {dim: coord})
        for name, coord in coords.items()
        if (number := call.operand(name)) is not None
    ]


@rule("sort", "topk", kind=(RANKED, PLACE))
@rule("argsort", kind=PLACE)
def _sorted(call: OpCall) -> Reads:
    return _whole_line(call, call["dim"])


def _whole_line(call: OpCall, dim: int) -> Reads:
    """Every element reads its whole line along one dimension."""
    name = "input" if "input" in call.args else "self"
    number, shape = source(call, name)
    dim = normal_dim(dim, len(shape))
    return _chosen(call, along_but(number, len(shape), {dim: WHOLE}), shape[dim] if shape else 1)


@rule("quantile", "nanquantile", kind=SYMMETRIC)
def _quantile(call: OpCall) -> Reads:
    """An order statistic; several of them stand along a new first dimension.

    Of a single value all are the same, whichever is asked for.
    """
    several = isinstance(call["q"], (Ref, Tensor)) and len(call.shape("q")) == 1
    reads = []
    shape = call.shape("self")
    dims = normal_dims(call["dim"], len(shape))
    if (number := call.operand("self")) is not None:
        reads.append(reduced(number, len(shape), dims, keepdim=call["keepdim"], first=int(several)))
    candidates = math.prod(shape[dim] for dim in dims)
    if (number := call.operand("q")) is not None and candidates > 1:
        reads.append(separable(number, *[Along(0)] * several))
    return one(*reads)


@rule("glu", kind=ANY)
def _glu(call: OpCall) -> Reads:
    """Element i of the first half times a gate of element i of the second half."""
    number, shape, dim = lined(call)
    pair = AxisMap(1, (IndexSet.of([0, call.result[dim]]),))
    return one(along_but(number, len(shape), {dim: Along(dim, pair)}))


@rule("cumsum", name="cumulative", kind=RUNNING_SUM)
@rule("cummax", "cummin", name="cumulative", kind=(RUNNING_EXTREME, PLACE))
@rule("cumprod", "logcumsumexp", "_logcumsumexp", name="cumulative", kind=SCAN)
def _cumulative(call: OpCall) -> Reads:
    number, shape, dim = lined(call)
    if not shape:
        return _chosen(call, along_but(number, 0, {}), 1)
    read = along_but(number, len(shape), {dim: Along(dim, past(shape[dim]))})
    return _chosen(call, read, shape[dim])
