"""From products to numbers: extent, count, stride and start of some units, per source axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import islice, pairwise
from math import gcd, prod

from fieldwise.axes import EMPTY, AnySet, AxisMap, IndexSet, Tailed
from fieldwise.axes.digits import subindex
from fieldwise.field.pieces import is_written_out, length
from fieldwise.field.products import Digit, DigitLayout, Product, Track, over
from fieldwise.field.report import AxisField, largest
from fieldwise.graph.ir import Shape

UnitPart = Mapping[int, IndexSet]
"""Some of the units: their indices by unit dimension."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The value whose units are described, and the source in which they see.

    layout:  of the value; dims: its unit dimensions
    axes:    of the source; source: its shape
    full_by: per axis, the first value on the way that saw all of it
    """

    layout: DigitLayout
    dims: Sequence[int]
    axes: Sequence[int]
    source: Shape
    full_by: Sequence[str | None]

    @property
    def middle(self) -> dict[int, int]:
        """The middle unit, by unit dimension."""
        return {dim: length(self.layout, dim) // 2 for dim in self.dims}


def fields(
    scene: Scene, products: Sequence[Product], part: UnitPart | None
) -> tuple[AxisField, ...]:
    """What these units see through these products; ``part`` is None for all units.

    Tracks that move at different rates have no common map.  Where they hold at this size only they
    are written out for it, unless there are too many units: that axis is left without numbers.
    """
    sized = any(product.sized for product in products)
    flat = _flattened(products)
    found = []
    for position, axis in enumerate(scene.axes):
        tracks = [product.tracks[position] for product in products]
        if any(track.map.is_global for track in tracks):
            found.append(AxisField(axis, full=True, full_by=scene.full_by[position]))
        elif not tracks:
            found.append(AxisField(axis, extent=0, count=0, clipped=0))
        else:
            together = any(track.digits in flat for track in tracks)
            found.append(_bounded(scene, axis, tracks, part, sized=sized, flat=together))
    return tuple(found)


def of_one(
    scene: Scene, products: Sequence[Product], unit: Mapping[int, int]
) -> tuple[AxisField, ...]:
    """What one unit sees, where no description of all units exists."""
    places = places_of(unit, scene.layout)
    found = []
    for position, axis in enumerate(scene.axes):
        size = scene.source[axis]
        tracks = [product.tracks[position] for product in products]
        if any(track.map.is_global for track in tracks):
            found.append(AxisField(axis, full=True, full_by=scene.full_by[position]))
            continue
        seen: AnySet = EMPTY
        for track in tracks:
            seen = seen | _evaluated(track, places, scene.layout)
        clipped = seen.clip(size).extent
        if isinstance(seen, Tailed):
            past, future = bool(seen.left), bool(seen.right)
            found.append(AxisField(axis, clipped=clipped, past=past, future=future))
        else:
            found.append(AxisField(axis, extent=seen.extent, count=seen.count, clipped=clipped))
    return tuple(found)


def combined(parts: Sequence[tuple[AxisField, ...]]) -> tuple[AxisField, ...]:
    """One field per axis for units of several kinds: the largest extent, the least beside it.

    No stride and no start: those of one kind are not those of another.
    """
    found = []
    for sides in zip(*parts, strict=True):
        first = sides[0]
        past, future = any(side.past for side in sides), any(side.future for side in sides)
        bounded = [side for side in sides if not (side.full or side.past or side.future)]
        extents = [side.extent for side in bounded if side.extent is not None]
        lows = [side.extent if side.least is None else side.least for side in bounded]
        known = len(extents) == len(bounded)
        full = next((side for side in sides if side.full), None)
        ends = full is None and not past and not future
        numbers = [low for low in lows if low is not None]
        extent = max(extents) if known and ends else None
        least = min(numbers) if known and numbers else None
        found.append(
            AxisField(
                first.axis,
                extent=extent,
                least=None if least == extent else least,
                count=largest([side.count for side in bounded]) if ends else None,
                clipped=largest([side.clipped for side in sides]) if full is None else None,
                past=past and full is None,
                future=future and full is None,
                full=full is not None,
                full_by=None if full is None else full.full_by,
            )
        )
    return tuple(found)


# -------------------------------------------------------------------- one axis


def _bounded(
    scene: Scene,
    axis: int,
    tracks: Sequence[Track],
    part: UnitPart | None,
    *,
    sized: bool,
    flat: bool,
) -> AxisField:
    layout, size = scene.layout, scene.source[axis]
    digits = _all_digits(axis, tracks, layout)
    units = prod(layout[dim][place][0] for dim, place in digits)
    maps = [_over(track, digits, layout) for track in tracks]
    known = [index for index in maps if index is not None]
    if len(known) < len(maps):
        return AxisField(axis)
    union = _united(tuple(known))
    if union is None and sized and units <= _WRITTEN:
        union = _written_out(tuple(known), units, size)
    if union is None:
        past, future = (any(getattr(index, end) for index in known) for end in ("past", "future"))
        return AxisField(axis, past=past, future=future)
    positions = None if part is None else _positions(digits, part, layout)
    return _described(axis, union, units, positions, size, sized=sized, flat=flat)


def _over(track: Track, digits: tuple[Digit, ...], layout: DigitLayout) -> AxisMap[AnySet] | None:
    """``over``, where the map is not too long to be told."""
    if track.digits == digits:
        return track.map
    others = prod(layout[dim][place][0] for dim, place in digits[1:])
    return None if track.map.period * others > _LONG else over(track, digits, layout)


@lru_cache(maxsize=1 << 10)
def _united(maps: tuple[AxisMap[AnySet], ...]) -> AxisMap[AnySet] | None:
    union: AxisMap[AnySet] | None = maps[0]
    for index in maps[1:]:
        union = None if union is None else union.union(index)
    return union


@lru_cache(maxsize=1 << 8)
def _written_out(maps: tuple[AxisMap[AnySet], ...], units: int, size: int) -> AxisMap[AnySet]:
    """What all of them read, unit by unit; the advance is never taken."""
    rows = []
    for unit in range(units):
        seen: AnySet = EMPTY
        for index in maps:
            seen = seen | index(unit)
        rows.append(seen)
    return AxisMap(size, tuple(rows))


def _all_digits(axis: int, tracks: Sequence[Track], layout: DigitLayout) -> tuple[Digit, ...]:
    """The digits that say where a unit is along a source axis, in their order.

    A window's field depends on the window alone, yet its units are counted one by one.
    """
    widest = max((track.digits for track in tracks), key=len, default=())
    stems = tuple(
        (dim, place)
        for dim, digits in enumerate(layout)
        for place, (size, stem) in enumerate(digits)
        if stem == 1 << axis and size > 1
    )
    return stems if set(widest) <= set(stems) else widest


def _positions(digits: Sequence[Digit], part: UnitPart, layout: DigitLayout) -> IndexSet | None:
    """The indices over these digits that the units have; None where they are not followed."""
    found, dims = IndexSet(0, 1), [dim for dim, _ in digits]
    for dim in dict.fromkeys(dims):
        places = tuple(place for other, place in digits if other == dim)
        run = dims[dims.index(dim) : dims.index(dim) + len(places)]
        if dim not in part or run != [dim] * len(places) or list(places) != sorted(places):
            return None
        sizes = tuple(size for size, _ in layout[dim])
        width = prod(sizes[place] for place in places)
        found = found.scale(width).minkowski(subindex(sizes, places).pull(part[dim]))
    return found


def _flattened(products: Sequence[Product]) -> set[tuple[Digit, ...]]:
    """Digits that several axes follow: rows and columns in one dimension."""
    found: set[tuple[Digit, ...]] = set()
    for product in products:
        followed = [track.digits for track in product.tracks if track.digits]
        if len(set(followed)) < len(followed):
            found.update(digits for digits in followed if followed.count(digits) > 1)
    return found


def _stride(index: AxisMap[AnySet], at: int, *, flat: bool) -> Fraction | None:
    """How far the field moves from one unit to the next, from one row or column where flattened.

    Row i // 16 moves on with every sixteenth unit, column i mod 16 comes round again and again.
    """
    follows_blocks = index.period > 1 and (flat or index.advance == 0)
    return _step_of_blocks(index, at) if follows_blocks else index.rate


def _step_of_blocks(index: AxisMap[AnySet], at: int) -> Fraction | None:
    """How far a block of units that see the same is from the next; None where that is not even.

    Behind an upsampling several blocks make one step, which then is that of a block on average.

    >>> columns = AxisMap(0, tuple(IndexSet.range(i // 2, (i + 3) // 2) for i in range(8)))
    >>> _step_of_blocks(columns, 0)
    Fraction(1, 2)
    """
    rows = [index(at + number) for number in range(index.period)]
    changes = (n for n, (row, after) in enumerate(pairwise(rows), 1) if row != after)
    blocks = rows[:: gcd(index.period, *changes)]
    for period in range(1, len(blocks) // 2 + 1):
        step = _start(blocks[period]) - _start(blocks[0])
        pairs = ((blocks[n], blocks[n + period]) for n in range(len(blocks) - period))
        even = all(later == block.shift(step) for block, later in pairs)
        if even and index.advance * period in (0, step * len(blocks)):
            return Fraction(step, period)
    return Fraction(index.advance, len(blocks)) if index.advance else None


def _start(block: AnySet) -> int:
    """Where a block begins; 0 for one that is empty, or goes on for ever."""
    return (block.first or 0) if block else 0


@lru_cache(maxsize=1 << 12)
def _described(
    axis: int,
    index: AxisMap[AnySet],
    units: int,
    positions: IndexSet | None,
    size: int,
    *,
    sized: bool,
    flat: bool,
) -> AxisField:
    """The numbers of a map, for all units or for those at some positions."""
    seen = index.offsets[:units] if sized else index.offsets
    if positions is not None and index.period > 1:
        seen = tuple(index.offsets[phase] for phase in positions.modulo(index.period))
    at = 0 if positions is None else positions.first
    middle = units // 2 if positions is None else _member(positions, positions.count // 2)
    first = index(at)
    start, last = (first.first, first.last) if first else (None, None)
    finite = [offset for offset in seen if isinstance(offset, IndexSet)]
    ends = len(finite) == len(seen)
    found = AxisField(
        axis=axis,
        extent=max(offset.extent for offset in finite) if ends else None,
        count=max(offset.count for offset in finite) if ends else None,
        stride=None
        if positions is not None and positions.count == 1
        else _stride(index, at, flat=flat),
        start=start,
        centre=None if start is None or last is None else Fraction(start + last, 2),
        period=index.period,
        clipped=index(middle).clip(size).extent,
        map=index,
        past=index.past,
        future=index.future,
    )
    least = min((offset.extent for offset in finite), default=None) if ends else None
    least_known = None if least == found.extent else least
    if sized and index.bounded is not None and is_written_out(index.bounded, units):
        return replace(found, stride=None, period=None, least=least_known)
    return found if positions is None else replace(found, least=least_known)


def _member(indices: IndexSet, number: int) -> int:
    """The member with this number, counted from the first."""
    if indices.is_contiguous:
        return indices.first + number
    return next(islice(indices, number, None))


# -------------------------------------------------------------------- one unit


def places_of(unit: Mapping[int, int], layout: DigitLayout) -> dict[Digit, int]:
    """The digits of a unit's indices."""
    places = {}
    for dim, index in unit.items():
        rest = index
        for place in reversed(range(len(layout[dim]))):
            rest, places[dim, place] = divmod(rest, layout[dim][place][0])
    return places


def evaluated(
    track: Track, places: Mapping[Digit, int], layout: DigitLayout, size: int
) -> IndexSet:
    """What one unit sees along a track, unclipped unless it never ends; ``size`` is the axis's."""
    seen = _evaluated(track, places, layout)
    return seen.clip(size) if isinstance(seen, Tailed) else seen


def _evaluated(track: Track, places: Mapping[Digit, int], layout: DigitLayout) -> AnySet:
    index = 0
    for dim, place in track.digits:
        index = index * layout[dim][place][0] + places[dim, place]
    return track.map(index)


_LONG = 1 << 16
"""Maps with more phases than these are not written down."""
_WRITTEN = 1 << 12
"""So many units are described one by one; of more only the middle one."""
