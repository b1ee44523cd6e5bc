"""Normalisation: by statistics of the file, of a sample, or of an axis; softmax."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates


@translates("BatchNormalization", learned=(1, 2))
def _batch_norm(
    node: NodeCall, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, var: Tensor
) -> Tensor | tuple[Tensor, Tensor, Tensor]:
    eps = node.number("epsilon", 1e-5)
    if not node.integer("training_mode", 0):
        if node.outputs > 1:
            raise node.refusal("it makes new statistics, as in training")
        return F.batch_norm(x, mean, var, scale, shift, False, 0.0, eps)
    keep = node.number("momentum", 0.9)
    axes = [dim for dim in range(x.dim()) if dim != 1]
    found = F.batch_norm(x, None, None, scale, shift, True, 0.0, eps)
    new_mean, new_var = x.mean(axes), x.var(axes, correction=0)
    return found, mean * keep + new_mean * (1 - keep), var * keep + new_var * (1 - keep)


@translates("InstanceNormalization", learned=(1, 2))
def _instance_norm(node: NodeCall, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=shift, eps=node.number("epsilon", 1e-5))


@translates("GroupNormalization", learned=(1, 2))
def _group_norm(node: NodeCall, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    groups = node.integer("num_groups", 1)
    if len(scale) == groups and groups != x.shape[1]:  # before version 21
        scale = scale.repeat_interleave(x.shape[1] // groups)
        shift = shift.repeat_interleave(x.shape[1] // groups)
    return F.group_norm(x, groups, scale, shift, node.number("epsilon", 1e-5))


@translates("LayerNormalization", learned=(1, 2))
def _layer_norm(
    node: NodeCall, x: Tensor, scale: Tensor, shift: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor, Tensor]:
    axis = node.integer("axis", -1) % x.dim()
    eps = node.number("epsilon", 1e-5)
    sizes = list(x.shape[axis:])
    if list(scale.shape) == sizes and (shift is None or list(shift.shape) == sizes):
        found = F.layer_norm(x, sizes, scale, shift, eps)
    else:
        found = F.layer_norm(x, sizes, eps=eps) * scale
        found = found if shift is None else found + shift
    if node.outputs < 2:
        return found
    axes = tuple(range(axis, x.dim()))
    mean = x.mean(axes, keepdim=True)
    return found, mean, (x.var(axes, correction=0, keepdim=True) + eps).rsqrt()


@translates("RMSNormalization", learned=(1,))
def _rms_norm(node: NodeCall, x: Tensor, scale: Tensor) -> Tensor:
    axis = node.integer("axis", -1) % x.dim()
    sizes = list(x.shape[axis:])
    eps = node.number("epsilon", 1e-5)
    return F.rms_norm(x, sizes, None, eps) * scale


@translates("MeanVarianceNormalization")
def _mean_variance(node: NodeCall, x: Tensor) -> Tensor:
    axes = node.integers("axes", [0, 2, 3])
    mean = x.mean(axes, keepdim=True)
    deviation = ((x * x).mean(axes, keepdim=True) - mean * mean).sqrt()
    return (x - mean) / (deviation + 1e-9)


@translates("LpNormalization")
def _lp_norm(node: NodeCall, x: Tensor) -> Tensor:
    axis, power = node.integer("axis", -1), node.integer("p", 2)
    size = x.abs().sum(axis, keepdim=True) if power == 1 else (x * x).sum(axis, keepdim=True).sqrt()
    return torch.where(size == 0, torch.zeros_like(x), x / torch.where(size == 0, 1.0, size))


@translates("LRN")
def _local_response(node: NodeCall, x: Tensor) -> Tensor:
    size = node.integer("size", 1)
    alpha, beta = node.number("alpha", 1e-4), node.number("beta", 0.75)
    before, behind = math.floor((size - 1) / 2), math.ceil((size - 1) / 2)
    squares = F.pad((x * x).flatten(2).unsqueeze(1), (0, 0, before, behind))
    means = F.avg_pool2d(squares, (size, 1), 1).squeeze(1).reshape(x.shape)
    return x / (means * alpha + node.number("bias", 1.0)) ** beta


# -------------------------------------------------------------------- softmax


def _flattened(node: NodeCall, x: Tensor, log: bool) -> Tensor:
    """Before version 13: over all dimensions from the axis on."""
    axis = node.integer("axis", 1)
    axis += x.dim() if axis < 0 else 0
    flat = x.reshape(math.prod(x.shape[:axis]), -1)
    found = F.log_softmax(flat, 1) if log else F.softmax(flat, 1)
    return found.reshape(x.shape)


@translates("Softmax", since=1)
def _softmax_flat(node: NodeCall, x: Tensor) -> Tensor:
    return _flattened(node, x, False)


@translates("LogSoftmax", since=1)
def _log_softmax_flat(node: NodeCall, x: Tensor) -> Tensor:
    return _flattened(node, x, True)


@translates("Softmax", since=13)
def _softmax(node: NodeCall, x: Tensor) -> Tensor:
    return F.softmax(x, node.integer("axis", -1))


@translates("LogSoftmax", since=13)
def _log_softmax(node: NodeCall, x: Tensor) -> Tensor:
    return F.log_softmax(x, node.integer("axis", -1))


@translates("Hardmax", since=1)
def _hardmax_flat(node: NodeCall, x: Tensor) -> Tensor:
    axis = node.integer("axis", 1)
    axis += x.dim() if axis < 0 else 0
    return _first_largest(x.reshape(math.prod(x.shape[:axis]), -1), 1).reshape(x.shape)


@translates("Hardmax", since=13)
def _hardmax(node: NodeCall, x: Tensor) -> Tensor:
    return _first_largest(x, node.integer("axis", -1))


def _first_largest(x: Tensor, axis: int) -> Tensor:
    places = torch.arange(x.shape[axis]).reshape(
        [-1 if d == axis % x.dim() else 1 for d in range(x.dim())]
    )
    return (places == x.argmax(axis, keepdim=True)).to(x.dtype)
