"""Products, element-wise ops, and choices by a mask.

An operand is one where it varies, and zero or −inf where a constant mask has put that (see
``gradient``): a product passes nothing to what stands opposite a zero.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.field.probes.surrogates.operation import (
    ELEMENTWISE,
    Operation,
    added,
    finite,
    is_masked,
    register,
    spread,
)

INF = torch.inf


@register(
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "convolution", "_convolution", "_convolution_mode", "linear", "bilinear", "matmul", "mm", "bmm",
    "mv", "dot", "vdot", "inner", "outer", "ger", "addmm", "baddbmm", "addbmm", "addmv", "addr",
    "einsum", "tensordot", "kron",
)  # fmt: skip
def _multilinear(op: Operation) -> Sequence[Tensor]:
    """The op at operands of one: its derivative in each operand is a sum of ones."""
    args = map_tensors(_as_ones, dict(op.args))
    args |= {name: 1 for name in ("alpha", "beta") if name in args}
    return op.run(args)


def _as_ones(tensor: Tensor) -> Tensor:
    """Ones; −inf where a constant is, for it may be a mask in the addend of a product."""
    if tensor.requires_grad:
        return finite(tensor)
    ones = torch.ones(tensor.shape, dtype=torch.float64)
    return ones if tensor.device.type == "meta" else torch.where(tensor.cpu() == -INF, -INF, ones)


@register("mul", "div")
def _product(op: Operation) -> Sequence[Tensor]:
    factors = [spread(tensor, op.shape) for tensor in op.derived()]
    scales = any(tensor.dim() for tensor in tensors_in(op.args) if _is_constant(tensor))
    if len(factors) > 1 or scales:
        factors = [finite(factor) for factor in factors]
    return (reduce(operator.mul, factors),)


@register("add", "sub")
def _sum(op: Operation) -> Sequence[Tensor]:
    """−inf stays −inf, whatever is added to it."""
    (total,) = _combine(op)
    for name, sign in (("self", 1), ("other", 1 if op.name == "add" else -1)):
        addend = torch.as_tensor(op.args[name])
        if _is_constant(addend) and addend.device.type != "meta":
            total = total + torch.where(addend.cpu() * sign == -INF, -INF, 0.0)
    return (total,)


def _is_constant(tensor: Tensor) -> bool:
    return not tensor.requires_grad


@register(
    ELEMENTWISE,
    "hardswish", "hardsigmoid", "hardtanh", "relu6", "selu", "celu", "elu", "leaky_relu",
    "softplus", "square", "isnan", "isinf", "logit", "nan_to_num", "float_power", "true_divide",
    "floor_divide", "rsub", "eq", "ne", "complex", "polar", "real", "imag", "conj", "_conj",
    "_neg_view", "resolve_conj", "resolve_neg", "fake_quantize_per_tensor_affine",
)  # fmt: skip
def _combine(op: Operation) -> Sequence[Tensor]:
    """The sum of the operands; a function of one operand has its own value at zero and −inf."""
    operands = op.derived()
    total = added([spread(tensor, op.shape) for tensor in operands])
    if len(list(tensors_in(op.args))) == 1 and (masked := is_masked(operands[0])).any():
        (found,) = op.run(dict(op.args))
        total = torch.where(masked, found.detach(), total)
    return (total,) * len(op.shapes)


@register(
    "clone", "contiguous", "to", "_to_copy", "detach", "lift", "lift_fresh", "type_as",
    "dropout", "native_dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout",
    "prelu", "_prelu_kernel", "rrelu", "rrelu_with_noise", "rrelu_with_noise_functional",
    "bernoulli", "bucketize", "log_sigmoid", "log_sigmoid_forward",
)  # fmt: skip
def _first_alone(op: Operation) -> Sequence[Tensor]:
    """Whatever else stands among the arguments says how, or has the shape of a channel."""
    name = next(iter({"self", "input"} & op.args.keys()))
    if op.name not in ("to", "type_as"):
        op.only(name)
    source = op.args[name]
    return (source * 1,) * len(op.shapes)


@register("copy", "fill")
def _assigned(op: Operation) -> Sequence[Tensor]:
    """The old content is gone; the new one is broadcast."""
    source = op.args["src" if op.name == "copy" else "value"]
    return (spread(_branch(source), op.shape),)


@register("zero")
def _zero(op: Operation) -> Sequence[Tensor]:
    return (torch.zeros(op.shape, dtype=torch.float64),)


@register("where")
def _where(op: Operation) -> Sequence[Tensor]:
    return _chosen(op, op.args["condition"], op.args["self"], op.args["other"])


@register("masked_fill")
def _masked_fill(op: Operation) -> Sequence[Tensor]:
    return _chosen(op, op.args["mask"], op.args["value"], op.args["self"])


def _chosen(op: Operation, mask: Tensor, yes: Any, no: Any) -> Sequence[Tensor]:
    if mask.requires_grad or mask.device.type == "meta":
        return (added([spread(finite(tensor), op.shape) for tensor in op.derived()]),)
    return (spread(torch.where(mask.cpu().bool(), _branch(yes), _branch(no)), op.shape),)


def _branch(item: Any) -> Tensor:
    """An operand, or a constant: its value."""
    tensor = torch.as_tensor(item)
    if tensor.device.type == "meta":
        return torch.ones(tensor.shape, dtype=torch.float64)
    return tensor.cpu().to(torch.float64)


@register("glu")
def _glu(op: Operation) -> Sequence[Tensor]:
    return (added(list(op.args["self"].chunk(2, op.args["dim"]))),)


@register("view_as_real")
def _view_as_real(op: Operation) -> Sequence[Tensor]:
    return (op.args["self"].unsqueeze(-1).expand(op.shape),)


@register("embedding", "one_hot")
def _looked_up(op: Operation) -> Sequence[Tensor]:
    """A row for each index; the row's values are constants."""
    indices = op.only("indices" if op.name == "embedding" else "self")
    return (indices.unsqueeze(-1).expand(op.shape),)


@register("view_as_complex")
def _view_as_complex(op: Operation) -> Sequence[Tensor]:
    return (op.args["self"].sum(-1),)
