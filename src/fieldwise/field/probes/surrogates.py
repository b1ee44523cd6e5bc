"""For each recorded call, a function with the same dependence and a derivative that shows it.

The kinds of what a call reads say of which class a function it is.  Where it looks is left to
torch's own kernels and to the call's arguments: nothing here knows the reads' coordinates, so that
the probe built on it is an independent check of them.

- what copies, averages, sums or multiplies (a slice, a convolution) is the op itself; taps of
  interpolation may be negative, which is why cotangents are random (see ``gradient``)
- so is what is smooth at generic numbers (norms, softmax, attention): weights count as generic
- element-wise ops, whose derivative may vanish or be undefined: the sum of the operands, broadcast
- what chooses by value, or does not mind the order of what it reads: the sum of its candidates
- what carries on from place to place, and would fade: the running sum

A constant mask in ``where``, ``masked_fill``, ``tril`` or attention is structure and cuts, and so
is a zero that a softmax makes of −inf; a constant factor that happens to be zero is a weight and
does not.  An operand is zero or −inf where a constant mask has put that (see ``gradient``).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.torch.calls import WriteThrough
from fieldwise.capture.torch.tree import tensors_in
from fieldwise.field.probes.operation import (
    Operation,
    UnknownDependence,
    as_given,
    generic,
    is_masked,
)
from fieldwise.graph.calls import per_axis
from fieldwise.graph.ir import Shape
from fieldwise.graph.kinds import EVERYTHING

INF = torch.inf


def surrogate(op: Operation) -> Sequence[Tensor]:
    """The results of the surrogate of this call.  Raises UnknownDependence where none is known."""
    results = _RULES.get(op.op, _of_kinds)(op)
    if any(reads and not one.requires_grad for one, reads in zip(results, op.reads, strict=False)):
        raise UnknownDependence(f"{op.name} has a result without a derivative")
    return results


def _of_kinds(op: Operation) -> Sequence[Tensor]:
    ways = {kind.combines for kind in op.kinds}
    if ways == {"each"}:
        return _combined(op)
    if "asked" in ways:
        raise UnknownDependence(f"{op.name} with indices that depend on the data")
    if ways <= {"one", "mean", "sum"} or all(kind.geometry == EVERYTHING for kind in op.kinds):
        return op.run(as_given)
    if ways <= {"one", "mean", "sum", "each", "product"}:
        return weighted(op)
    if any(kind.scans for kind in op.kinds):
        return (op.only().cumsum(op.args["dim"]),) * len(op.shapes)
    if all(kind.alike and not kind.keeps for kind in op.kinds) or ways <= {"order", "place"}:
        return _of_lines(op)
    raise UnknownDependence(f"{op.name} has no surrogate")


def weighted(op: Operation) -> Sequence[Tensor]:
    """The op itself with generic weights and other settings that are as good as any."""
    return op.run(generic, alpha=1, dropout_p=0.0, p=2.0)


def dense(op: Operation) -> list[Tensor]:
    """Every result reads every element of every operand."""
    total = _added([tensor.sum() for tensor in op.derived])
    return [total.expand(shape) for shape in op.shapes]


def _added(tensors: Sequence[Tensor]) -> Tensor:
    return reduce(operator.add, tensors)


def _finite(tensor: Tensor) -> Tensor:
    """The tensor with ones in place of −inf."""
    return torch.where(tensor == -INF, 1.0, tensor)


# -------------------------------------------------------------------- element-wise


def _combined(op: Operation) -> Sequence[Tensor]:
    """The sum of the operands; a function of one operand has its own value at zero and −inf."""
    if any(kind.channel is not None for kind in op.kinds):
        op.only()
    total = _added(_spread(op))
    if len(list(tensors_in(op.args))) == 1 and (masked := is_masked(op.only())).any():
        (found,) = op.run(as_given)
        total = torch.where(masked, found.detach(), total)
    return (total,) * len(op.shapes)


def _spread(op: Operation) -> list[Tensor]:
    """The operands, broadcast; an in-place op may hold one of more dimensions of size one."""
    rank = len(op.shape)
    return [t.reshape(t.shape[max(0, t.dim() - rank) :]).expand(op.shape) for t in op.derived]


def _product(op: Operation) -> Sequence[Tensor]:
    """Zero passes nothing to what it multiplies."""
    factors = _spread(op)
    constants = (tensor for tensor in tensors_in(op.args) if not tensor.requires_grad)
    if len(factors) > 1 or any(tensor.dim() for tensor in constants):
        factors = [_finite(factor) for factor in factors]
    return (reduce(operator.mul, factors + list(op.open.values())),)


def _sum(op: Operation) -> Sequence[Tensor]:
    """−inf stays −inf, whatever is added to it."""
    (total,) = _combined(op)
    for name, sign in (("self", 1), ("other", 1 if op.op == "add" else -1)):
        addend = torch.as_tensor(op.args[name])
        if not addend.requires_grad and not addend.is_meta:
            total = total + torch.where(addend.cpu() * sign == -INF, -INF, 0.0)
    return (total,)


def _assigned(op: Operation) -> Sequence[Tensor]:
    """The old content is gone; the new one is broadcast."""
    value = torch.as_tensor(op.args.get("src", op.args.get("value", 0.0)))
    return ((value if value.requires_grad else as_given(value)).expand(op.shape),)


def _chosen(op: Operation) -> Sequence[Tensor]:
    """A mask that is data lets everything through."""
    mask = op.args["condition" if "condition" in op.args else "mask"]
    if mask.requires_grad or mask.is_meta:
        return (_added([_finite(tensor) for tensor in _spread(op)]),)
    return op.run(as_given)


def _wrongly_differentiated(op: Operation) -> Sequence[Tensor]:
    raise UnknownDependence(f"{op.name}, of which torch's own derivative is wrong,")


def _sampled(op: Operation) -> Sequence[Tensor]:
    if op.args["grid"].requires_grad:
        raise UnknownDependence(f"{op.name} with a grid that depends on the data")
    return op.run(as_given)


def _looked_up(op: Operation) -> Sequence[Tensor]:
    """A row for each index, or a place for each number; what it is looked up in is constant."""
    if op.op == "embedding" and all(kind.combines != "asked" for kind in op.kinds):
        return op.run(as_given, sparse=False, padding_idx=-1)
    source = op.only()
    return (source[(..., *[None] * (len(op.shape) - source.dim()))].expand(op.shape),)


# -------------------------------------------------------------------- lines and windows


def _of_lines(op: Operation) -> Sequence[Tensor]:
    """The sum over the dimensions that the call names, for each of its lines or along them."""
    source, dims = op.only(), op.args.get("dim")
    listed = [dims] if isinstance(dims, int) else [*(dims or range(source.dim()))]
    total = _finite(source).sum(listed, keepdim=True)
    return [_of_line(op, total, shape) for shape in op.shapes]


def _of_line(op: Operation, total: Tensor, shape: Shape) -> Tensor:
    if total.numel() == torch.Size(shape).numel():
        return total.reshape(shape)
    alike = len(shape) == total.dim() and torch.broadcast_shapes(total.shape, shape) == shape
    if "dim" not in op.args or not alike:
        raise UnknownDependence(f"{op.name} has no surrogate")
    return total.expand(shape)


def _max_pool(op: Operation) -> Sequence[Tensor]:
    """The sum over each window; beyond the border there is nothing."""
    axes, image, args = _axes(op), _finite(op.only()), op.args
    stride = args["stride"] or args["kernel_size"]
    given = (args["kernel_size"], stride, args["padding"], args["dilation"])
    settings = zip(*(per_axis(value, axes) for value in given), strict=True)
    for axis, (kernel, stride, padding, dilation) in enumerate(settings, -axes):
        size, reach = op.shape[axis], dilation * (kernel - 1) + 1
        behind = max(0, (size - 1) * stride + reach - padding - image.shape[axis])
        lines = F.pad(image.transpose(axis, -1), (padding, behind))
        sums = lines.unfold(-1, reach, stride)[..., ::dilation].sum(-1)
        image = sums[..., :size].transpose(axis, -1)
    return (image,) * len(op.shapes)


def _adaptive_max_pool(op: Operation) -> Sequence[Tensor]:
    average = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
    return (average[_axes(op) - 1](_finite(op.only()), op.args["output_size"]),) * len(op.shapes)


def _axes(op: Operation) -> int:
    return int(op.name.partition("pool")[2][0])


def _normalised(op: Operation) -> Sequence[Tensor]:
    """Each element, also where it is alone, and whatever its statistics are taken over."""
    if all(kind.combines == "each" for kind in op.kinds):
        return _combined(op)
    source = op.args["input"]
    lines = source.transpose(0, 1) if op.op == "batch_norm" else source
    return (weighted(op)[0] + source, *(_statistic(lines, shape) for shape in op.shapes[1:]))


def _statistic(lines: Tensor, shape: Shape) -> Tensor:
    """The sum over each line; torch's own derivative passes these results over."""
    return lines.reshape(*shape, -1).sum(-1) if 0 not in shape else torch.zeros(shape)


def _recurrent(op: Operation) -> Sequence[Tensor]:
    """Each direction of each layer sums what came before; the final states saw everything."""
    if "batch_first" not in op.args:
        raise UnknownDependence(f"{op.name} on a packed sequence")
    source = op.only()
    time = source.dim() - 2 if op.args["batch_first"] else 0
    value = source.sum(-1, keepdim=True)
    for _ in range(op.args["num_layers"]):
        value = value.sum(-1, keepdim=True).cumsum(time)
        if op.args["bidirectional"]:
            value = torch.cat([value, value.flip(time).cumsum(time).flip(time)], -1)
    width = op.shape[-1] // value.shape[-1]
    last = value.sum((time, -1))
    states = tuple(last[..., None].expand(shape) for shape in op.shapes[1:])
    return (value.repeat_interleave(width, -1), *states)


def write_through(target: WriteThrough, operands: Sequence[Tensor]) -> Tensor:
    """A base with a view of it overwritten.

    The write is done on the elements' numbers, as torch lets no derivative pass a write to one
    view of several (split, chunk); the numbers then say where each element comes from.
    """
    numbers, first = [], 0
    for operand in operands:
        numbers.append(torch.arange(first, first + operand.numel()).reshape(operand.shape))
        first += operand.numel()
    return torch.cat([operand.reshape(-1) for operand in operands])[target(*numbers)]


_RULES: dict[str, Callable[[Operation], Sequence[Tensor]]] = {
    **dict.fromkeys(("mul", "div"), _product),
    **dict.fromkeys(("add", "sub"), _sum),
    **dict.fromkeys(("where", "masked_fill"), _chosen),
    "detach": _combined,
    "as_strided_scatter": _wrongly_differentiated,
    **dict.fromkeys(("embedding", "one_hot", "bucketize"), _looked_up),
    **dict.fromkeys(("fill", "copy", "zero"), _assigned),
    **dict.fromkeys(("softmax", "attention", "glu", "cdist", "pdist"), weighted),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "batch_norm"), _normalised),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    "grid_sample": _sampled,
    "max_pool": _max_pool,
    "adaptive_max_pool": _adaptive_max_pool,
}
"""What the kinds do not say, by canonical name: what masks do, and where else arguments look."""
