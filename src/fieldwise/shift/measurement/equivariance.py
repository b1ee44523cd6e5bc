"""Does the output move as the input does?  Measured, in float64, on generic weights.

The error of a value f at a shift T is max|f(Tx) − T'f(x)| over the spatial deviation of f(x), the
root mean square of what remains without its spatial mean: what a network adds to every position
alike does not count, where a norm by max|f| would let a large constant hide any error.  A value
that should not move is normalised by how far it moves between two unrelated inputs.

Every measurement has a control, a translation known to be wrong.  Where the control does not fail,
nothing was shown: the map was dead, constant or one unit wide, or the shift was a full turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, inf, isfinite
from typing import Literal

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.running import is_inexact
from fieldwise.errors import UsageError, did_you_mean
from fieldwise.graph.spatial import Axes
from fieldwise.reports import Report
from fieldwise.shift.certificate import Move
from fieldwise.shift.measurement.metrics import eq_t
from fieldwise.shift.measurement.motion import Expectations, Motion
from fieldwise.shift.measurement.subject import Subject, scale, shifted
from fieldwise.shift.measurement.translations import Amount, translated
from fieldwise.shift.rolls import Slices, answer, rolled

MeasuredVerdict = Literal["holds", "broken", "no evidence"]

TOLERANCE = 1e-9
CONTROL = 1e-3


@dataclass(frozen=True, slots=True)
class Moved:
    """How one value moved when the input was shifted along one axis.

    name:     of the output, or the path of the module that returned it
    axis:     of the input; shift: by how many of its samples
    motion:   how the value should have moved; None where that is not known
    error:    normalised by the deviation (see the module)
    control:  the error of a translation that is wrong
    eq_t:     EQ-T in dB: 10·log10(range² / mean squared error) (Karras et al. 2021, eq. 3, where
              the range of an image is 2)
    verdict:  'no evidence' where the control did not fail, or the move is not known
    note:     what should be known of a verdict of 'no evidence'
    """

    name: str
    axis: int
    shift: Amount
    motion: Motion | None
    error: float
    control: float
    eq_t: float
    verdict: MeasuredVerdict
    note: str = ""


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
    model: nn.Module,
    example: object,
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

    model:     is not changed; a copy is measured, in float64 and eval mode
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

    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.ReLU())
    >>> measure(net, (1, 1, 16)).verdict
    'broken'
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1, padding_mode="circular"), nn.ReLU())
    >>> measure(net, (1, 1, 16)).verdict
    'holds'
    """
    subject = Subject.of(model, example, layers, randomise=randomise, seed=seed)
    expectations = Expectations(subject.call.graph())
    found: dict[bool, list[Moved]] = {True: [], False: []}
    for along in expectations.chosen(axes if axis is None else axis):
        amount = _amount(expectations, shift, along)
        after = subject.run(shifted(subject.call.example, amount, along, expectations.shape))
        for (is_output, name), value in subject.reference.items():
            value_name = expectations.value(name, is_output=is_output)
            if value_name is None:
                continue
            given = (motions or {}).get(name)
            expected = (given,) if given else expectations.motions(value_name, along)
            turn = amount % expectations.shape[along] == 0
            spatial = expectations.spatial(value_name)
            other = subject.unrelated[is_output, name]
            three = [_numbers(each) for each in (value, after[is_output, name], other)]
            cases = [
                _Case(name, along, amount, motion, spatial, turn, up_to_roll) for motion in expected
            ]
            judged = [case.judge(*three) for case in cases]
            held = (moved for moved in judged if moved.verdict == "holds")
            best = next(held, judged[0])
            if given is None and not turn and not up_to_roll:
                is_map = value.dim() == len(expectations.shape)
                best = _reconsidered(cases[0], best, three, expectations.shape[along], is_map)
            found[is_output].append(best)
    return Measurement(tuple(found[True]), tuple(found[False]), seed, randomise, up_to_roll)


def _reconsidered(
    case: _Case, moved: Moved, values: Sequence[Tensor], size: int, is_map: bool
) -> Moved:
    """What is not where it was expected, and may be somewhere else: a row of a flattened map.

    values: as they are, where the input is shifted, and of an unrelated one
    size:   of the axis that is shifted; is_map: the value has all dimensions that the input has
    """
    before, after, _ = values
    if moved.motion is None:
        return replace(moved, note="it is not known how it should move; say it in motions")
    if moved.verdict != "broken" or before.shape != after.shape or case.shift != int(case.shift):
        return moved
    amount = int(case.shift)
    slices = Slices.of([before])
    turns = size // gcd(amount, size)
    moves = answer(slices, Slices.of([after], slices), turns, whole=is_map)
    if moves is None or not _is_close(rolled(before, moves), after):
        return moved
    if not all(_keeps_pace(move, amount, size) for move in moves):
        return moved  # by an amount of its own, as what is sampled adaptively
    whole = all(move.stop - move.start == before.shape[move.dim] for move in moves)
    if len(moves) == 1 and whole:
        (move,) = moves
        motion = Motion(move.dim, Fraction(move.step, amount), move.outer, move.inner)
        return replace(case, motion=motion).judge(*values)
    told = (f"{move.start} to {move.stop - 1} of dimension {move.dim}" for move in moves)
    note = f"it is rolled, but at positions {' and '.join(told)}, which no motion expresses"
    return replace(moved, verdict="no evidence", note=note if moves else "it does not change")


def _keeps_pace(move: Move, amount: int, size: int) -> bool:
    """Whether a digit moves, or runs back, by the part of its size by which the axis is shifted."""
    turn = move.size * size
    return any(
        (move.step * size - pace) % turn == 0 for pace in (amount * move.size, -amount * move.size)
    )


def _is_close(one: Tensor, two: Tensor) -> bool:
    return bool((one - two).abs().max() <= TOLERANCE * one.abs().max())


def _numbers(value: Tensor) -> Tensor:
    """Integers and truth values as numbers: what moves is equal, whatever it counts."""
    return value if is_inexact(value) else value.double()


def _amount(
    expectations: Expectations, shift: Amount | Mapping[int, Amount] | None, axis: int
) -> Amount:
    if isinstance(shift, Mapping):
        shift = shift.get(axis)
    return expectations.period(axis) if shift is None else shift


# ---------------------------------------------------------------------- one value


@dataclass(frozen=True, slots=True)
class _Case:
    """One value along one axis, before it is judged.

    spatial: the dimensions along which it is a map; turn: the shift brings the input to itself
    up_to_roll: it may have moved by any whole number of units
    """

    name: str
    axis: int
    shift: Amount
    motion: Motion | None
    spatial: tuple[int, ...]
    turn: bool
    up_to_roll: bool

    def judge(self, value: Tensor, shifted: Tensor, unrelated: Tensor) -> Moved:
        """Compare what became of the value with what should have become of it."""
        if self.motion is None or value.shape != shifted.shape or not value.numel():
            known = self.motion is not None and value.shape != shifted.shape
            verdict: MeasuredVerdict = "broken" if known else "no evidence"
            return Moved(self.name, self.axis, self.shift, self.motion, inf, inf, -inf, verdict)
        motion, deviation = scale(value, unrelated, self.motion, self.spatial)
        if motion.dim is None:
            wanted, wrong = value, unrelated
        elif self.up_to_roll:
            wanted = _best_roll(value, shifted, motion.dim)
            wrong = _best_roll(unrelated, shifted, motion.dim)
        else:
            amount = motion.rate * _exact(self.shift)
            wanted = _along(value, motion, amount)
            wrong = _along(value, motion, amount + 1)
        error = _ratio(float((shifted - wanted).abs().max()), deviation)
        control = _ratio(float((shifted - wrong).abs().max()), deviation)
        alive = deviation > 0 and isfinite(error) and isfinite(control)
        return Moved(
            name=self.name,
            axis=self.axis,
            shift=self.shift,
            motion=motion,
            error=error,
            control=control,
            eq_t=eq_t(wanted, shifted),
            verdict=_verdict(error, alive=alive, shown=control >= CONTROL and not self.turn),
        )


def _along(value: Tensor, motion: Motion, amount: Amount) -> Tensor:
    """The value moved by so many units of a motion."""
    assert motion.dim is not None
    digits = value.unflatten(motion.dim, (motion.outer, -1, motion.inner))
    return translated(digits, amount, motion.dim + 1).flatten(motion.dim, motion.dim + 2)


def _verdict(error: float, *, alive: bool, shown: bool) -> MeasuredVerdict:
    """Of a value that is neither flat nor infinite, and whether its control failed."""
    if alive and error > TOLERANCE:
        return "broken"
    return "holds" if alive and shown else "no evidence"


def _best_roll(value: Tensor, wanted: Tensor, dim: int) -> Tensor:
    """``value`` rolled, image by image, by the number of units that brings it closest.

    Each image of a batch is sampled at a phase of its own, and so moves by a number of its own.
    """
    if dim == 0:
        return _rolled_alike(value, wanted, dim)
    pairs = zip(value.split(1), wanted.split(1), strict=True)
    return torch.cat([_rolled_alike(one, other, dim) for one, other in pairs])


def _rolled_alike(value: Tensor, wanted: Tensor, dim: int) -> Tensor:
    rolls = (value.roll(units, dim) for units in range(value.shape[dim]))
    return min(rolls, key=lambda rolled: float((rolled - wanted).abs().max()))


def _exact(shift: Amount) -> Amount:
    return int(shift) if shift == int(shift) else shift


def _ratio(error: float, deviation: float) -> float:
    return error / deviation if deviation else (inf if error else 0.0)
