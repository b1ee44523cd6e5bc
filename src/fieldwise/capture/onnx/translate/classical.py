"""Operators of ai.onnx.ml that compute with numbers: scales, thresholds, linear models."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates

_classical = partial(translates, domain="ai.onnx.ml")


@_classical("ArrayFeatureExtractor")
def _features(node: NodeCall, x: Tensor, places: Tensor) -> Tensor:
    found = x.index_select(-1, places.reshape(-1))
    return found.reshape(1, -1) if x.dim() == 1 else found


@_classical("Binarizer")
def _binarised(node: NodeCall, x: Tensor) -> Tensor:
    return (x > node.number("threshold", 0.0)).to(x.dtype)


@_classical("Scaler")
def _scaled(node: NodeCall, x: Tensor) -> Tensor:
    wide = x.to(node.working)
    offset = torch.tensor(node.numbers("offset", [0.0]), dtype=wide.dtype)
    return (wide - offset) * torch.tensor(node.numbers("scale", [1.0]), dtype=wide.dtype)


@_classical("Normalizer")
def _normalised(node: NodeCall, x: Tensor) -> Tensor:
    wide, norm = x.to(node.working), node.text("norm", "MAX")
    if norm == "MAX":
        size = wide.amax(-1, keepdim=True)
    elif norm == "L1":
        size = wide.abs().sum(-1, keepdim=True)
    else:
        size = (wide * wide).sum(-1, keepdim=True).sqrt()
    return wide / torch.where(size == 0, 1.0, size)


@_classical("LinearRegressor")
def _linear(node: NodeCall, x: Tensor) -> Tensor:
    count, post = node.integer("targets", 1), node.text("post_transform", "NONE")
    if post != "NONE":
        raise node.refusal(f"its post_transform is {post!r}")
    wide = x.to(node.working)
    weights = torch.tensor(node.numbers("coefficients", []), dtype=wide.dtype)
    shift = node.numbers("intercepts")
    bias = None if shift is None else torch.tensor(shift, dtype=wide.dtype)
    return F.linear(wide, weights.reshape(count, -1), bias)


@_classical("Imputer")
def _imputed(node: NodeCall, x: Tensor) -> Tensor:
    if not x.is_floating_point():
        whole = torch.tensor(node.integers("imputed_value_int64s", [0]))
        return torch.where(x == node.integer("replaced_value_int64", 0), whole, x)
    gap = node.number("replaced_value_float", 0.0)
    missing = torch.isnan(x) if math.isnan(gap) else x == gap
    return torch.where(
        missing, torch.tensor(node.numbers("imputed_value_floats"), dtype=x.dtype), x
    )


@_classical("FeatureVectorizer")
def _joined(node: NodeCall, *xs: Tensor) -> Tensor:
    return torch.cat([x.to(node.working).reshape(x.shape[0], -1) for x in xs], 1)
