"""Repairs: a copy of a model with the same weights that moves its output as its input moves."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fieldwise.capture.models import as_module
from fieldwise.capture.torch import as_example
from fieldwise.capture.torch.tree import named_tensors, tensors_in
from fieldwise.errors import UsageError
from fieldwise.graph.spatial import Axes, chosen_axes
from fieldwise.shift.generic import generic
from fieldwise.shift.measurement.beside_proof import proven_periods
from fieldwise.shift.measurement.equivariance import measure
from fieldwise.shift.measurement.subject import noise
from fieldwise.shift.proof.sweep import certify
from fieldwise.shift.repair.adapt import adapted, changes
from fieldwise.shift.repair.antialias import Antialiased
from fieldwise.shift.repair.periodic import Interpolation, Periodic, Valid, learn_layouts
from fieldwise.shift.repair.polyphase import Polyphase
from fieldwise.shift.repair.report import Change as Change
from fieldwise.shift.repair.report import Repaired as Repaired


def circular(
    model: object,
    example: object = None,
    *,
    axes: Axes | None = None,
    interpolation: Interpolation = "wrap",
    valid: Valid = "keep",
    shift: int | None = None,
) -> Repaired:
    """A copy with periodic boundaries instead of padding, checked by measurement.

    model:         as for ``receptive_fields``; it is not changed
    example:       a tensor, a tuple or dict of tensors, or the shape of the only input, laid out
                   as (batch, channels, *spatial)
    axes:          of the input, those that become periodic (longitude, not latitude); by default
                   all from 2 on
    interpolation: 'clamp' leaves linear and cubic interpolation as it is at the border;
                   'half-pixel' also computes what has align_corners=True without it, which has no
                   periodic form
    valid:         'wrap' gives convolutions and pools without padding a unit per stride, wrapped
                   from the other side; maps grow, so that a layer for their old size fails
    shift:         by which to measure, in samples of the input; by default the period that is
                   proven, or else the total stride

    Raises CaptureError where the model cannot be recorded, UsageError for axes that are not
    spatial and for scripted modules.

    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3, stride=2, padding=1), nn.ReLU())
    >>> repaired = circular(net, (1, 1, 16))
    >>> repaired.done, repaired.changes[0].what
    (True, 'zero padding 1+1 wrapped')
    """
    module, example = as_module(model, example)
    example = as_example(example, module)
    copy = periodic_copy(module, example, axes=axes, interpolation=interpolation, valid=valid)
    return _checked(copy, example, _spatial_axes(example, axes), shift)


def periodic_copy(
    model: nn.Module,
    example: object,
    *,
    axes: Axes | None = None,
    interpolation: Interpolation = "wrap",
    valid: Valid = "keep",
) -> nn.Module:
    """The copy that ``circular`` makes, neither proven nor measured; arguments as there."""
    example = as_example(example, model)
    periodic = Periodic(_rank(example), _spatial_axes(example, axes), interpolation, valid)
    copy = adapted(model, periodic)
    learn_layouts(copy, example, periodic)
    return copy


def antialias(model: object, example: object = None, *, taps: int = 3, shift: int = 1) -> Repaired:
    """A copy that blurs before it subsamples (Zhang 2019), measured before and after.

    Strided convolutions and pools become dense ones and a binomial low-pass at their stride.  The
    repair promises smaller errors for shifts between the strides, not none: ``done`` says whether
    EQ-T is better, on the weights that the model has.  It reflects at the border; make the model
    ``circular`` too, before or after, and it wraps.

    taps:  of the low-pass, odd: 3 is (1, 2, 1)/4, 5 is (1, 4, 6, 4, 1)/16
    shift: by which to measure, in samples of the input

    Raises CaptureError where the model cannot be recorded, UsageError for other taps and for
    scripted modules.

    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2))
    >>> net.append(nn.AdaptiveAvgPool1d(1))[3]
    AdaptiveAvgPool1d(output_size=1)
    >>> antialias(net, (1, 1, 32)).changes[0].what
    'stride 2 made dense, blurred by 3 taps, subsampled'
    """
    if taps < 3 or taps % 2 == 0:
        raise UsageError(f"A blur has 3, 5, 7 … taps, so that it has a middle; not {taps}.")
    module, example = as_module(model, example)
    example = as_example(example, module)
    copy = adapted(module, Antialiased(taps))
    before, after = (measure(one, example, shift=shift, randomise=False) for one in (module, copy))
    return Repaired(copy, changes(copy, example), after, before)


def polyphase(model: object, example: object = None, *, valid: Valid = "keep") -> Repaired:
    """A copy that keeps the strongest polyphase component at every stride (Chaman 2021).

    With the periodic boundaries that this needs, and which it makes, the copy is exactly invariant
    to every circular shift, by one sample too, and maps move by whole units.  Where upsampling
    restores the size, the output moves exactly as the input does.  Measured by one sample more
    than the total stride, so that every phase changes.

    valid: as in ``circular``

    Raises CaptureError where the model cannot be recorded, and UsageError, with the reason, where
    a size is not a multiple of a stride, where windows do not cover a period (no padding) and
    where branches take different steps.

    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3, stride=2, padding=1), nn.AdaptiveMaxPool1d(1))
    >>> repaired = polyphase(net, (1, 1, 16))
    >>> repaired.done, repaired.measurement.outputs[0].shift
    (True, 3)
    """
    module, example = as_module(model, example)
    example = as_example(example, module)
    periodic = circular(module, example, valid=valid)
    spatial = _rank(example) - _first_axis(example)
    copy = adapted(periodic.model, Polyphase(spatial, valid == "wrap"))
    shifts = {moved.axis: moved.shift + 1 for moved in periodic.measurement.outputs}
    measurement = measure(copy, example, shift=shifts)
    if measurement.verdict != "holds":
        measurement = measure(copy, example, shift=shifts, up_to_roll=True)
    reasons = None if measurement.verdict == "holds" else periodic.proof
    return Repaired(copy, changes(copy, example), measurement, proof=reasons)


def _checked(
    copy: nn.Module, example: object, chosen: Sequence[bool], shift: int | None
) -> Repaired:
    """The one place where an exact repair is judged: by measurement and by proof.

    Several inputs are shifted together, where a certificate is about one.
    """
    first = _first_axis(example)
    axes = [first + position for position, wraps in enumerate(chosen) if wraps]
    alone = len(list(named_tensors(example))) == 1
    proof = certify(generic(copy), noise(example, seed=0), axes=axes) if alone else None
    shifts = proven_periods(proof) if shift is None and proof is not None else shift
    measurement = measure(copy, example, axes=axes, shift=shifts)
    return Repaired(copy, changes(copy, example), measurement, proof=proof)


def _rank(example: object) -> int:
    return next(tensor.dim() for tensor in tensors_in(example))


def _first_axis(example: object) -> int:
    return min(2, _rank(example) - 1)


def _spatial_axes(example: object, axes: Axes | None) -> tuple[bool, ...]:
    first, rank = _first_axis(example), _rank(example)
    chosen = () if axes is None else chosen_axes(axes, rank)
    for axis in chosen:
        if axis < first:
            raise UsageError(
                f"Axis {axis} is not spatial; those of an input of rank {rank} are "
                f"{first} to {rank - 1}."
            )
    return tuple(axes is None or axis in chosen for axis in range(first, rank))
