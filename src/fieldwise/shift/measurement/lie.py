"""The Lie derivative of a network along translation (Gruver et al. 2022).

L f(x) = d/dt T'₋ₜ f(Tₜ x) at t = 0: how fast the output leaves the place where equivariance wants
it, for infinitely small shifts, where aliasing shows that shifts by whole strides hide.

The translation is that of the trigonometric interpolant, periodic, and its derivative is taken in
the spectrum, in float64.  (The published code resamples bilinearly at float32 coordinates that
pass through a division by the size: that alone costs an exactly equivariant circular convolution
more than a ReLU.)
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from fieldwise.capture.models import as_module
from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.graph.spatial import Axes
from fieldwise.shift.measurement.motion import Expectations, Motion
from fieldwise.shift.measurement.subject import (
    MeasuredValue,
    ReturnedValues,
    Subject,
    judge_values,
    rms,
    scale,
)
from fieldwise.shift.measurement.translations import derivative


@dataclass(frozen=True, slots=True)
class Lie:
    """How fast one value departs from equivariance.

    error:    root mean square of L f over that of f's spatial deviation, per sample of shift; of
              a value that should not move, over how far it moves between unrelated inputs
    speed:    the same of the movement d/dt f(Tₜ x) itself; an error as large is no equivariance
              at all, and where it is 0 nothing was shown
    """

    name: str
    axis: int
    error: float
    speed: float


def lie_derivative(
    model: object,
    example: object = None,
    *,
    axes: Axes | None = None,
    axis: Axes | None = None,
    layers: str | Sequence[str] = (),
    randomise: bool = True,
    seed: int = 0,
) -> tuple[Lie, ...]:
    """Per output, then per named layer, and per axis; the arguments are those of ``measure``.

    Values of which it is not known how they should move are left out, and those that are no numbers
    with a derivative.

    Raises what ``measure`` raises, and NotImplementedError (torch's own) for an op without a
    forward-mode derivative.

    >>> from torch import nn
    >>> conv = nn.Conv1d(1, 2, 5, padding=2, padding_mode="circular")
    >>> of_conv, of_relu = (
    ...     lie_derivative(net, (1, 1, 32))[0] for net in (conv, nn.Sequential(conv, nn.ReLU()))
    ... )
    >>> of_conv.error < 1e-12 < 1e-2 < of_relu.error
    True
    """
    module, example = as_module(model, example, values=not randomise)
    subject = Subject.of(module, example, layers, randomise=randomise, seed=seed)
    expectations = Expectations(subject.call.graph())

    def run(along: int) -> ReturnedValues:
        return _rates(subject, along, len(expectations.shape))

    def judge(measured: MeasuredValue, rates: ReturnedValues) -> Lie | None:
        motion = expectations.motion(measured.of, measured.axis)
        if motion is None or not measured.value.is_floating_point():
            return None
        spatial = expectations.spatial(measured.of)
        motion, size = scale(measured.value, measured.unrelated, motion, spatial)
        rate = rates[measured.key]
        departure = rms(rate - _wanted(measured.value, motion))
        return Lie(measured.name, measured.axis, _over(departure, size), _over(rms(rate), size))

    along = expectations.chosen(axes if axis is None else axis)
    outputs, others = judge_values(subject, expectations, along, run, judge)
    return (*outputs, *others)


def _rates(subject: Subject, axis: int, rank: int) -> ReturnedValues:
    """d/dt of every value while the input is moved along ``axis``."""
    moving = [
        tensor
        for tensor in tensors_in(subject.call.example)
        if tensor.is_floating_point() and tensor.dim() == rank
    ]

    def values(*moved: Tensor) -> ReturnedValues:
        replaced = {id(old): new for old, new in zip(moving, moved, strict=True)}
        found = subject.run(map_tensors(lambda t: replaced.get(id(t), t), subject.call.example))
        return {key: value for key, value in found.items() if value.is_floating_point()}

    tangents = tuple(derivative(tensor, axis) for tensor in moving)
    _load_forward_mode()
    rates: ReturnedValues = torch.func.jvp(values, tuple(moving), tangents)[1]
    return rates


@cache
def _load_forward_mode() -> None:
    """What torch imports at the first jvp, once, without its own FutureWarnings of torch.jit.

    The filters of warnings belong to the process, so that other threads must not see this often.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import torch._decomp.decompositions_for_jvp  # noqa: F401


def _wanted(value: Tensor, motion: Motion) -> Tensor:
    if motion.dim is None:
        return torch.zeros_like(value)
    return float(motion.rate) * derivative(value, motion.dim)


def _over(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
