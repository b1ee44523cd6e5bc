"""Interpolation to another size, after torch's own source-index formulas (ATen UpSample.h).

Output i of ``out`` lies at i·(in − 1)/(out − 1) of the input where corners are aligned, else at
(i + ½)·r − ½, where r is 1/scale_factor if that was given and in/out if not.  These are
rationals, so the taps repeat with the denominator of r as their period.  Taps whose weight is
exactly zero (a bilinear sample that falls on a grid point) are not read.  Nearest neighbours are
picked in float32, as torch picks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from math import ceil, floor

import numpy as np

from fieldwise.axes import AxisMap, Border, IndexSet, Table, index_map
from fieldwise.capture.torch.registry import OpCall, Reads, one, rule
from fieldwise.capture.torch.rules.common import along_but, source
from fieldwise.graph.ir import Along, Coord
from fieldwise.graph.kinds import COPY, INTERPOLATION

_HALF = Fraction(1, 2)
_SCALES = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}

Resampled = tuple[AxisMap | Table, Border]
AxisRule = Callable[[OpCall, int, int, float | None], Resampled]


def _upsample(call: OpCall, axis_rule: AxisRule) -> Reads:
    """Each spatial axis by itself; ``axis_rule`` takes its sizes and the scale that was given."""
    number, shape = source(call, "input" if "input" in call.args else "self")
    coords: dict[int, Coord] = {}
    for dim, scale in enumerate(_given_scales(call, len(shape) - 2), start=2):
        index, border = axis_rule(call, shape[dim], call.result[dim], scale)
        coords[dim] = Along(dim, index, border)
    return one(along_but(number, len(shape), coords))


def _given_scales(call: OpCall, axes: int) -> list[float | None]:
    if "scale_factors" in call.args:
        return list(call["scale_factors"] or [None] * axes)
    return [call.args.get(name) for name in _SCALES[axes]]


# -------------------------------------------------------------------- nearest


@rule(
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    name="upsample_nearest",
    kind=COPY,
)
def _upsample_nearest(call: OpCall) -> Reads:
    return _upsample(call, lambda _, *axis: (_nearest(*axis, at=Fraction(0)), Border.CLAMP))


@rule(
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d",
    name="upsample_nearest", kind=COPY,
)  # fmt: skip
def _upsample_nearest_exact(call: OpCall) -> Reads:
    return _upsample(call, lambda _, *axis: (_nearest(*axis, at=_HALF), Border.CLAMP))


def _nearest(before: int, after: int, scale: float | None, *, at: Fraction) -> AxisMap | Table:
    """⌊(i + at)·r⌋ in float32, as a regular map wherever that makes no difference.

    Where a scale was given and the size stays or doubles, some of torch's kernels copy all the
    same (which of them runs depends on shapes and threads), so that both samples count.  On
    float32 ties kernels differ too; this is the documented formula.
    """
    step = np.float32(1 / scale) if scale else np.float32(before) / np.float32(after)
    positions = np.arange(after, dtype=np.float32) + np.float32(at)
    picked = np.minimum(np.floor(positions * step).astype(int), before - 1).tolist()
    if scale and not at and after in (before, 2 * before):
        copied = [i * before // after for i in range(after)]
        if copied != picked:
            return index_map([IndexSet.of(pair) for pair in zip(picked, copied, strict=True)])
    ratio = _ratio(before, after, scale, align_corners=False)
    regular = _periodic(ratio, after, lambda i: [floor((i + at) * ratio)])
    last = before - 1
    if all(min(regular(i).first, last) == sample for i, sample in enumerate(picked)):
        return regular
    return index_map([IndexSet(sample, 1) for sample in picked])


# -------------------------------------------------------------------- linear and cubic


@rule("upsample_linear1d", name="upsample_linear", kind=INTERPOLATION)
@rule("upsample_bilinear2d", name="upsample_bilinear", kind=INTERPOLATION)
@rule("upsample_trilinear3d", name="upsample_trilinear", kind=INTERPOLATION)
def _upsample_linear(call: OpCall) -> Reads:
    return _upsample(call, _copied_at_equal_size(_interpolated(reach=1)))


@rule("upsample_bicubic2d", name="upsample_bicubic", kind=INTERPOLATION)
def _upsample_bicubic(call: OpCall) -> Reads:
    return _upsample(call, _interpolated(reach=2))


def _copied_at_equal_size(resized: AxisRule) -> AxisRule:
    """Torch copies an axis that keeps its size, whatever scale was given; but not bicubically."""

    def axis(call: OpCall, before: int, after: int, scale: float | None) -> Resampled:
        return resized(call, before, after, None if before == after else scale)

    return axis


def _interpolated(reach: int) -> AxisRule:
    """``reach`` grid points to either side; on a grid point that one alone."""

    def axis(call: OpCall, before: int, after: int, scale: float | None) -> Resampled:
        aligned = call["align_corners"]
        ratio = _ratio(before, after, scale, align_corners=aligned)

        def taps(i: int) -> range:
            position = ratio * i if aligned else ratio * (i + _HALF) - _HALF
            left = floor(position)
            on_grid = left == position
            return range(left, left + 1) if on_grid else range(left - reach + 1, left + reach + 1)

        return _periodic(ratio, after, taps), Border.CLAMP

    return axis


@rule("_upsample_bilinear2d_aa", name="upsample_bilinear", kind=INTERPOLATION)
def _upsample_bilinear_antialias(call: OpCall) -> Reads:
    return _upsample(call, _copied_at_equal_size(_antialiased(lobes=1)))


@rule("_upsample_bicubic2d_aa", name="upsample_bicubic", kind=INTERPOLATION)
def _upsample_bicubic_antialias(call: OpCall) -> Reads:
    return _upsample(call, _copied_at_equal_size(_antialiased(lobes=2)))


@rule("_upsample_lanczos2d_aa", name="upsample_lanczos", kind=INTERPOLATION)
def _upsample_lanczos_antialias(call: OpCall) -> Reads:
    return _upsample(call, _copied_at_equal_size(_antialiased(lobes=3)))


def _antialiased(lobes: int) -> AxisRule:
    """Zero at whole lobes off the centre; a lobe is as wide as the step, and at least 1."""

    def axis(call: OpCall, before: int, after: int, scale: float | None) -> Resampled:
        ratio = _ratio(before, after, scale, align_corners=call["align_corners"])
        lobe = max(ratio, Fraction(1))

        def taps(i: int) -> list[int]:
            centre = ratio * (i + _HALF) - _HALF
            near = range(ceil(centre - lobes * lobe), floor(centre + lobes * lobe) + 1)
            offsets = ((j, (j - centre) / lobe) for j in near)
            return [j for j, offset in offsets if offset == 0 or offset.denominator > 1]

        return _periodic(ratio, after, taps), Border.DROP

    return axis


# -------------------------------------------------------------------- steps as rationals


def _ratio(before: int, after: int, scale: float | None, *, align_corners: bool) -> Fraction:
    """Input samples per output sample."""
    if align_corners:
        return Fraction(before - 1, after - 1) if after > 1 else Fraction(0)
    return 1 / _rational(scale) if scale else Fraction(before, after)


def _rational(scale: float) -> Fraction:
    """The simple fraction that a float stands for (4/3 for 1.3333333333333333), else its value."""
    simple = Fraction(scale).limit_denominator(1 << 10)
    return simple if float(simple) == scale else Fraction(scale)


def _periodic(ratio: Fraction, after: int, taps: Callable[[int], Iterable[int]]) -> AxisMap | Table:
    """The map i ↦ taps(i), where taps(i + denominator) = taps(i) + numerator."""
    period = ratio.denominator
    rows = [IndexSet.of(taps(i)) for i in range(min(period, after))]
    return AxisMap(ratio.numerator, tuple(rows)) if period <= after else index_map(rows)
