"""Reductions, normalisations and scans: ops that read whole dimensions, or all before an index."""

from __future__ import annotations

from collections.abc import Sequence

from fieldwise.axes import IndexSet, Table
from fieldwise.capture.torch.registry import OpCall, Reads, normal_dim, normal_dims, one, rule
from fieldwise.capture.torch.rules.window import per_axis
from fieldwise.errors import CaptureError
from fieldwise.graph.ir import AT_ZERO, WHOLE, Along, Coord, Read, separable


def _reduced(call: OpCall, dims: Sequence[int], keepdim: bool, name: str = "self") -> Reads:
    """Whole along ``dims``; the others pass, renumbered where reduced ones vanish."""
    source = call.operand(name)
    assert source is not None
    coords: list[Coord] = []
    dim = 0
    for position in range(len(call.operands[source])):
        if position in dims:
            coords.append(WHOLE)
            dim += keepdim
        else:
            coords.append(Along(dim))
            dim += 1
    return ((separable(source, *coords),),) * len(call.results)


@rule(
    "mean", "sum", "amax", "amin", "nanmean", "nansum", "logsumexp", "prod", "all", "any",
    "linalg_vector_norm", "norm", "count_nonzero", "var", "std", "var_mean", "std_mean",
    "max", "min", "median", "argmax", "argmin", "mode", "kthvalue", "aminmax", "frobenius_norm",
)  # fmt: skip
def _reduction(call: OpCall) -> Reads:
    if call.operand("other") is not None or "other" in call.args:
        return _two_operands(call)
    number = call.operand("self")
    assert number is not None
    dims = normal_dims(call.args.get("dim"), len(call.operands[number]))
    return _reduced(call, dims, bool(call.args.get("keepdim", False)))


def _two_operands(call: OpCall) -> Reads:
    """max and min of two tensors are element-wise."""
    from fieldwise.graph.ir import broadcast

    return one(*(broadcast(n, call.operands[n], call.result) for _, n in call.derived()))


def _mixed(call: OpCall, dims: Sequence[int], name: str = "self") -> Read:
    """The shape stays; every result index reads the dimensions ``dims`` whole."""
    source = call.operand(name)
    assert source is not None
    rank = len(call.operands[source])
    return separable(source, *(WHOLE if dim in dims else Along(dim) for dim in range(rank)))


@rule("softmax", "_softmax", "log_softmax", "_log_softmax", "softmin", name="softmax")
def _softmax(call: OpCall) -> Reads:
    rank = len(call.operands[0])
    return one(_mixed(call, [normal_dim(call["dim"], rank)]))


@rule("sort", "argsort", "topk", "msort")
def _sorted(call: OpCall) -> Reads:
    rank = len(call.operands[0])
    return (( _mixed(call, [normal_dim(call.args.get("dim", 0), rank)]),),) * len(call.results)


@rule("glu")
def _glu(call: OpCall) -> Reads:
    """Element i of the first half times a gate of element i of the second half."""
    from fieldwise.axes import AxisMap

    source = call.operand("self")
    assert source is not None
    rank = len(call.operands[source])
    dim = normal_dim(call["dim"], rank)
    half = call.result[dim]
    pair = AxisMap(1, (IndexSet.of([0, half]),))
    return one(separable(source, *(Along(d, pair) if d == dim else Along(d) for d in range(rank))))


@rule("layer_norm", "native_layer_norm", "rms_norm", name="layer_norm")
def _layer_norm(call: OpCall) -> Reads:
    rank = len(call.operands[0])
    dims = range(rank - len(call["normalized_shape"]), rank)
    read = _mixed(call, dims, "input")
    statistics = tuple(
        _reduced(call, dims, True, "input")[0] for _ in call.results[1:]
    )
    return ((read,), *statistics)


@rule("group_norm", "native_group_norm", name="group_norm")
def _group_norm(call: OpCall) -> Reads:
    """Statistics over a group of channels and all positions."""
    from fieldwise.axes import AxisMap

    source = call.operand("input")
    assert source is not None
    shape = call.operands[source]
    groups = call.args.get("num_groups", call.args.get("group"))
    size = shape[1] // groups
    block = AxisMap(size, (IndexSet.range(0, size),) * size)
    channel: Coord = WHOLE if groups == 1 else Along(1, block)
    read = separable(source, Along(0), channel, *([WHOLE] * (len(shape) - 2)))
    if len(call.results) > 1:
        statistic = separable(
            source,
            Along(0),
            Along(1, AxisMap(size, (IndexSet.range(0, size),))),
            *([WHOLE] * (len(shape) - 2)),
        )
        return ((read,), (statistic,), (statistic,))
    return one(read)


@rule("instance_norm")
def _instance_norm(call: OpCall) -> Reads:
    source = call.operand("input")
    assert source is not None
    rank = len(call.operands[source])
    if not call["use_input_stats"]:
        return one(separable(source, *(Along(dim) for dim in range(rank))))
    return one(separable(source, Along(0), Along(1), *([WHOLE] * (rank - 2))))


@rule(
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "_batch_norm_impl_index",
    name="batch_norm",
)  # fmt: skip
def _batch_norm(call: OpCall) -> Reads:
    source = call.operand("input")
    assert source is not None
    rank = len(call.operands[source])
    batch_statistics = call.args.get("training", False) or call.args.get("running_mean") is None
    if not batch_statistics:
        coords: list[Coord] = [Along(dim) for dim in range(rank)]
    elif call.training:
        raise CaptureError(
            "BatchNorm in training mode mixes the samples of a batch; call model.eval() first"
        )
    else:
        coords = [Along(1) if dim == 1 else WHOLE for dim in range(rank)]
    return ((separable(source, *coords),),) + ((),) * (len(call.results) - 1)


@rule("local_response_norm")
def _local_response_norm(call: OpCall) -> Reads:
    raise NotImplementedError


@rule(
    "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", name="cumulative",
)  # fmt: skip
def _cumulative(call: OpCall) -> Reads:
    source = call.operand("self")
    assert source is not None
    shape = call.operands[source]
    dim = normal_dim(call["dim"], len(shape))
    past = Table(tuple(IndexSet.range(0, i + 1) for i in range(shape[dim] if shape else 1)))
    read = separable(
        source, *(Along(d, past) if d == dim else Along(d) for d in range(len(shape)))
    )
    return ((read,),) * len(call.results)


_ = (per_axis, AT_ZERO)
