"""One read, applied to a closed form: from the operand's state to the result's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from math import prod

from fieldwise.axes import FULL, AnySet, AxisMap, IndexSet
from fieldwise.axes.axis_map import IDENTITY
from fieldwise.axes.digits import substituted, summed_out
from fieldwise.field.guarding import landings, narrow, pushed, regular
from fieldwise.field.products import ByGuard, DigitLayout, Product, Track, guards
from fieldwise.field.regrouping import regrouped
from fieldwise.field.state import DIAGONAL, ValueState, collapse, descent, untold
from fieldwise.graph.ir import Along, Coord, Fixed, Read, Separable, Shape, Step, Unknown, Whole


def transfer(
    state: ValueState,
    step: Step,
    before: Shape,
    after: Shape,
    *,
    beside: int = 0,
    keeps: bool = False,
) -> ValueState:
    """The state of a result that reads the operand through one step.

    beside: how many other reads the result is the union of
    keeps:  what is read whole stands in the result, place by place (see ``Kind.keeps``): so each
            position of a norm is one of its operand, which it also reads by a path of its own
    """
    if not isinstance(step, Separable):
        return state if before == after else regrouped(state, before, after)
    if not step.where and before == after and step.is_identity:
        return state
    found = _separable(state, step, before, after, beside)
    if keeps and before == after and not step.where and _in_place(step).is_identity:
        return replace(found, layout=state.layout, local=state.local)
    return found


def _in_place(step: Separable) -> Separable:
    """The step as each place reads itself, where it is among what it reads."""
    coords = (
        Along(dim) if _reads_itself(coord, dim) else coord for dim, coord in enumerate(step.coords)
    )
    return replace(step, coords=tuple(coords))


def _reads_itself(coord: Coord, dim: int) -> bool:
    if not isinstance(coord, Along):
        return isinstance(coord, Whole)
    return coord.dim == dim and isinstance(coord.map, AxisMap) and coord.map.covers(IDENTITY)


class Narrowed:
    """A state of which many guarded reads take a part each (the rows of a mask)."""

    def __init__(self, state: ValueState) -> None:
        self._state = state
        self._products = ByGuard(state.layout, state.products)
        same = state.local is state.products
        self._local = self._products if same else ByGuard(state.layout, state.local)

    def to(self, read: Read) -> ValueState:
        """The state without products that the guards of this read keep out."""
        step = read.steps[0]
        if not isinstance(step, Separable) or not step.where:
            return self._state
        where = tuple((dim, indices) for dim, indices in step.where if _is_own(step, dim))
        products = tuple(product for _, product in self._products.near(where))
        if self._local is self._products:
            return replace(self._state, products=products, local=products)
        local = tuple(product for _, product in self._local.near(where))
        return replace(self._state, products=products, local=local)


def _is_own(step: Separable, dim: int) -> bool:
    """Whether result dimension ``dim`` is the operand's dimension of that number, unchanged."""
    coord = step.coords[dim] if dim < len(step.coords) else None
    return isinstance(coord, Along) and coord.dim == dim and coord.map.is_identity


# -------------------------------------------------------------------- separable steps


def _separable(
    state: ValueState, step: Separable, before: Shape, after: Shape, beside: int
) -> ValueState:
    where = dict(step.where)
    products = _every(state)
    driving = {dim for product in products for track in product.tracks for dim, _ in track.digits}
    if all(_stays(step.coords[dim], dim, before, after) for dim in driving):
        limited = {dim for product in products for dim, _ in product.where}
        if not limited:
            return _untouched(state, step, before, after, where)
        swept = all(isinstance(step.coords[dim], Whole) for dim in limited)
        if swept and not where and not landings(step.coords, before, after):
            return state.changed(_result_layout(state.layout, step, before, after), _everywhere)
    guarded = {dim for product in state.products for dim, _ in product.where}
    moved = [dim for dim in driving if _needs_one_digit(step, dim, before, after, guarded)]
    state = collapse(state, moved)
    layout = _result_layout(state.layout, step, before, after)
    missed = landings(step.coords, before, after)
    scene = _Scene(
        state.layout, step.coords, before, after, layout, where, missed, state.sizes,
        crowded=len(state.products) + beside > _CROWDED,
    )  # fmt: skip

    def change(product: Product) -> list[Product]:
        return _read(scene, product, keep_global=True)

    def change_local(product: Product) -> list[Product]:
        return _read(scene, product, keep_global=False)

    reduces = any(isinstance(step.coords[dim], (Whole, Unknown)) for dim in driving)
    return state.changed(layout, change, change_local if reduces else None)


def _every(state: ValueState) -> tuple[Product, ...]:
    """The products of a state and its local ones, where those are others."""
    same = state.local is state.products
    return state.products if same else (*state.products, *state.local)


def _stays(coord: Coord, dim: int, before: Shape, after: Shape) -> bool:
    """Whether operand dimension ``dim`` is result dimension ``dim``, unchanged."""
    return isinstance(coord, Along) and coord.dim == dim and coord.keeps(before[dim], after[dim])


def _untouched(
    state: ValueState, step: Separable, before: Shape, after: Shape, where: Mapping[int, IndexSet]
) -> ValueState:
    """The tracks stay as they are: at most the same guards come upon all products alike."""
    layout = _result_layout(state.layout, step, before, after)
    limits = dict(where)
    for dim, indices in landings(step.coords, before, after).values():
        narrow(limits, dim, indices)
    guarded = guards(limits, after)
    if not guarded:
        return replace(state, layout=layout)
    if not all(indices for _, indices in guarded):
        return ValueState(layout, (), (), state.sizes)
    products = tuple(regular(replace(p, where=guarded), layout) for p in state.products)
    if state.local is state.products:
        return ValueState(layout, products, products, state.sizes)
    local = tuple(regular(replace(p, where=guarded), layout) for p in state.local)
    return ValueState(layout, products, local, state.sizes)


def _everywhere(product: Product) -> list[Product]:
    """The product for all units, since each reads every index that the guards tell apart."""
    return [Product(product.tracks, (), product.why, product.sized)]


def _needs_one_digit(
    step: Separable, dim: int, before: Shape, after: Shape, guarded: set[int]
) -> bool:
    """Whether a dimension's index is followed as one: its digits do not pass, or are cut."""
    coord = step.coords[dim]
    if isinstance(coord, Along):
        return not coord.keeps(before[dim], after[coord.dim])
    return isinstance(coord, Fixed) or dim in guarded


def _result_layout(
    layout: DigitLayout, step: Separable, before: Shape, after: Shape
) -> DigitLayout:
    """Dimensions that pass keep their digits; the others are one digit, with its descent."""
    out: list[tuple[tuple[int, int], ...]] = [((size, 0),) for size in after]
    for dim, coord in enumerate(step.coords):
        if not isinstance(coord, Along):
            continue
        if len(layout[dim]) > 1 and coord.keeps(before[dim], after[coord.dim]):
            out[coord.dim] = layout[dim]
        elif len(out[coord.dim]) == 1:
            stems = out[coord.dim][0][1] | descent(layout[dim])
            out[coord.dim] = ((after[coord.dim], stems),)
    return tuple(out)


@dataclass(frozen=True, slots=True)
class _Scene:
    """What reading one product through one step needs to know."""

    layout: DigitLayout
    coords: Sequence[Coord]
    before: Shape
    after: Shape
    result: DigitLayout
    where: Mapping[int, IndexSet]
    landings: Mapping[int, tuple[int, IndexSet]]
    sizes: tuple[int, ...]
    crowded: bool

    def keeps(self, coord: Along, dim: int) -> bool:
        """Whether the digits of operand dimension ``dim`` are those of the result's."""
        return coord.keeps(self.before[dim], self.after[coord.dim])

    def stays(self, dim: int) -> bool:
        """Whether operand dimension ``dim`` is result dimension ``dim``, unchanged."""
        return _stays(self.coords[dim], dim, self.before, self.after)


def _read(scene: _Scene, product: Product, *, keep_global: bool) -> list[Product]:
    """The product as the result sees it: none where nothing of it is read."""
    if any(_kept_out(scene, dim, indices) for dim, indices in product.where):
        return []
    passed = pushed(product.where, scene.coords, scene.before, scene.after)
    if passed is None:
        return []
    shared = _swept_together(scene, product.tracks)
    if shared and scene.crowded:
        return list(untold(scene.sizes))
    if shared is None:
        product = replace(product, why=product.why or DIAGONAL)
        shared = set()
    elif shared and not keep_global:
        return []
    parts = _joint_sweep(scene, product, shared) if shared else [product]
    found = []
    for part in parts:
        new = _followed(scene, part, passed, keep_global=keep_global)
        if new is not None:
            found.append(new)
    return found


def _followed(
    scene: _Scene, product: Product, passed: dict[int, IndexSet], *, keep_global: bool
) -> Product | None:
    tracks, why, sized = [], product.why, product.sized
    guarded = dict(product.where)
    for axis, track in enumerate(product.tracks):
        new = _track(scene, track, guarded, sized=product.sized, source=scene.sizes[axis])
        if new.swept and not keep_global:
            return None
        tracks.append(new.track)
        why, sized = why or new.why, sized or new.sized
    if all(track.map == FULL for track in tracks):
        sized = False
    limits = dict(passed)
    followed = {dim for track in product.tracks for dim, _ in track.digits}
    landed = (target for dim, target in scene.landings.items() if dim not in followed)
    for dim, indices in chain(scene.where.items(), landed):
        narrow(limits, dim, indices)
        if not limits[dim]:
            return None
    found = Product(tuple(tracks), guards(limits, scene.after), why, sized)
    return regular(found, scene.result)


def _kept_out(scene: _Scene, dim: int, indices: IndexSet) -> bool:
    """Whether the step reads none of these indices, told without moving them."""
    coord = scene.coords[dim]
    if not isinstance(coord, Along) or coord.dim not in scene.where:
        return False
    return scene.keeps(coord, dim) and indices.isdisjoint(scene.where[coord.dim])


@dataclass(frozen=True, slots=True)
class _Moved:
    """A track over the result's digits; swept: a global operation took its leading digit."""

    track: Track
    swept: bool = False
    sized: bool = False
    why: str | None = None


def _track(
    scene: _Scene, track: Track, guarded: Mapping[int, IndexSet], *, sized: bool, source: int
) -> _Moved:
    """Every digit followed or summed out, the last first: the leading one is unbounded.

    Where the product holds for some indices of a dimension only and a window reads across their
    end, the map is written out for this size.
    """
    if all(scene.stays(dim) for dim, _ in track.digits):
        return _Moved(track)
    digits, index = list(track.digits), track.map
    lengths = [scene.layout[dim][place][0] for dim, place in digits]
    swept, why = False, None
    for position in reversed(range(len(digits))):
        dim, place = digits[position]
        coord = scene.coords[dim]
        if isinstance(coord, Along):
            if scene.keeps(coord, dim):
                digits[position] = (coord.dim, place)
                continue
            size = scene.after[coord.dim]
            limits = None if coord.map.is_single else guarded.get(dim)
            step, finite = substituted(
                tuple(lengths), position, coord.map, coord.border, size, limits
            )
            index, sized = step.then(index), sized or finite
            digits[position], lengths[position] = (coord.dim, 0), size
            continue
        values = _values_read(coord, guarded.get(dim))
        why = why or (coord.why if isinstance(coord, Unknown) else None)
        if position == 0 and not isinstance(coord, Fixed):
            swept = True
            if len(digits) == 1 and values is None and not sized:
                everything = AxisMap.constant(index.swept())
                return _Moved(Track((), everything), swept, sized, why)
            sized = True
        index = summed_out(tuple(lengths), position, values).then(index)
        del digits[position], lengths[position]
    if not digits:
        index = AxisMap.constant(index(0))
    if swept and not digits and index.pull(IndexSet(0, 1)).clip(source).count == source:
        return _Moved(Track((), FULL), swept, sized, why)
    if index.period > _LONG and index.period > (units := prod(lengths)):
        index, sized = _written_out(index, units, source), True
    return _Moved(Track(tuple(digits), index), swept, sized, why)


def _values_read(coord: Coord, guard: IndexSet | None) -> IndexSet | None:
    """The values of a dimension that are read and count; None for all."""
    if not isinstance(coord, Fixed):
        return guard
    return coord.indices if guard is None else coord.indices & guard


_LONG = 256
"""Periods are short; one that is long and longer than the map itself says nothing (networks that
resample back and forth by odd factors multiply them without end)."""


@lru_cache(maxsize=1 << 10)
def _written_out(index: AxisMap[AnySet], units: int, source: int) -> AxisMap[AnySet]:
    """The map for these units alone; the advance is never taken."""
    return AxisMap(source, tuple(index(unit) for unit in range(units)))


# -------------------------------------------------------------------- axes that share digits


def _swept_together(scene: _Scene, tracks: Sequence[Track]) -> set[int] | None:
    """The dimensions, read whole, that several tracks follow; None where sets would mix.

    Two axes that follow one dimension (tokens: row t // W and column t mod W) read pairs, not
    products: a set of tokens is a product only where it can be shown to be one.
    """
    together: set[int] = set()
    dims = [dim for track in tracks for dim in {dim for dim, _ in track.digits}]
    if len(dims) == len(set(dims)):
        return together
    for dim, coord in enumerate(scene.coords):
        followers = [
            {place for d, place in track.digits if d == dim}
            for track in tracks
            if any(d == dim for d, _ in track.digits)
        ]
        if len(followers) < 2:
            continue
        if isinstance(coord, Along):
            if not (scene.keeps(coord, dim) or coord.map.is_single):
                return None
        elif isinstance(coord, Fixed):
            if coord.indices.count > 1:
                return None
        elif len(set.union(*followers)) < sum(len(places) for places in followers):
            together.add(dim)
    for dim in together:
        if any(len(t.digits) != 1 for t in tracks if any(d == dim for d, _ in t.digits)):
            return None
    return together


_CROWDED = 64
"""Of more products than these, pairs are not listed one by one."""


def _joint_sweep(scene: _Scene, product: Product, dims: set[int]) -> list[Product]:
    """The pairs that tracks following one whole dimension read, as products at this size."""
    parts = [product]
    for dim in dims:
        axes = [a for a, track in enumerate(product.tracks) if track.digits == ((dim, 0),)]
        maps = [product.tracks[axis].map for axis in axes]
        indices = dict(product.where).get(dim, range(scene.before[dim]))
        rows = {
            tuple(m(index).clip(scene.sizes[axis]) for m, axis in zip(maps, axes, strict=True))
            for index in indices
        }
        swept = [dict(zip(axes, sides, strict=True)) for sides in _as_products(rows) if all(sides)]
        parts = [_with_constants(part, sides, scene.sizes) for part in parts for sides in swept]
    return parts


def _as_products(rows: set[tuple[IndexSet, ...]]) -> set[tuple[IndexSet, ...]]:
    """The same union in fewer products: those equal in all places but one become one."""
    for place in range(len(next(iter(rows), ()))):
        grouped: dict[tuple[IndexSet, ...], IndexSet] = {}
        for row in rows:
            rest = row[:place] + row[place + 1 :]
            grouped[rest] = grouped[rest] | row[place] if rest in grouped else row[place]
        rows = {(*rest[:place], side, *rest[place:]) for rest, side in grouped.items()}
    return rows


def _with_constants(
    product: Product, sides: Mapping[int, IndexSet], sizes: Sequence[int]
) -> Product:
    tracks = list(product.tracks)
    for axis, side in sides.items():
        whole = side.count == sizes[axis]
        tracks[axis] = Track((), FULL if whole else AxisMap.constant(side))
    return replace(product, tracks=tuple(tracks), sized=True)
