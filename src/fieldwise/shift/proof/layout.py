"""How the dimensions of a value factor into digits, and what each digit does under a shift.

A dimension is a row of *parts* (a class token, then the patches), a part a mixed-radix index of
digits (row and column of a patch; see ``axes.digits``).  Most dimensions have one part of one
digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.graph.ir import Along, Shape
from fieldwise.shift.proof.signal import (
    BreaksError,
    DigitGroup,
    Explain,
    Fault,
    Moving,
    Same,
    SignalDigit,
    Still,
    length,
    merged,
    stretched,
    with_faults,
)
from fieldwise.shift.proof.spectrum import Spectrum
from fieldwise.shift.proof.windows import resized, side_by_side

Dim = tuple[DigitGroup, ...]
Layout = tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class Explainer:
    """Explains the faults of one op.

    name:    of its result
    explain: why a window is not whole after it
    """

    name: str
    explain: Callable[[str, Moving, Along | None], Fault]

    def about(self, along: Along | None = None) -> Explain:
        """The reasons of one read."""
        return lambda condition, moving: self.explain(condition, moving, along)


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
    return any(isinstance(digit, (Moving, Spectrum)) for part in dim for digit in part)


def has_spectrum(dim: Dim) -> bool:
    """Whether a dimension holds frequencies."""
    return any(isinstance(digit, Spectrum) for part in dim for digit in part)


def is_uniform(dim: Dim) -> bool:
    """Whether nothing varies along a dimension."""
    return len(dim) == 1 and all(isinstance(digit, Same) for digit in dim[0])


def period_of(layout: Layout) -> int:
    """The least shift under which every digit is known to move as described."""
    return lcm(*(digit.period for digit in movers(layout)))


def size_of(dim: Dim) -> int:
    """The number of positions of a dimension."""
    return sum(map(length, dim))


# -------------------------------------------------------------------- reading a dimension


def read_along(dim: Dim, along: Along, after: int, explainer: Explainer, *, averages: bool) -> Dim:
    """The dimension of a result that reads this one through a map.

    averages: whether the op makes the same of what is the same (copies, interpolation)

    Raises BreaksError where the result does not follow.
    """
    index, border, size = along.map, along.border, size_of(dim)
    if along.keeps(size, after):
        return dim
    if not moves(dim):
        inside = _inside(index, after, size) or border is not Border.DROP
        alike = averages or (isinstance(index, AxisMap) and index.period == 1)
        return uniform(after) if is_uniform(dim) and inside and alike else stays(after)
    if has_spectrum(dim):
        return _frequencies(dim, index, border, after)
    many = len(dim) > 1 or len(dim[0]) > 1
    if many and isinstance(index, AxisMap) and _is_shift(index) and border is Border.DROP:
        return _shifted(dim, index.offsets[0].first, after, explainer.about(along))
    window = as_window(dim, explainer.about(along))
    assert isinstance(window, Moving)
    if isinstance(index, Table):
        index, border = regular(index, window, border)
    name = (explainer.name, along.dim)
    return ((stretched(window, index, border, after, name, explainer.about(along)),),)


def _frequencies(dim: Dim, index: AxisMap | Table, border: Border, after: int) -> Dim:
    """Frequencies in another order or number, with zeros for those that there are not."""
    digit = dim[0][0]
    if len(dim) > 1 or len(dim[0]) > 1 or not isinstance(digit, Spectrum) or not index.is_single:
        raise BreaksError(Fault("it mixes frequencies", known=False))
    plain = isinstance(index, AxisMap) and _is_shift(index) and border is Border.DROP
    if plain and digit.order is None:
        assert isinstance(index, AxisMap)
        return ((replace(digit, size=after, first=digit.first + index.offsets[0].first),),)
    landed = (border.land(index(position), digit.size) for position in range(after))
    return ((digit.picked([one.first if one else None for one in landed]),),)


def _is_shift(index: AxisMap) -> bool:
    return index.advance == index.period == 1 and index.is_single and bool(index.offsets[0])


def _inside(index: AxisMap | Table, after: int, size: int) -> bool:
    reach = index.reach(after)
    return reach.start >= 0 and reach.stop <= size


def _shifted(dim: Dim, start: int, after: int, explain: Explain) -> Dim:
    """Position j reads j + start; where there is nothing to read stands what does not move."""
    size = size_of(dim)
    first, last = max(start, 0), min(start + after, size)
    if first >= last:
        return stays(after)
    before, behind = first - start, start + after - last
    parts = [*([(Still(before),)] if before else []), *cropped(dim, first, last, explain)]
    return side_by_side([*parts, *([(Still(behind),)] if behind else [])], explain)


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
        for place in table.rows[period] if turn is not None else (table.rows[period].first,):
            advance = place - table.rows[0].first
            if all(
                _same_row(rows[i + period], rows[i], advance, turn)
                for i in range(len(rows) - period)
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


def as_window(dim: Dim, explain: Explain) -> SignalDigit:
    """The whole dimension as one digit: of several parts the one that moves and is longest.

    Raises BreaksError where a digit that is not the leading one of its part moves.
    """
    digits = [merged(part) for part in dim]
    for part, digit in zip(dim, digits, strict=True):
        if digit is None:
            raise BreaksError(
                Fault(
                    "it reads neighbours in a row-major index, across the ends of rows", known=False
                ),
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
        return Still(size)
    best = max(found, key=lambda moving: moving.clean.count)
    return with_faults(best, found, explain if len(found) == 1 else _across_pieces(explain))


def _across_pieces(explain: Explain) -> Explain:
    why = "it reads across pieces of several signals"
    return lambda *window: replace(explain(*window), why=why, remedy=None, known=False)


def cropped(dim: Dim, start: int, stop: int, explain: Explain) -> Dim:
    """The positions [start, stop) of a dimension.

    Raises BreaksError where an end falls inside a block of digits of which some move.
    """
    parts: list[DigitGroup] = []
    place = 0
    for part in dim:
        size = length(part)
        first, last = max(start - place, 0), min(stop - place, size)
        if first < last:
            parts.append(part if last - first == size else _cropped(part, first, last, explain))
        place += size
    return tuple(parts)


def _cropped(part: DigitGroup, start: int, stop: int, explain: Explain) -> DigitGroup:
    tail = length(part[1:])
    if start % tail == 0 == stop % tail:
        return (resized(part[0], start // tail, stop // tail, explain), *part[1:])
    digit = merged(part)
    if digit is None:
        raise BreaksError(Fault("it cuts a row-major index inside a row", known=False))
    return (resized(digit, start, stop, explain),)
