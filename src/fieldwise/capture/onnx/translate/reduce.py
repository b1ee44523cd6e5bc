"""Reductions and running totals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.translate.unsigned import widened
from fieldwise.capture.onnx.values import integer, ints

ReduceAxes = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _largest(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if x.dtype == torch.bool:
        return _extreme(x.to(torch.uint8), axes, keep, largest=True).to(torch.bool)
    return _extreme(x, axes, keep, largest=True)


def _smallest(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if x.dtype == torch.bool:
        return _extreme(x.to(torch.uint8), axes, keep, largest=False).to(torch.bool)
    return _extreme(x, axes, keep, largest=False)


def _extreme(x: Tensor, axes: tuple[int, ...], keep: bool, *, largest: bool) -> Tensor:
    if all(x.shape[axis] for axis in axes):
        return torch.amax(x, axes, keep) if largest else torch.amin(x, axes, keep)
    sizes = [1 if dim in axes else n for dim, n in enumerate(x.shape) if keep or dim not in axes]
    info = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype)
    value = info.min if largest else info.max
    if x.is_floating_point():
        value = float("-inf") if largest else float("inf")
    return torch.full(sizes, value, dtype=x.dtype)


_REDUCTIONS: Mapping[str, ReduceAxes] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep, dtype=x.dtype),
    "ReduceL2": lambda x, axes, keep: (x * x).sum(axes, keep).sqrt().to(x.dtype),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keep),
    "ReduceMax": _largest,
    "ReduceMean": lambda x, axes, keep: (
        x.mean(axes, keep) if x.is_floating_point() else x.double().mean(axes, keep).to(x.dtype)
    ),
    "ReduceMin": _smallest,
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep, dtype=x.dtype),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keep, dtype=x.dtype),
}
_AXES_ARE_AN_INPUT_SINCE = {"ReduceSum": 13}
_USUAL = 18


def _reduced(
    node: NodeCall, reduction: ReduceAxes, x: Tensor, axes: Sequence[int] | None
) -> Tensor:
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            return reduction(x.unsqueeze(-1), (x.dim(),), False)
        axes = range(x.dim())
    chosen = tuple(axis % x.dim() for axis in axes)
    keep = bool(node.integer("keepdims", 1))
    return reduction(x, chosen, keep) if chosen else reduction(x.unsqueeze(0), (0,), False)


def _register(op: str, reduction: ReduceAxes) -> None:
    def by_attribute(node: NodeCall, x: Tensor) -> Tensor:
        return _reduced(node, reduction, x, node.integers("axes"))

    def by_input(node: NodeCall, x: Tensor, axes: Tensor | None = None) -> Tensor:
        return _reduced(node, reduction, x, None if axes is None else ints(axes, "its axes"))

    ordered = op in ("ReduceMax", "ReduceMin")
    translates(op)(widened(by_attribute, ordered=ordered))
    since = _AXES_ARE_AN_INPUT_SINCE.get(op, _USUAL)
    translates(op, since=since)(widened(by_input, ordered=ordered))


for _op, _reduction in _REDUCTIONS.items():
    _register(_op, _reduction)


@translates("ArgMax", "ArgMin")
def _arg(node: NodeCall, x: Tensor) -> Tensor:
    axis = node.integer("axis", 0) % max(x.dim(), 1)
    largest = node.node.op == "ArgMax"
    find = torch.argmax if largest else torch.argmin
    if node.integer("select_last_index", 0):
        found = x.shape[axis] - 1 - find(x.flip(axis), axis, keepdim=True)
    else:
        found = find(x, axis, keepdim=True)
    return found if node.integer("keepdims", 1) else found.squeeze(axis)


@translates("CumSum", "CumProd")
def _running(node: NodeCall, x: Tensor, axis: Tensor) -> Tensor:
    along = integer(axis, "its axis") % x.dim()
    total = node.node.op == "CumSum"
    backwards = bool(node.integer("reverse", 0))
    if backwards:
        x = x.flip(along)
    found = x.cumsum(along, dtype=x.dtype) if total else x.cumprod(along, dtype=x.dtype)
    if node.integer("exclusive", 0):
        neutral = torch.full_like(x.narrow(along, 0, 1), 0 if total else 1)
        found = torch.cat([neutral, found.narrow(along, 0, x.shape[along] - 1)], along)
    return found.flip(along) if backwards else found
