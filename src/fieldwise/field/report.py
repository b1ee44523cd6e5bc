"""What the field analysis found, as frozen data.  Views draw it; nothing here computes.

Positions and lengths are counted in input samples along an axis ('pixels' of an image, samples
of audio, slices of a volume).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from fieldwise.axes import AnySet, AxisMap, IndexSet

N = TypeVar("N", int, Fraction)


@dataclass(frozen=True, slots=True)
class AxisField:
    """The closed form of a value's field along one input axis.

    axis:    the input dimension it speaks of
    extent:  last − first + 1, the largest over the phases; None on a full axis, and where a field
             has no first or no last index
    count:   samples without the holes, the largest over the phases; None likewise
    stride:  how far the field moves in the input when the unit moves by one
    start:   first input index of unit 0 (negative: in the padding)
    centre:  middle of unit 0's field
    period:  after so many units the pattern of offsets repeats (1 for a plain chain)
    full:    a global operation made it see the whole axis
    full_by: the name of the first value that did
    clipped: extent of the middle unit's field inside this input (the extent itself knows no
             border)
    past:    it sees all that came before (a recurrent layer, a running sum), at any input size
    future:  it sees all that comes
    map:     the closed form itself, where the axis is not full
    least:   the smallest extent of a unit, where units differ and no period says how (a
             concatenation along the axis, a running sum): ``extent`` is then the largest, and
             ``stride`` and ``period`` are None; of a piece's units also where a period says how
    """

    axis: int
    extent: int | None = None
    count: int | None = None
    stride: Fraction | None = None
    start: int | None = None
    centre: Fraction | None = None
    period: int | None = None
    full: bool = False
    full_by: str | None = None
    clipped: int | None = None
    map: AxisMap[AnySet] | None = None
    least: int | None = None
    past: bool = False
    future: bool = False

    @property
    def context(self) -> tuple[tuple[Fraction | None, Fraction | None], ...]:
        """Per phase, the samples (left, right) of the unit's own position that it sees.

        One (size, stride, start) triple is not the answer for networks that upsample.  None stands
        where there is no end.
        """
        if self.map is None or self.stride != self.map.rate:
            return ()
        rate = self.map.rate
        return tuple(
            (_ahead(rate * phase, offset.first, -1), _ahead(rate * phase, offset.last, 1))
            if offset
            else (Fraction(0), Fraction(0))
            for phase, offset in enumerate(self.map.offsets)
        )

    @property
    def look_ahead(self) -> Fraction | None:
        """How far it sees beyond the unit's own position; None where that has no bound.

        Negative where it lags behind.  A stream has to wait for as many samples.
        """
        return largest([right for _, right in self.context])

    @property
    def causal(self) -> bool:
        """Whether it sees nothing beyond the unit's own position."""
        ahead = self.look_ahead
        return ahead is not None and ahead <= 0


def largest(numbers: Sequence[N | None]) -> N | None:
    """The largest; None where one of them is not known, and where there are none.

    >>> largest([3, 5]), largest([3, None])
    (5, None)
    """
    known = [number for number in numbers if number is not None]
    return max(known) if known and len(known) == len(numbers) else None


def _ahead(position: Fraction, index: int | None, sign: int) -> Fraction | None:
    return None if index is None else sign * (index - position)


@dataclass(frozen=True, slots=True)
class Piece:
    """The field of some units of a value whose units are of several kinds.

    units:    per unit dimension the indices of the units that it speaks of
    axes:     as of a row, but that ``start`` and ``centre`` are those of the piece's first unit;
              where rows and columns were flattened into one dimension, ``stride`` is that from one
              row or column to the next, and ``map`` takes the flat index
    products: how many products of index sets the field of such a unit is a union of
    why:      what makes it inexact, or None
    local:    as of a row
    of_unit:  the only unit of the piece that the numbers speak of, where no form of all is short
    """

    units: tuple[IndexSet, ...]
    axes: tuple[AxisField, ...]
    products: int = 1
    why: str | None = None
    local: tuple[AxisField, ...] | None = None
    of_unit: tuple[int, ...] | None = None

    @property
    def exact(self) -> bool:
        """Whether the field is exactly this; else it is an upper bound, see ``why``."""
        return self.why is None


@dataclass(frozen=True, slots=True)
class Row:
    """The field of one value: one row of a report.

    name:         the value's name: its module's path, or 'path/op' inside a container
    op, module:   the operation that made it and the innermost module that ran it
    shape:        of the value
    axes:         one AxisField per spatial axis of the input
    products:     how many products of index sets the field is a union of (1: a rectangle)
    exact:        whether the field is exactly this; else it is an upper bound, see ``why``
    why:          what makes it inexact, or None
    misaligned:   the join at which branches of different strides meet, or None
    at_this_size: no form independent of the input size exists: true 'at this input size'
    local:        with ignore_global, the field through the local paths alone; None where
                  every path goes through a global operation
    aliases:      the module paths that returned this value, containers included
    pieces:       where the value's units are of several kinds (values concatenated along a
                  reported axis, a written slice, picked indices), one entry per kind; the row's
                  own extents are then the largest and the least of all, and an axis along which
                  the kinds differ has no stride and no start
    of_unit:      the only unit that the numbers speak of, where neither a form of all units nor
                  pieces are short enough; None otherwise
    """

    name: str
    op: str
    module: str
    shape: tuple[int, ...]
    axes: tuple[AxisField, ...]
    products: int = 1
    exact: bool = True
    why: str | None = None
    misaligned: str | None = None
    at_this_size: bool = False
    local: tuple[AxisField, ...] | None = None
    aliases: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()
    of_unit: tuple[int, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All that stands for the value, ``name`` first."""
        return tuple(dict.fromkeys((self.name, *self.aliases)))

    @property
    def extent(self) -> tuple[int | None, ...]:
        """The extent per axis, the largest where units differ; None on a full axis."""
        return tuple(axis.extent for axis in self.axes)

    @property
    def count(self) -> tuple[int | None, ...]:
        """The samples without holes per axis; None on a full axis."""
        return tuple(axis.count for axis in self.axes)

    @property
    def stride(self) -> tuple[Fraction | None, ...]:
        """The stride per axis; None on a full axis."""
        return tuple(axis.stride for axis in self.axes)

    @property
    def start(self) -> tuple[int | None, ...]:
        """The first index of unit 0 per axis; None on a full axis."""
        return tuple(axis.start for axis in self.axes)

    @property
    def period(self) -> tuple[int | None, ...]:
        """The period per axis; None on a full axis."""
        return tuple(axis.period for axis in self.axes)

    @property
    def full(self) -> tuple[bool, ...]:
        """Per axis, whether a global operation made the value see all of it."""
        return tuple(axis.full for axis in self.axes)
