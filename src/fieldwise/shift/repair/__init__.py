"""Repairs: a copy of a model with the same weights that moves its output as its input moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from fieldwise.capture.torch import meta_tensor
from fieldwise.capture.torch.tree import named_tensors
from fieldwise.errors import UsageError
from fieldwise.shift.measure import measure
from fieldwise.shift.repair.adapt import adapted, changes
from fieldwise.shift.repair.circular import Circular, Interpolation
from fieldwise.shift.repair.report import Change as Change
from fieldwise.shift.repair.report import Repaired as Repaired


def circular(
    model: nn.Module,
    example: Any,
    *,
    axes: Sequence[int] | None = None,
    interpolation: Interpolation = "wrap",
    shift: int | None = None,
) -> Repaired:
    """A copy with periodic boundaries instead of padding, checked by measurement.

    model:         is not changed
    example:       a tensor, a tuple or dict of tensors, or the shape of the only input, laid out
                   as (batch, channels, *spatial)
    axes:          of the input, those that become periodic (longitude, not latitude); by default
                   all from 2 on
    interpolation: 'clamp' leaves linear and cubic interpolation as it is at the border
    shift:         by which to measure, in samples of the input; by default the total stride

    Raises CaptureError where the model cannot be recorded, UsageError for axes that are not
    spatial and for scripted modules.

    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3, stride=2, padding=1), nn.ReLU())
    >>> repaired = circular(net, (1, 1, 16))
    >>> repaired.done, repaired.changes[0].what
    (True, 'zero padding 1+1 wrapped')
    """
    example = _tensors(example)
    chosen = _spatial_axes(example, axes)
    copy = adapted(model, Circular(chosen, interpolation))
    return _checked(copy, example, chosen, shift)


def _checked(copy: nn.Module, example: Any, chosen: Sequence[bool], shift: int | None) -> Repaired:
    first = _first_axis(example)
    axes = [first + position for position, wraps in enumerate(chosen) if wraps]
    return Repaired(copy, changes(copy, example), measure(copy, example, axis=axes, shift=shift))


def _tensors(example: Any) -> Any:
    if isinstance(example, (tuple, list)) and all(isinstance(size, int) for size in example):
        return meta_tensor(example)
    return example


def _rank(example: Any) -> int:
    return next(tensor.dim() for _, tensor in named_tensors(example))


def _first_axis(example: Any) -> int:
    return min(2, _rank(example) - 1)


def _spatial_axes(example: Any, axes: Sequence[int] | None) -> tuple[bool, ...]:
    first, rank = _first_axis(example), _rank(example)
    for axis in axes or ():
        if not first <= axis < rank:
            raise UsageError(
                f"Axis {axis} is not spatial; those of an input of rank {rank} are "
                f"{first} to {rank - 1}."
            )
    return tuple(axes is None or axis in axes for axis in range(first, rank))
