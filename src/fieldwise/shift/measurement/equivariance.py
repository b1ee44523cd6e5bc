"""Does the output move as the input does?  Measured, in float64, on generic weights.

What counts as an error, and what a verdict needs, is in ``moved``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from torch import Tensor

from fieldwise.capture.models import as_module
from fieldwise.capture.torch.running import is_inexact
from fieldwise.errors import UsageError, did_you_mean
from fieldwise.graph.spatial import Axes
from fieldwise.reports import Report
from fieldwise.shift.measurement.motion import Expectations, Motion
from fieldwise.shift.measurement.moved import (
    TOLERANCE,
    Case,
    MeasuredVerdict,
    Moved,
    reconsidered,
)
from fieldwise.shift.measurement.subject import (
    MeasuredValue,
    ReturnedValues,
    Subject,
    judge_values,
    shifted,
)
from fieldwise.shift.measurement.translations import Amount


@dataclass(frozen=True, slots=True)
class Measurement(Report):
    """What was measured, and on what.

    outputs, layers: one entry per value and axis
    randomised:      whether all weights and statistics were drawn at random; if not, a weight that
                     is zero may hide what breaks equivariance
    up_to_roll:      whether maps were free to move by any whole number of units
    tolerance:       the largest error that counts as none
    """

    outputs: tuple[Moved, ...]
    layers: tuple[Moved, ...] = ()
    seed: int = 0
    randomised: bool = True
    up_to_roll: bool = False
    tolerance: float = TOLERANCE

    @property
    def rows(self) -> tuple[Moved, ...]:
        """The outputs, then the layers."""
        return self.outputs + self.layers

    @property
    def verdict(self) -> MeasuredVerdict:
        """Of all outputs together: broken if one is, held only if all are shown to hold."""
        found = {moved.verdict for moved in self.outputs}
        if "broken" in found:
            return "broken"
        return "holds" if found == {"holds"} else "no evidence"

    @property
    def error(self) -> float:
        """The largest over the outputs."""
        return max((moved.error for moved in self.outputs), default=inf)

    @property
    def eq_t(self) -> float:
        """EQ-T in dB, the smallest over the outputs."""
        return min((moved.eq_t for moved in self.outputs), default=-inf)

    def __getitem__(self, name: str) -> Moved:
        """The value of this name, along the first axis.  Raises UsageError for an unknown one."""
        for moved in (*self.outputs, *self.layers):
            if moved.name == name:
                return moved
        known = dict.fromkeys(moved.name for moved in (*self.outputs, *self.layers))
        remedy = did_you_mean(name, known, otherwise="name it in layers.")
        raise UsageError(f"'{name}' was not measured; {remedy}")


def measure(
    model: object,
    example: object = None,
    *,
    shift: Amount | Mapping[int, Amount] | None = None,
    axes: Axes | None = None,
    axis: Axes | None = None,
    layers: str | Sequence[str] = (),
    motions: Mapping[str, Motion] | None = None,
    randomise: bool = True,
    up_to_roll: bool = False,
    seed: int = 0,
) -> Measurement:
    """Shift the input, and see whether outputs and layers move along.

    model:     as for ``receptive_fields``; it is not changed: a copy is measured, in float64 and
               eval mode
    example:   a tensor, a tuple or dict of tensors, or the shape of the only input.  Floating
               inputs of the same rank are replaced by noise and shifted together
    shift:     in samples of the input, fractions by FFT; or per axis.  By default the least one
               that should move every value by a whole number of units
    axes:      of the input, one or several, negative ones from the end; by default all from 2
               on.  ``axis`` is the same
    layers:    globs of module paths whose values are measured too
    motions:   how values move, by name, where the field's stride does not say it
    randomise: draw all weights and statistics (see ``shift.generic``), for a decision on the
               structure; without, the weights are taken as they are
    up_to_roll: let a map move by any whole number of units, the one that fits best: adaptive
               sampling moves its maps by an amount that depends on the image

    Raises CaptureError where the model cannot be recorded, UsageError for an unknown axis or
    module and where the model does not run in float64.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.ReLU())
    >>> measure(net, (1, 1, 16)).verdict
    'broken'
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1, padding_mode="circular"), nn.ReLU())
    >>> measure(net, (1, 1, 16)).verdict
    'holds'
    """
    module, example = as_module(model, example, values=not randomise)
    subject = Subject.of(module, example, layers, randomise=randomise, seed=seed)
    expectations = Expectations(subject.call.graph())

    chosen = expectations.chosen(axes if axis is None else axis)
    amounts = {along: _amount(expectations, shift, along) for along in chosen}

    def run(along: int) -> ReturnedValues:
        moved = shifted(subject.call.example, amounts[along], along, expectations.shape)
        return subject.run(moved)

    def judge(measured: MeasuredValue, after: ReturnedValues) -> Moved:
        given, amount = (motions or {}).get(measured.name), amounts[measured.axis]
        return _judged(measured, after, expectations, given, amount, up_to_roll=up_to_roll)

    outputs, others = judge_values(subject, expectations, chosen, run, judge)
    return Measurement(tuple(outputs), tuple(others), seed, randomise, up_to_roll)


def _judged(
    measured: MeasuredValue,
    after: ReturnedValues,
    expectations: Expectations,
    given: Motion | None,
    amount: Amount,
    *,
    up_to_roll: bool,
) -> Moved:
    """One value against where it should be: as given, or in the likeliest way that holds."""
    size, value = expectations.shape[measured.axis], measured.value
    expected = (given,) if given else expectations.motions(measured.of, measured.axis)
    spatial, turn = expectations.spatial(measured.of), amount % size == 0
    three = [_numbers(each) for each in (value, after[measured.key], measured.unrelated)]
    cases = [
        Case(measured.name, measured.axis, amount, motion, spatial, turn, up_to_roll)
        for motion in expected
    ]
    found = [case.judge(*three) for case in cases]
    best = next((moved for moved in found if moved.verdict == "holds"), found[0])
    if given is not None or turn or up_to_roll:
        return best
    is_map = value.dim() == len(expectations.shape)
    return reconsidered(cases[0], best, three, size, is_map)


def _numbers(value: Tensor) -> Tensor:
    """Integers and truth values as numbers: what moves is equal, whatever it counts."""
    return value if is_inexact(value) else value.double()


def _amount(
    expectations: Expectations, shift: Amount | Mapping[int, Amount] | None, axis: int
) -> Amount:
    if isinstance(shift, Mapping):
        shift = shift.get(axis)
    return expectations.period(axis) if shift is None else shift
