"""One value, beside the same of a shifted input: where it should be, and by how much it is not.

The error of a value f at a shift T is max|f(Tx) − T'f(x)| over the spatial deviation of f(x), the
root mean square of what remains without its spatial mean: what a network adds to every position
alike does not count, where a norm by max|f| would let a large constant hide any error.  A value
that should not move is normalised by how far it moves between two unrelated inputs.

Every measurement has a control, a translation known to be wrong.  Where the control does not fail,
nothing was shown: the map was dead, constant or one unit wide, or the shift was a full turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, inf, isfinite
from typing import Literal

import torch
from torch import Tensor

from fieldwise.shift.certificate import Move
from fieldwise.shift.measurement.metrics import eq_t
from fieldwise.shift.measurement.motion import Motion
from fieldwise.shift.measurement.subject import scale
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
class Case:
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


# ---------------------------------------------------------------------- a second look


def reconsidered(
    case: Case, moved: Moved, values: Sequence[Tensor], size: int, is_map: bool
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
    places = (f"{move.start} to {move.stop - 1} of dimension {move.dim}" for move in moves)
    note = f"it is rolled, but at positions {' and '.join(places)}, which no motion expresses"
    return replace(moved, verdict="no evidence", note=note if moves else "it does not change")


def _keeps_pace(move: Move, amount: int, size: int) -> bool:
    """Whether a digit moves, or runs back, by the part of its size by which the axis is shifted."""
    turn = move.size * size
    return any(
        (move.step * size - pace) % turn == 0 for pace in (amount * move.size, -amount * move.size)
    )


def _is_close(one: Tensor, two: Tensor) -> bool:
    return bool((one - two).abs().max() <= TOLERANCE * one.abs().max())
