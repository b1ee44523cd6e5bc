"""How the dimensions of a value factor into digits, and what each digit does under a shift.

A dimension is a row of *parts* (a class token, then the patches), a part a mixed-radix index of
digits (row and column of a patch; see ``axes.digits``).  Most dimensions have one part of one
digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm, prod

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.axes.digits import regroup
from fieldwise.axes.region import groups_of
from fieldwise.graph.ir import Along, Shape
from fieldwise.shift.moving import (
    BreaksError,
    Digit,
    Fault,
    Moving,
    Part,
    Same,
    Spectrum,
    Still,
    Tell,
    blamed,
    cut,
    merged,
    met,
    resized,
    side_by_side,
    stretched,
    without_ones,
)

Dim = tuple[Part, ...]
Layout = tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class Voice:
    """What is told of the op at work: the name of its result, and why a window is not whole."""

    name: str
    tell: Callable[[str, Moving, Along | None], Fault]

    def about(self, along: Along | None = None) -> Tell:
        """The reasons of one read."""
        return lambda condition, moving: self.tell(condition, moving, along)


def source_layout(shape: Shape, axis: int | None, *, circular: bool) -> Layout:
    """The layout of an input whose ``axis`` is shifted; None: of one that is not."""
    return tuple(
        ((_source(size, circular=circular),),) if dim == axis else stays(size)
        for dim, size in enumerate(shape)
    )


def _source(size: int, *, circular: bool) -> Moving:
    turn = size if circular else None
    return Moving(size, Fraction(1), turn, IndexSet.range(0, size), ("the input",))


def stays(size: int) -> Dim:
    """A dimension that does not move."""
    return ((Still(size) if size > 1 else Same(size),),)


def uniform(size: int) -> Dim:
    """A dimension along which everything is the same."""
    return ((Same(size),),)


def movers(layout: Layout) -> Iterator[Moving]:
    """Every moving digit."""
    return (digit for dim in layout for digit in movers_of(dim))


def movers_of(dim: Dim) -> Iterator[Moving]:
    """The moving digits of one dimension."""
    return (digit for part in dim for digit in part if isinstance(digit, Moving))


def moves(dim: Dim) -> bool:
    """Whether some digit of a dimension moves, or turns its phase."""
    return any(isinstance(digit, Moving | Spectrum) for part in dim for digit in part)


def has_spectrum(dim: Dim) -> bool:
    """Whether a dimension holds frequencies."""
    return any(isinstance(digit, Spectrum) for part in dim for digit in part)


def is_uniform(dim: Dim) -> bool:
    """Whether nothing varies along a dimension."""
    return all(isinstance(digit, Same) for part in dim for digit in part)


def period_of(layout: Layout) -> int:
    """The least shift under which every digit is known to move as described."""
    return lcm(*(digit.period for digit in movers(layout)))


def length(part: Part) -> int:
    """The number of positions of a part."""
    return prod(digit.size for digit in part)


def size_of(dim: Dim) -> int:
    """The number of positions of a dimension."""
    return sum(map(length, dim))


# -------------------------------------------------------------------- reading a dimension


def read_along(dim: Dim, along: Along, after: int, voice: Voice, *, averages: bool) -> Dim:
    """The dimension of a result that reads this one through a map.

    averages: whether the op makes the same of what is the same (copies, interpolation)

    Raises BreaksError where the result does not follow.
    """
    index, border, size = along.map, along.border, size_of(dim)
    if index.is_identity and size == after:
        return dim
    if not moves(dim):
        inside = _inside(index, after, size) or border is not Border.DROP
        alike = averages or (isinstance(index, AxisMap) and index.period == 1)
        return uniform(after) if is_uniform(dim) and inside and alike else stays(after)
    if has_spectrum(dim):
        return _prefix(dim, index, border, after, voice.about(along))
    many = len(dim) > 1 or len(dim[0]) > 1
    if many and isinstance(index, AxisMap) and _is_shift(index) and border is Border.DROP:
        return _shifted(dim, index.offsets[0].first, after, voice.about(along))
    window = as_window(dim, voice.about(along))
    assert isinstance(window, Moving)
    if isinstance(index, Table):
        index, border = regular(index, window, border)
    name = (voice.name, along.dim)
    return ((stretched(window, index, border, after, name, voice.about(along)),),)


def _prefix(dim: Dim, index: AxisMap | Table, border: Border, after: int, tell: Tell) -> Dim:
    """The first frequencies; zeros for more of them than there are."""
    if not index.is_identity or border is not Border.DROP or len(dim) > 1 or len(dim[0]) > 1:
        raise BreaksError(Fault("it moves frequencies to other places"))
    return ((resized(dim[0][0], 0, after, tell),),)


def _is_shift(index: AxisMap) -> bool:
    return index.advance == index.period == 1 and index.is_single and bool(index.offsets[0])


def _inside(index: AxisMap | Table, after: int, size: int) -> bool:
    reach = index.reach(after)
    return reach.start >= 0 and reach.stop <= size


def _shifted(dim: Dim, start: int, after: int, tell: Tell) -> Dim:
    """Position j reads j + start; where there is nothing to read stands what does not move."""
    size = size_of(dim)
    first, last = max(start, 0), min(start + after, size)
    if first >= last:
        return stays(after)
    before, behind = first - start, start + after - last
    parts = [*([(Still(before),)] if before else []), *cropped(dim, first, last, tell)]
    return side_by_side([*parts, *([(Still(behind),)] if behind else [])], tell)


def regular(table: Table, window: Moving, border: Border) -> tuple[AxisMap, Border]:
    """The regular map that a table is, on a whole window perhaps up to turns.

    Raises BreaksError where it is none.
    """
    rows = table.rows
    turn = window.turn if window.whole else None
    if turn is not None:
        rows = tuple(row.modulo(turn) for row in rows)
    for period in range(1, len(rows) // 2 + 1):
        if not rows[0] or not rows[period]:
            continue
        advance = table.rows[period].first - table.rows[0].first
        if all(
            _same_row(rows[i + period], rows[i], advance, turn) for i in range(len(rows) - period)
        ):
            return _regular_map(
                table, advance, period, turn
            ), border if turn is None else Border.WRAP
    raise BreaksError(Fault("it reads positions in no regular order"))


def _same_row(row: IndexSet, other: IndexSet, advance: int, turn: int | None) -> bool:
    moved = other.shift(advance)
    return row == (moved if turn is None else moved.modulo(turn))


def _regular_map(table: Table, advance: int, period: int, turn: int | None) -> AxisMap:
    if turn is not None:
        advance = (advance + turn // 2) % turn - turn // 2
    return AxisMap(advance, table.rows[:period])


def as_window(dim: Dim, tell: Tell) -> Digit:
    """The whole dimension as one digit: of several parts the one that moves and is longest.

    Raises BreaksError where a digit that is not the leading one of its part moves.
    """
    digits = [merged(part) for part in dim]
    for part, digit in zip(dim, digits, strict=True):
        if digit is None:
            raise BreaksError(
                Fault("it reads neighbours in a row-major index, across the ends of rows"),
                *(fault for moving in movers_of((part,)) for _, fault in moving.faults),
            )
    if len(digits) == 1:
        assert digits[0] is not None
        return digits[0]
    size, start = size_of(dim), 0
    found: list[Moving] = []
    for digit in digits:
        assert digit is not None
        if isinstance(digit, Moving):
            clean = digit.clean.shift(start)
            found.append(replace(digit, size=size, clean=clean, at=digit.at - start))
        start += digit.size
    if not found:
        return Same(size) if is_uniform(dim) and len(dim) == 1 else Still(size)
    best = max(found, key=lambda moving: moving.clean.count)
    return blamed(best, found, tell)


def cropped(dim: Dim, start: int, stop: int, tell: Tell) -> Dim:
    """The positions [start, stop) of a dimension.

    Raises BreaksError where an end falls inside a block of digits of which some move.
    """
    parts: list[Part] = []
    place = 0
    for part in dim:
        size = length(part)
        first, last = max(start - place, 0), min(stop - place, size)
        if first < last:
            parts.append(part if last - first == size else _cropped(part, first, last, tell))
        place += size
    return tuple(parts)


def _cropped(part: Part, start: int, stop: int, tell: Tell) -> Part:
    tail = length(part[1:])
    if start % tail == 0 == stop % tail:
        return (resized(part[0], start // tail, stop // tail, tell), *part[1:])
    digit = merged(part)
    if digit is None:
        raise BreaksError(Fault("it cuts a row-major index inside a row"))
    return (resized(digit, start, stop, tell),)


# -------------------------------------------------------------------- reshapes


def reshaped(layout: Layout, before: Shape, after: Shape, voice: Voice) -> Layout:
    """The layout of a row-major reshape.  Raises BreaksError where it cuts across rows."""
    dims: list[Dim] = [uniform(1)] * len(after)
    for old, new in groups_of(before, after):
        if len(old) == len(new) == 1:
            dims[new[0]] = layout[old[0]]
            continue
        sizes = after[new.start : new.stop]
        taken = _regrouped([layout[dim] for dim in old], sizes, voice, new.start)
        for place, part in zip(new, taken, strict=True):
            dims[place] = part
    return tuple(dims)


def _regrouped(old: Sequence[Dim], sizes: Sequence[int], voice: Voice, first: int) -> list[Dim]:
    """The digits of a group of dimensions, cut at the borders of the new ones."""
    if any(moving.size == 1 for dim in old for moving in movers_of(dim)):
        raise BreaksError(Fault("it drops the only position that is left of the axis"))
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
            for d in (dim[0] if len(dim) == 1 else (as_window(dim, voice.about()),))
        )
    )
    if len(digits) > 1 and regroup([d.size for d in digits], sizes) is None:
        digits = _merged_runs(digits)
    groups = regroup([digit.size for digit in digits], sizes)
    if groups is None:
        raise BreaksError(Fault("it is a reshape that cuts across rows"))
    pieces = _pieces(digits, groups, voice, first)
    return [((tuple(next(pieces) for _ in group) or (Same(1),)),) for group in groups]


def _merged_runs(digits: Part) -> Part:
    """Every moving digit together with those that follow it and stay."""
    runs: list[Part] = []
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
    digits: Part, groups: Sequence[Sequence[tuple[int, int]]], voice: Voice, first: int
) -> Iterator[Digit]:
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
            name = (voice.name, first, number)
            yield cut(digit, prod(tail), name, voice.about()) if tail else digit
            yield from map(Still, tail)
        else:
            yield from (replace(digit, size=size) for size in (lead, *tail))


# -------------------------------------------------------------------- element-wise joins


def joined(one: Dim, two: Dim, voice: Voice, place: int) -> Dim:
    """What an element-wise op makes of two dimensions of equal size.

    Raises BreaksError where one moves and the other varies without moving, or at another rate.
    """
    if one == two or is_uniform(two):
        return one
    if is_uniform(one):
        return two
    ends = sorted({*_ends(one), *_ends(two)})
    tell = voice.about()
    parts: list[Part] = []
    for start, stop in zip([0, *ends], ends, strict=False):
        left, right = (cropped(dim, start, stop, tell) for dim in (one, two))
        parts.append(_joined_parts(left[0], right[0], voice, place))
    return tuple(parts)


def _ends(dim: Dim) -> Iterator[int]:
    place = 0
    for part in dim:
        place += length(part)
        yield place


def _joined_parts(one: Part, two: Part, voice: Voice, place: int) -> Part:
    if all(isinstance(digit, Same) for digit in two):
        return one
    if all(isinstance(digit, Same) for digit in one):
        return two
    if not any(isinstance(digit, Moving | Spectrum) for digit in (*one, *two)):
        return _joined_still(one, two)
    one, two = _common(one, two, voice, place)
    return tuple(
        _joined_digits(a, b, (voice.name, place, n), voice.about())
        for n, (a, b) in enumerate(zip(one, two, strict=True))
    )


def _joined_still(one: Part, two: Part) -> Part:
    if [digit.size for digit in one] != [digit.size for digit in two]:
        return (Still(length(one)),)
    return tuple(a if isinstance(a, Still) else b for a, b in zip(one, two, strict=True))


def _common(one: Part, two: Part, voice: Voice, place: int) -> tuple[Part, Part]:
    """Two parts cut into digits of the same sizes."""
    one, two = without_ones(one), without_ones(two)
    sizes, others = [d.size for d in one], [d.size for d in two]
    if sizes == others:
        return one, two
    for digits, target in ((one, others), (two, sizes)):
        groups = regroup([digit.size for digit in digits], target)
        if groups is not None and all(len(group) == 1 for group in groups):
            finer = tuple(_pieces(digits, groups, voice, place))
            return (finer, two) if digits is one else (one, finer)
    left, right = merged(one), merged(two)
    if left is None or right is None:
        raise BreaksError(_meets_still())
    return (left,), (right,)


def _joined_digits(one: Digit, two: Digit, name: tuple[object, ...], tell: Tell) -> Digit:
    if isinstance(one, Same):
        return two
    if isinstance(two, Same):
        return one
    if isinstance(one, Moving) and isinstance(two, Moving):
        return met(one, two, name, tell)
    if isinstance(one, Spectrum) and isinstance(two, Still):
        return one
    if isinstance(two, Spectrum) and isinstance(one, Still):
        return two
    if one != two:
        raise BreaksError(_meets_still())
    return one


def _meets_still() -> Fault:
    return Fault("it joins what moves with what varies along the axis and does not move")
