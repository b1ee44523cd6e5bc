"""Which positions of a crop's value hold what which positions of the whole image's value hold.

Along one digit of a value's dimension, a *match* is a set of index pairs (i, j): position i of the
crop's value is position j of the whole's.  The pairs are kept by their distance j − i, which takes
few values: one for a crop, two for a crop from whose middle something was cut out.  A value of
the crop equals the whole's at every position all of whose indices are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import lcm, prod

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.graph.ir import Along

Pairs = tuple[tuple[int, IndexSet], ...]


@dataclass(frozen=True, slots=True)
class Match:
    """The pairs of one digit: per distance j − i, the positions i of the crop's value.

    crop, whole: the sizes of the digit in either value
    pairs:       None where every position holds the same, so that any two match
    """

    crop: int
    whole: int
    pairs: Pairs | None = ()

    @classmethod
    def same(cls, size: int) -> Match:
        """Position i is position i, for all."""
        return cls(size, size, ((0, IndexSet.range(0, size)),))

    @classmethod
    def of(cls, crop: int, whole: int, pairs: dict[int, IndexSet]) -> Match:
        """The pairs that are not empty, in order."""
        return cls(crop, whole, tuple(sorted((d, good) for d, good in pairs.items() if good)))

    @classmethod
    def cut(cls, segments: Sequence[tuple[int, int]], whole: int) -> Match:
        """A crop that is put together from these intervals [start, stop) of the whole.

        >>> Match.cut([(0, 4), (12, 16)], 16).pairs
        ((0, IndexSet{0..3}), (8, IndexSet{4..7}))
        """
        pairs: dict[int, IndexSet] = {}
        at = 0
        for start, stop in segments:
            here = IndexSet.range(at, at + stop - start)
            pairs[start - at] = pairs.get(start - at, IndexSet()) | here
            at += stop - start
        return cls.of(at, whole, pairs)

    @property
    def is_same(self) -> bool:
        """Whether position i is position i, for all."""
        if self.crop != self.whole:
            return False
        return self.pairs is None or dict(self.pairs).get(0, IndexSet()).count == self.crop

    @property
    def empty(self) -> bool:
        """Whether no position is paired."""
        return self.pairs == ()

    def holds(self, crop: int, whole: int) -> bool:
        """Whether these two positions are paired."""
        if self.pairs is None:
            return True
        return any(d == whole - crop and crop in good for d, good in self.pairs)

    def at(self, distance: int) -> IndexSet:
        """The positions of the crop that are paired at this distance."""
        if self.pairs is None:
            low, high = max(0, -distance), min(self.crop, self.whole - distance)
            return IndexSet.range(low, high)
        return next((good for d, good in self.pairs if d == distance), IndexSet())

    def distances(self) -> tuple[int, ...]:
        """The distances at which there are pairs."""
        return tuple(d for d, _ in self.pairs or ())


MatchedDim = tuple[Match, ...]
"""The digits of one dimension, the leading one first."""

Matches = tuple[MatchedDim, ...]
"""The digits of every dimension of a value."""


def same(shape: Sequence[int]) -> Matches:
    """Values of the same shape that are equal."""
    return tuple((Match.same(size),) for size in shape)


def single(dim: MatchedDim) -> Match:
    """All digits as one.

    >>> single((Match(2, 3, ((1, IndexSet.range(0, 2)),)), Match.same(4))).pairs
    ((4, IndexSet{0..7}),)
    """
    if len(dim) == 1:
        return dim[0]
    crop, whole = prod(digit.crop for digit in dim), prod(digit.whole for digit in dim)
    lead, *rest = dim
    if all(digit.is_same for digit in dim):
        return Match.same(crop)
    if not all(digit.is_same for digit in rest) or lead.pairs is None:
        return Match(crop, whole)
    width = prod(digit.crop for digit in rest)
    run = IndexSet.range(0, width)
    return Match.of(
        crop, whole, {d * width: good.scale(width).minkowski(run) for d, good in lead.pairs}
    )


def split(match: Match, crop: int, whole: int, width: int) -> Match:
    """The leading part, of sizes ``crop`` and ``whole``, of a digit cut before its last ``width``.

    A leading position is paired where all its ``width`` positions are.
    """
    if match.pairs is None:
        return Match(crop, whole, None)
    pairs = {}
    for distance, good in match.pairs:
        if distance % width == 0:
            bad = IndexSet.range(0, match.crop) - good
            lost = AxisMap(width, (IndexSet.range(0, width),)).push(bad, crop)
            pairs[distance // width] = IndexSet.range(0, crop) - lost
    return Match.of(crop, whole, pairs)


# -------------------------------------------------------------------- through an index map


def carried(match: Match, along: tuple[Along, Along], after: tuple[int, int]) -> Match:
    """The pairs of a result that reads an operand: ``along`` and ``after`` of (crop, whole).

    Two result positions are paired where they read through the same taps, and every tap lands on
    paired positions or falls equally far off the same end.
    """
    (one, two), (crop, whole) = along, after
    if one.keeps(match.crop, after[0]) and two.keeps(match.whole, after[1]):
        return match
    if one.border is not two.border or match.pairs is None:
        return Match(crop, whole)
    if match.is_same and one == two and crop == whole:
        return Match.same(crop)  # the same indices of what is the same
    found: dict[int, IndexSet] = {}
    reach = one.map.reach(crop)
    for distance in {*match.distances(), *_ends(match, reach, one.border)}:
        for moved, alike in _moved(one.map, two.map, distance, after):
            taps = IndexSet.range(reach.start, reach.stop)
            bad = taps - _sound(match, distance, reach, one.border)
            good = alike - one.map.push(bad, crop)
            found[moved] = found.get(moved, IndexSet()) | good
    return Match.of(crop, whole, found)


def _ends(match: Match, reach: range, border: Border) -> Iterator[int]:
    """The distances at which what is padded at either end may be alike, whatever is inside."""
    if border is Border.DROP and reach.start < 0:
        yield 0
    if border is Border.DROP and reach.stop > match.crop:
        yield match.whole - match.crop


def _moved(
    one: AxisMap | Table, two: AxisMap | Table, distance: int, after: tuple[int, int]
) -> Iterator[tuple[int, IndexSet]]:
    """The distances of results whose taps lie ``distance`` apart, and for which positions.

    Position i of the crop's result reads one(i), position i + moved of the whole's two(i + moved);
    they are alike where the second is the first, shifted by ``distance``.
    """
    crop, whole = after
    if crop == 0 or whole == 0:
        return
    if isinstance(one, AxisMap) and isinstance(two, AxisMap):
        moved = _moved_regular(one, two, distance)
        candidates = [] if moved is None else [moved]
        rows = range(min(lcm(one.period, two.period), crop))
    else:
        middle = crop // 2
        target = one(middle).shift(distance)
        candidates = [j - middle for j in range(whole) if two(j) == target]
        rows = range(crop)
    for moved in candidates:
        inside = IndexSet.range(max(0, -moved), min(crop, whole - moved))
        alike = IndexSet.of(i for i in rows if two(i + moved) == one(i).shift(distance))
        if len(rows) < crop:
            yield moved, inside if alike.count == len(rows) else IndexSet()
        else:
            yield moved, alike & inside


def _moved_regular(one: AxisMap, two: AxisMap, distance: int) -> int | None:
    phase = next((r for r, offset in enumerate(one.offsets) if offset), None)
    if phase is None or one.rate != two.rate or not one.advance:
        return None
    target = one.offsets[phase].shift(distance)
    for r, offset in enumerate(two.offsets):
        if offset:
            turns, rest = divmod(target.first - offset.first, two.advance)
            if rest == 0 and offset.shift(turns * two.advance) == target:
                return turns * two.period + r - phase
    return None


def _sound(match: Match, distance: int, reach: range, border: Border) -> IndexSet:
    """The taps t of ``reach`` that read in the crop what t + distance reads in the whole."""
    sound = match.at(distance)
    before = IndexSet.range(reach.start, min(0, reach.stop))
    behind = IndexSet.range(match.crop, reach.stop)
    if border is Border.DROP:
        sound = sound | before if distance == 0 else sound
        return sound | behind if match.crop + distance == match.whole else sound
    beyond = IndexSet.range(0, match.crop) - IndexSet.range(-distance, match.whole - distance)
    landed = [
        t
        for t in before | behind | beyond
        if match.holds(_land(border, t, match.crop), _land(border, t + distance, match.whole))
    ]
    return sound | IndexSet.of(landed)


def _land(border: Border, tap: int, size: int) -> int:
    return border.land(IndexSet(tap, 1), size).first
