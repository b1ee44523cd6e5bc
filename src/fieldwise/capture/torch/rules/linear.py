"""Matrix products and attention: contracted dimensions are read whole."""

from __future__ import annotations

from fieldwise.axes import IndexSet, Table
from fieldwise.capture.torch.registry import OpCall, Reads, constant_values, one, rule
from fieldwise.graph.ir import (
    AT_ZERO,
    WHOLE,
    Along,
    Coord,
    Read,
    Ref,
    Shape,
    broadcast,
    separable,
)


@rule("linear")
def _linear(call: OpCall) -> Reads:
    """y[..., o] reads x[..., all]; a derived weight is read whole along its input dimension."""
    reads: list[Read] = []
    source = call.operand("input")
    last = len(call.result) - 1
    if source is not None:
        rank = len(call.operands[source])
        reads.append(separable(source, *(Along(dim) for dim in range(rank - 1)), WHOLE))
    weight = call.operand("weight")
    if weight is not None:
        out = Along(last) if len(call.operands[weight]) == 2 else None
        reads.append(separable(weight, *([out] if out else []), WHOLE))
    bias = call.operand("bias")
    if bias is not None:
        reads.append(broadcast(bias, call.operands[bias], call.result))
    return one(*reads)


def _batched(operand: int, shape: Shape, result: Shape, tail: tuple[Coord, ...]) -> Read:
    """Leading dimensions broadcast against the result's; the last ones as given."""
    lead = len(shape) - len(tail)
    shift = len(result) - 2 - lead
    batch = (
        AT_ZERO if shape[dim] == 1 and result[shift + dim] != 1 else Along(shift + dim)
        for dim in range(lead)
    )
    return separable(operand, *batch, *tail)


def _product(call: OpCall, left: str, right: str) -> list[Read]:
    """(…, n, k) @ (…, k, m), with vectors where torch allows them."""
    reads: list[Read] = []
    result = call.result
    rows, columns = len(call.shape(left)) > 1, len(call.shape(right)) > 1
    padded = result if rows and columns else (*result, 1) if rows else result
    if not rows:
        padded = (*result[:-1], 1, *result[-1:]) if columns else (1, 1)
    number = call.operand(left)
    if number is not None:
        row: tuple[Coord, ...] = (Along(len(result) - (2 if columns else 1)), WHOLE)
        shape = call.operands[number]
        reads.append(_batched(number, shape, padded, row if rows else (WHOLE,)[: len(shape)]))
    number = call.operand(right)
    if number is not None:
        column: tuple[Coord, ...] = (WHOLE, Along(len(result) - 1))
        shape = call.operands[number]
        reads.append(_batched(number, shape, padded, column if columns else (WHOLE,)))
    return reads


@rule("matmul", "mm", "bmm", "mv", "dot", name="matmul")
def _matmul(call: OpCall) -> Reads:
    names = [n for n in ("self", "other", "mat2", "vec", "tensor") if n in call.args]
    return one(*_product(call, names[0], names[1]))


@rule("addmm", "baddbmm", name="matmul")
def _addmm(call: OpCall) -> Reads:
    names = ("mat1", "mat2") if "mat1" in call.args else ("batch1", "batch2")
    reads = _product(call, *names)
    added = call.operand("self")
    if added is not None:
        reads.append(broadcast(added, call.operands[added], call.result))
    return one(*reads)


@rule("scaled_dot_product_attention", name="attention")
def _attention(call: OpCall) -> Reads:
    """Query position i reads its own query and every key and value that its mask lets through."""
    result = call.result
    rank = len(result)
    keys: Coord = WHOLE
    allowed = _allowed(call)
    if allowed is not None:
        keys = Along(rank - 2, allowed)
    reads: list[Read] = []
    for name, tail in (
        ("query", (Along(rank - 2), WHOLE)),
        ("key", (keys, WHOLE)),
        ("value", (keys, Along(rank - 1))),
    ):
        number = call.operand(name)
        if number is not None:
            reads.append(_grouped(number, call.operands[number], result, tail))
    mask = call.operand("attn_mask")
    if mask is not None:
        shape = call.operands[mask]
        row = AT_ZERO if shape[-2] == 1 and result[-2] != 1 else Along(rank - 2)
        reads.append(_batched(mask, shape, result, (row, WHOLE)))
    return one(*reads)


def _grouped(operand: int, shape: Shape, result: Shape, tail: tuple[Coord, ...]) -> Read:
    """Heads may be shared between groups of queries (grouped-query attention)."""
    head = len(shape) - 3
    if head >= 0 and shape[head] not in (1, result[head]):
        from fieldwise.axes import AxisMap

        share = result[head] // shape[head]
        heads = Along(head, AxisMap(1, (IndexSet(0, 1),) * share))
        return separable(operand, *(Along(dim) for dim in range(head)), heads, *tail)
    return _batched(operand, shape, result, tail)


def _allowed(call: OpCall) -> Table | None:
    """Which keys a query may see: a causal flag, or a constant mask equal over batch and heads."""
    length, source = call.result[-2], call.shape("key")[-2]
    if call["is_causal"]:
        return Table(tuple(IndexSet.range(0, min(i + 1, source)) for i in range(length)))
    mask = call["attn_mask"]
    if mask is None or isinstance(mask, Ref):
        return None
    values = constant_values(mask)
    if values is None:
        return None
    open_ = values if values.dtype == bool else values > float("-inf")
    if open_.all():
        return None
    flat = open_.reshape(-1, *open_.shape[-2:]).any(axis=0)
    rows = [IndexSet.of(row.nonzero()[0].tolist()) for row in flat]
    return Table(tuple(rows) * (length if len(rows) == 1 else 1))


@rule("cdist")
def _cdist(call: OpCall) -> Reads:
    rank = len(call.result)
    reads = []
    for name, tail in (("x1", rank - 2), ("x2", rank - 1)):
        number = call.operand(name)
        if number is not None:
            shape = call.operands[number]
            reads.append(_batched(number, shape, call.result, (Along(tail), WHOLE)))
    return one(*reads)
