"""Layouts regrouped by reshapes, and joined by element-wise ops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from fieldwise.axes.digits import regroup
from fieldwise.axes.region import groups_of
from fieldwise.graph.ir import Shape
from fieldwise.shift.proof.layout import (
    Dim,
    Explainer,
    Layout,
    as_window,
    cropped,
    has_spectrum,
    is_uniform,
    movers_of,
    moves,
    size_of,
    stays,
    uniform,
)
from fieldwise.shift.proof.signal import (
    BreaksError,
    DigitGroup,
    Explain,
    Fault,
    Moving,
    Same,
    SignalDigit,
    Still,
    cut,
    length,
    merged,
    without_ones,
)
from fieldwise.shift.proof.spectrum import Spectrum
from fieldwise.shift.proof.windows import combined_window

# -------------------------------------------------------------------- reshapes


def reshaped(layout: Layout, before: Shape, after: Shape, explainer: Explainer) -> Layout:
    """The layout of a row-major reshape.  Raises BreaksError where it cuts across rows."""
    dims: list[Dim] = [uniform(1)] * len(after)
    for old, new in groups_of(before, after):
        if len(old) == len(new) == 1:
            dims[new[0]] = layout[old[0]]
            continue
        sizes = after[new.start : new.stop]
        taken = _regrouped([layout[dim] for dim in old], sizes, explainer, new.start)
        for place, part in zip(new, taken, strict=True):
            dims[place] = part
    return tuple(dims)


def _regrouped(
    old: Sequence[Dim], sizes: Sequence[int], explainer: Explainer, first: int
) -> list[Dim]:
    """The digits of a group of dimensions, cut at the borders of the new ones."""
    if any(moving.size == 1 for dim in old for moving in movers_of(dim)):
        raise BreaksError(Fault("it drops the only position that is left of the axis", known=False))
    long = [dim for dim in old if size_of(dim) > 1]
    new = [size for size in sizes if size > 1]
    if len(long) == 1 and len(new) == 1:
        whole = iter(long)
        return [next(whole) if size > 1 else uniform(1) for size in sizes]
    if not any(moves(dim) for dim in old):
        return _still(old, sizes)
    if any(has_spectrum(dim) for dim in old):
        raise BreaksError(Fault("it is a reshape that cuts frequencies apart"))
    digits = without_ones(
        tuple(
            d
            for dim in old
            for d in (dim[0] if len(dim) == 1 else (as_window(dim, explainer.about()),))
        )
    )
    if len(digits) > 1 and regroup([d.size for d in digits], sizes) is None:
        digits = _merged_runs(digits)
    groups = regroup([digit.size for digit in digits], sizes)
    if groups is None:
        raise BreaksError(Fault("it is a reshape that cuts across rows", known=False))
    pieces = _pieces(digits, groups, explainer, first)
    return [((tuple(next(pieces) for _ in group) or (Same(1),)),) for group in groups]


def _merged_runs(digits: DigitGroup) -> DigitGroup:
    """Every moving digit together with those that follow it and stay."""
    runs: list[DigitGroup] = []
    for digit in digits:
        if runs and not isinstance(digit, Moving) and merged((*runs[-1], digit)) is not None:
            runs[-1] = (*runs[-1], digit)
        else:
            runs.append((digit,))
    return tuple(one for run in runs if (one := merged(run)) is not None)


def _still(old: Sequence[Dim], sizes: Sequence[int]) -> list[Dim]:
    """Digits that all stay; the uniform ones are kept where they nest."""
    digits = [d for dim in old for d in (dim[0] if len(dim) == 1 else (Still(size_of(dim)),))]
    groups = regroup([digit.size for digit in digits], sizes)
    if groups is None:
        alike = all(isinstance(digit, Same) for digit in digits)
        return [uniform(size) if alike else stays(size) for size in sizes]
    return [
        (tuple(replace(digits[number], size=size) for number, size in group) or (Same(1),),)
        for group in groups
    ]


def _pieces(
    digits: DigitGroup,
    groups: Sequence[Sequence[tuple[int, int]]],
    explainer: Explainer,
    first: int,
) -> Iterator[SignalDigit]:
    """The digits cut into the sizes of ``groups``, the leading piece of each first."""
    sizes: list[list[int]] = [[] for _ in digits]
    for group in groups:
        for number, size in group:
            sizes[number].append(size)
    for number, digit in enumerate(digits):
        if digit.size == 1:
            continue
        lead, *tail = sizes[number]
        if isinstance(digit, Moving):
            name = (explainer.name, first, number)
            yield cut(digit, prod(tail), name, explainer.about()) if tail else digit
            yield from map(Still, tail)
        else:
            yield from (replace(digit, size=size) for size in (lead, *tail))


# -------------------------------------------------------------------- element-wise joins


def joined(one: Dim, two: Dim, explainer: Explainer, place: int) -> Dim:
    """What an element-wise op makes of two dimensions of equal size.

    Raises BreaksError where one moves and the other varies without moving, or at another rate.
    """
    if one == two or is_uniform(two):
        return one
    if is_uniform(one):
        return two
    ends = sorted({*_ends(one), *_ends(two)} - {0})
    explain = explainer.about()
    parts: list[DigitGroup] = []
    for start, stop in zip([0, *ends], ends, strict=False):
        left, right = (cropped(dim, start, stop, explain) for dim in (one, two))
        parts.append(_joined_parts(left[0], right[0], explainer, place))
    return tuple(parts)


def _ends(dim: Dim) -> Iterator[int]:
    place = 0
    for part in dim:
        place += length(part)
        yield place


def _joined_parts(one: DigitGroup, two: DigitGroup, explainer: Explainer, place: int) -> DigitGroup:
    if all(isinstance(digit, Same) for digit in two):
        return one
    if all(isinstance(digit, Same) for digit in one):
        return two
    if not any(isinstance(digit, Moving | Spectrum) for digit in (*one, *two)):
        return _joined_still(one, two)
    one, two = _common(one, two, explainer, place)
    return tuple(
        _joined_digits(a, b, (explainer.name, place, n), explainer.about())
        for n, (a, b) in enumerate(zip(one, two, strict=True))
    )


def _joined_still(one: DigitGroup, two: DigitGroup) -> DigitGroup:
    if [digit.size for digit in one] != [digit.size for digit in two]:
        return (Still(length(one)),)
    return tuple(a if isinstance(a, Still) else b for a, b in zip(one, two, strict=True))


def _common(
    one: DigitGroup, two: DigitGroup, explainer: Explainer, place: int
) -> tuple[DigitGroup, DigitGroup]:
    """Two parts cut into digits of the same sizes."""
    one, two = without_ones(one), without_ones(two)
    sizes, others = [d.size for d in one], [d.size for d in two]
    if sizes == others:
        return one, two
    for digits, target in ((one, others), (two, sizes)):
        groups = regroup([digit.size for digit in digits], target)
        if groups is not None and all(len(group) == 1 for group in groups):
            finer = tuple(_pieces(digits, groups, explainer, place))
            return (finer, two) if digits is one else (one, finer)
    left, right = merged(one), merged(two)
    if left is None or right is None:
        raise BreaksError(_meets_still())
    return (left,), (right,)


def _joined_digits(
    one: SignalDigit, two: SignalDigit, name: tuple[object, ...], explain: Explain
) -> SignalDigit:
    if isinstance(one, Same):
        return two
    if isinstance(two, Same):
        return one
    if isinstance(one, Moving) and isinstance(two, Moving):
        return combined_window(one, two, name, explain)
    if isinstance(one, Spectrum) and isinstance(two, Still):
        return one
    if isinstance(two, Spectrum) and isinstance(one, Still):
        return two
    if isinstance(one, Spectrum) and isinstance(two, Spectrum) and one != two:
        raise BreaksError(Fault("it joins frequencies whose phases turn apart", known=False))
    if one != two:
        raise BreaksError(_meets_still())
    return one


def _meets_still() -> Fault:
    return Fault("it joins what moves with what varies along the axis and does not move")
