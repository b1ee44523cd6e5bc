"""The NaN probe: what a unit of the *unmodified* model sees, told by where NaN gets through.

NaN times anything is NaN, so no weight, dead ReLU, cancellation or underflow hides a path: not
even a parameter that is exactly zero.  What was seen in torch on the CPU, and how it is treated:

- relu, relu6, hardtanh, clamp, leaky_relu, elu, gelu, silu, hardswish, threshold, softplus,
  shrinkages, softmax, max-pools, amax, topk pass NaN on.
- sign, comparisons, ``where`` on one of them, fmax, nan_to_num, argmax and ``x ** 0`` swallow it:
  behind them a unit looks clean.  A model that has them gets a field that is too small from
  ``nan_field``, and ``dirty_first`` or ``dirty_last`` False from ``nan_check``.
- oneDNN's and torch's own convolutions keep NaN within the window; NNPACK's (float32, batches of
  16 and more) transform whole tiles and spread it, and oneDNN's in half precision multiply what is
  beside the window by zero, so that NNPACK, and there oneDNN, are switched off for the run.
- an interpolation tap of weight exactly zero (align_corners, samples that coincide) reads 0 · NaN:
  dirty here, no dependence for the gradient.  The structural answer follows the gradient.
- a mask that adds −100 before a softmax (Swin) leaves a small weight, not a zero: dirty here, and
  the structural answer includes what such a mask hides.
- attention with a causal or −inf mask multiplies values by an exact zero: dirty here all the same;
  the structural answer, as the gradient, leaves them out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from fieldwise.capture.torch import as_inputs
from fieldwise.capture.torch.autocast import autocast_dtype
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.running import is_inexact
from fieldwise.errors import UsageError
from fieldwise.field.probes.result import Probe
from fieldwise.field.probes.units import outputs_in_run, select, varied
from fieldwise.graph.tensors import dtype_name

_BATCH = 32


@dataclass(frozen=True, slots=True)
class NanUnit:
    """A unit of a layer, as ``nan_field`` takes it."""

    layer: str | None
    unit: tuple[int, ...]
    channel: int | None = None
    dims: tuple[int, ...] | None = None

    def of(self, value: Tensor) -> Tensor:
        """It, as a view of what the layer returned."""
        layer = self.layer or "output"
        return select(value, self.unit, channel=self.channel, dims=self.dims, layer=layer)


@dataclass(frozen=True, slots=True)
class NanVerdict:
    """Whether a unit's field spans exactly [lo, hi] along each axis, as NaN shows it.

    clean_outside: NaN everywhere outside [lo, hi] leaves the unit clean
    dirty_first:   NaN on sample lo alone reaches it
    dirty_last:    NaN on sample hi alone reaches it
    """

    clean_outside: tuple[bool, ...]
    dirty_first: tuple[bool, ...]
    dirty_last: tuple[bool, ...]

    @property
    def ok(self) -> bool:
        """Whether all three hold along every axis, of one or more."""
        found = (*self.clean_outside, *self.dirty_first, *self.dirty_last)
        return bool(found) and all(found)


def nan_check(
    model: nn.Module,
    example: object,
    layer: str | None,
    unit: tuple[int, ...],
    lo: Sequence[int],
    hi: Sequence[int],
    *,
    channel: int | None = None,
    dims: tuple[int, ...] | None = None,
    axes: tuple[int, ...] | None = None,
) -> NanVerdict:
    """Whether the unit sees nothing outside [lo, hi] (inclusive), and both ends, on each axis.

    Three forward runs for each of ``axes``, dimensions of the first input (by default those from 2
    on).  The model runs as it is, in inference mode; ``layer`` is as for ``layer_output``.

    Raises UsageError for an unknown layer or unit, and where either holds what no NaN gets into.

    >>> net = nn.Sequential(nn.Conv1d(1, 1, 3), nn.ReLU(), nn.Conv1d(1, 1, 3))
    >>> nan_check(net, torch.rand(1, 1, 12), None, (2,), (2,), (6,)).ok
    True
    >>> nan_check(net, torch.rand(1, 1, 12), None, (2,), (1,), (5,))
    NanVerdict(clean_outside=(False,), dirty_first=(False,), dirty_last=(True,))
    """
    asked = NanUnit(layer, unit, channel, dims)
    dirty = _Runs(ModelCall(model, as_inputs(example, model)), [asked], axes)
    clean, first, last = [], [], []
    for axis, (start, stop) in enumerate(zip(lo, hi, strict=True)):
        outside = [*range(start), *range(stop + 1, dirty.sizes[axis])]
        clean.append(not (outside and dirty(axis, outside)))
        first.append(dirty(axis, [start]))
        last.append(dirty(axis, [stop]))
    return NanVerdict(tuple(clean), tuple(first), tuple(last))


def nan_field(
    model: nn.Module,
    example: object,
    layer: str | None,
    unit: tuple[int, ...],
    *,
    channel: int | None = None,
    dims: tuple[int, ...] | None = None,
    axes: tuple[int, ...] | None = None,
    per_sample: bool = False,
) -> Probe:
    """What the unit sees along each axis: the first and last sample, found by bisection.

    The mask is the product of the answers along the axes: the bounding box of the field, or with
    ``per_sample`` (a run per sample of each axis, batched where the model lets batches be) of its
    projections, holes included; ``axes`` are the dimensions of the first input, by default those
    from 2 on.  Either may be larger than the field itself, as ``why`` says.

    Raises UsageError for an unknown layer or unit, and where either end holds what no NaN gets
    into.

    >>> conv = nn.Conv1d(1, 1, 3, dilation=2)
    >>> nan_field(conv, torch.rand(1, 1, 12), None, (3,)).count
    5
    >>> nan_field(conv, torch.rand(1, 1, 12), None, (3,), per_sample=True).count
    3
    """
    asked = NanUnit(layer, unit, channel, dims)
    runs = _Runs(ModelCall(model, as_inputs(example, model)), [asked], axes)
    return _field_of(runs, runs.each if per_sample else runs.hull, per_sample=per_sample)


class NanProbe:
    """``nan_field`` of several units of one model, of which all are looked at in each run.

    >>> net = nn.Sequential(nn.Conv1d(1, 1, 3), nn.ReLU(), nn.Conv1d(1, 1, 3))
    >>> probe = NanProbe(net, torch.rand(1, 1, 12), [NanUnit("0", (4,)), NanUnit("2", (4,))])
    >>> probe.field(0).count, probe.field(1).count
    (3, 5)
    """

    def __init__(
        self,
        model: nn.Module,
        example: object,
        units: Sequence[NanUnit],
        *,
        axes: tuple[int, ...] | None = None,
    ) -> None:
        self._runs = _Runs(ModelCall(model, as_inputs(example, model)), units, axes)

    def field(self, number: int) -> Probe:
        """What the unit of this number sees.  Raises what ``nan_field`` does, for any of them."""
        return _field_of(self._runs, lambda axis: self._runs.hull(axis, number))


def _field_of(runs: _Runs, find: Callable[[int], np.ndarray], *, per_sample: bool = False) -> Probe:
    """The product of what is found along the axes."""
    mask = np.ones(runs.sizes, dtype=bool)
    for axis in range(mask.ndim):
        others = [other for other in range(mask.ndim) if other != axis]
        mask &= np.expand_dims(find(axis), others)
    if per_sample and mask.ndim == 1:
        return Probe(mask)
    what = "projections on the axes" if per_sample else "first and last samples"
    return Probe(mask, exact=False, why=f"NaN shows only the {what} of the field")


def holds_nan(dtype: str) -> bool:
    """Whether a NaN gets into numbers of this type.

    >>> holds_nan("bfloat16"), holds_nan("int64")
    (True, False)
    """
    kind = getattr(torch, dtype)
    return bool(kind.is_floating_point or kind.is_complex)


class _Runs:
    """Runs of one model with NaN on some samples of one axis; called, it says 'dirty'.

    Of the first of ``units``, where nothing else is said.
    """

    def __init__(
        self, call: ModelCall, units: Sequence[NanUnit], axes: tuple[int, ...] | None
    ) -> None:
        self._call, self._units, self._clean = call, units, call.inputs[0].detach()
        if not is_inexact(self._clean):
            raise UsageError(
                f"The input holds {dtype_name(self._clean.dtype)}, which no NaN gets into; take "
                "the part of the model behind its embedding."
            )
        self._axes = tuple(range(2, self._clean.dim())) if axes is None else axes
        self.sizes = tuple(self._clean.shape[axis] for axis in self._axes)
        self._found: dict[tuple[int, range], list[bool]] = {}

    def __call__(self, axis: int, samples: Sequence[int]) -> bool:
        """Whether NaN on these samples of the axis, all else as given, reaches the unit."""
        return bool(self._run(self._poisoned(axis, samples))[0].any())

    def hull(self, axis: int, number: int = 0) -> np.ndarray:
        """The samples from the first to the last that reach the unit of this number."""

        def clean(samples: range) -> bool:
            key = axis, samples
            if key not in self._found:
                reached = self._run(self._poisoned(axis, samples))
                self._found[key] = [bool(unit.any()) for unit in reached]
            return not self._found[key][number]

        size = self.sizes[axis]
        line = np.zeros(size, dtype=bool)
        if not clean(range(size)):
            first = _last_true(size, lambda stop: clean(range(stop)))
            after = size - _last_true(size, lambda count: clean(range(size - count, size)))
            line[first:after] = True
        return line

    def each(self, axis: int) -> np.ndarray:
        """The samples that reach the unit, each tried alone."""
        found: list[bool] = []
        for start in range(0, self.sizes[axis], _BATCH):
            samples = range(start, min(start + _BATCH, self.sizes[axis]))
            together = self._together(axis, samples)
            found += [self(axis, [one]) for one in samples] if together is None else together
        return np.array(found)

    def _together(self, axis: int, samples: Sequence[int]) -> list[bool] | None:
        """One batch with a clean member in front; None where the members are not independent."""
        if self._clean.shape[0] != 1:
            return None
        members = [self._clean, *(self._poisoned(axis, [sample]) for sample in samples)]
        try:
            dirty = self._run(torch.cat(members))[0]
        except (RuntimeError, ValueError, AssertionError):
            return None
        if dirty.shape[0] != len(members) or bool(dirty[0].any()):
            return None
        return [bool(row.any()) for row in dirty[1:]]

    def _poisoned(self, axis: int, samples: Sequence[int]) -> Tensor:
        image = self._clean.clone()
        image[(slice(None),) * self._axes[axis] + (list(samples),)] = float("nan")
        return image

    def _run(self, image: Tensor) -> list[Tensor]:
        """Where each of the units is NaN."""
        asked = [(one.layer, lambda value, one=one: one.of(value).clone()) for one in self._units]
        with torch.no_grad(), _KERNELS, ExitStack() as off:
            off.enter_context(torch.backends.nnpack.flags(enabled=False))
            if _in_half(self._call):
                off.enter_context(torch.backends.mkldnn.flags(enabled=False, allow_tf32=None))
            found = outputs_in_run(varied(self._call, image), asked)
        for one, values in zip(self._units, found, strict=True):
            if not is_inexact(values):
                kind = dtype_name(values.dtype)
                raise UsageError(
                    f"'{one.layer or 'output'}' holds {kind}, which no NaN gets into; name the "
                    "layer that it is made of."
                )
        return [values.isnan() for values in found]


_KERNELS = threading.RLock()
"""Held while kernels that spread a NaN are off, by flags of the process."""


def _in_half(call: ModelCall) -> bool:
    """Whether something may be computed in half precision."""
    tensors = chain(call.model.parameters(), call.model.buffers(), call.inputs)
    if any(tensor.dtype in (torch.bfloat16, torch.float16) for tensor in tensors):
        return True
    return autocast_dtype(call.device) is not None


def _last_true(most: int, holds: Callable[[int], bool]) -> int:
    """The largest n up to ``most`` for which ``holds``; it holds from 0 up to some n."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low
