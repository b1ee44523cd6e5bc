"""One read, applied to a closed form: from the operand's field to the result's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fieldwise.axes import AxisMap, IndexSet, Lattice, Region
from fieldwise.axes.digits import regroup, subindex, substituted, summed_out
from fieldwise.axes.region import groups_of
from fieldwise.field.products import Guards, Layout, Product, Track, antichain, guards
from fieldwise.graph.ir import Along, Coord, Fixed, Reshape, Separable, Shape, Step, Unknown, Whole


@dataclass(frozen=True, slots=True)
class State:
    """The closed form of one value: how its dimensions factor, and its field.

    local: the products that reached it without passing a global operation
    """

    layout: Layout
    products: tuple[Product, ...]
    local: tuple[Product, ...]


DIAGONAL = "two axes follow one dimension"
MIXED = "an index that mixes dimensions"
CUTS = "a reshape that cuts across rows"
UNLIKE = "operands whose dimensions factor differently"
LIMITS = (DIAGONAL, MIXED, CUTS, UNLIKE)
"""Reasons why the closed form is only a bound where pulling single units is still exact."""

Change = Callable[[Product], list[Product]]


def transfer(state: State, step: Step, before: Shape, after: Shape) -> State:
    """The state of a result that reads the operand through one step."""
    if isinstance(step, Reshape):
        return _reshaped(state, before, after)
    if not step.where and before == after and _is_identity(step):
        return state
    return _separable(state, step, before, after)


def _is_identity(step: Separable) -> bool:
    return all(
        isinstance(coord, Along) and coord.dim == dim and coord.map.is_identity
        for dim, coord in enumerate(step.coords)
    )


def apply(state: State, layout: Layout, change: Change, local: Change) -> State:
    """Change every product, and the local ones apart where they differ."""
    products = antichain((new for old in state.products for new in change(old)), layout)
    if state.local is state.products and change is local:
        return State(layout, products, products)
    kept = antichain((new for old in state.local for new in local(old)), layout)
    return State(layout, products, products if kept == products else kept)


# -------------------------------------------------------------------- separable steps


def _separable(state: State, step: Separable, before: Shape, after: Shape) -> State:
    used = {
        dim
        for product in (*state.products, *state.local)
        for track in product.tracks
        for dim, _ in track.digits
    }
    layout = _result_layout(state.layout, step, before, after)
    where = dict(step.where)

    def change(product: Product, *, keep_global: bool) -> list[Product]:
        reader = _Reader(state.layout, step.coords, before, after, layout, where, keep_global)
        return reader.read(product)

    whole = any(isinstance(step.coords[dim], (Whole, Unknown)) for dim in used)
    everything: Change = lambda product: change(product, keep_global=True)  # noqa: E731
    if not whole:
        return apply(state, layout, everything, everything)
    return apply(state, layout, everything, lambda product: change(product, keep_global=False))


def _result_layout(layout: Layout, step: Separable, before: Shape, after: Shape) -> Layout:
    """Dimensions that pass keep their digits; the others are one digit, with its descent."""
    out = [((size, 0),) for size in after]
    for dim, coord in enumerate(step.coords):
        if isinstance(coord, Along):
            if _passes(coord, before[dim], after[coord.dim]) and coord.dim not in dict(step.where):
                if len(layout[dim]) >= len(out[coord.dim]):
                    out[coord.dim] = layout[dim]
            else:
                descent = 0
                for _, axes in layout[dim]:
                    descent |= axes
                size, axes = after[coord.dim], out[coord.dim][0][1] if out[coord.dim] else 0
                if len(out[coord.dim]) <= 1:
                    out[coord.dim] = ((size, axes | descent),)
    return tuple(out)


def _passes(coord: Along, before: int, after: int) -> bool:
    return coord.map.is_identity and before == after


class _Reader:
    """Reads one product through one separable step."""

    def __init__(
        self,
        layout: Layout,
        coords: Sequence[Coord],
        before: Shape,
        after: Shape,
        result: Layout,
        where: dict[int, IndexSet],
        keep_global: bool,
    ) -> None:
        self.layout, self.coords, self.result = layout, coords, result
        self.before, self.after, self.where = before, after, where
        self.keep_global = keep_global
        self.why: str | None = None
        self.sized = False

    def read(self, product: Product) -> list[Product]:
        """The product as the result sees it: none where nothing of it is read."""
        passed = self._guards(product.where)
        if passed is None:
            return []
        self.why, self.sized = product.why, product.sized
        self._note_diagonals(product.tracks)
        tracks = []
        for track in product.tracks:
            new = self._track(track)
            if new is None:
                return []
            tracks.append(new)
        driving = {dim for track in tracks for dim, _ in track.digits}
        merged = dict(passed)
        for dim, indices in self.where.items():
            if dim not in driving:
                merged[dim] = merged[dim] & indices if dim in merged else indices
                if not merged[dim]:
                    return []
        return [Product(tuple(tracks), guards(merged, self.after), self.why, self.sized)]

    def _guards(self, where: Guards) -> dict[int, IndexSet] | None:
        """The operand's guards, pushed to the result's dimensions; None where nothing passes."""
        out: dict[int, IndexSet] = {}
        for dim, indices in where:
            coord = self.coords[dim]
            if isinstance(coord, Fixed):
                if indices.isdisjoint(coord.indices):
                    return None
            elif isinstance(coord, Along):
                size = self.after[coord.dim]
                reach = coord.map.reach(size)
                sources = coord.border.sources(indices, self.before[dim], reach)
                reached = coord.map.push(sources, size)
                out[coord.dim] = out[coord.dim] & reached if coord.dim in out else reached
                if not out[coord.dim]:
                    return None
        return out

    def _note_diagonals(self, tracks: Sequence[Track]) -> None:
        """Two axes that follow one dimension read sets, not products: an upper bound."""
        seen: dict[int, set[int]] = {}
        for track in tracks:
            mine: dict[int, set[int]] = {}
            for dim, place in track.digits:
                mine.setdefault(dim, set()).add(place)
            for dim, places in mine.items():
                coord = self.coords[dim]
                if dim in seen and not self._separates(coord, seen[dim] & places):
                    self.why = self.why or DIAGONAL
                seen.setdefault(dim, set()).update(places)

    @staticmethod
    def _separates(coord: Coord, shared: set[int]) -> bool:
        if isinstance(coord, Fixed):
            return coord.indices.count <= 1
        if isinstance(coord, Along):
            return coord.map.is_single
        return not shared

    def _track(self, track: Track) -> Track | None:
        """The track over the result's digits; None where a global operation is to be left out."""
        if isinstance(track.map, Lattice) or not track.digits:
            return track
        for dim in dict.fromkeys(dim for dim, _ in track.digits):
            coord = self.coords[dim]
            one_digit = len(self.layout[dim]) == 1
            if isinstance(coord, Along) and self._keeps(coord, dim):
                continue
            if isinstance(coord, (Whole, Unknown)) or one_digit:
                continue
            collapsed = self._collapsed(track, dim)
            if collapsed is None:
                return self._bound(MIXED)
            track = collapsed
        return self._digits(track)

    def _keeps(self, coord: Along, dim: int) -> bool:
        return (
            _passes(coord, self.before[dim], self.after[coord.dim])
            and coord.dim not in self.where
            and self.result[coord.dim] == self.layout[dim]
        )

    def _collapsed(self, track: Track, dim: int) -> Track | None:
        """All digits of ``dim`` as one, (dim, −1): possible where they stand together in order."""
        places = [n for n, digit in enumerate(track.digits) if digit[0] == dim]
        start, stop = places[0], places[-1] + 1
        if places != list(range(start, stop)):
            return None
        every = tuple((dim, k) for k in range(len(self.layout[dim])))
        digits = (*track.digits[:start], *every, *track.digits[stop:])
        keep = tuple(n for n, digit in enumerate(digits) if digit in track.digits)
        if tuple(digits[n] for n in keep) != track.digits:
            return None
        assert isinstance(track.map, AxisMap)
        index = subindex(tuple(self._size(digit) for digit in digits), keep).then(track.map)
        return Track((*digits[:start], (dim, -1), *digits[start + len(every) :]), index)

    def _size(self, digit: tuple[int, int]) -> int:
        dim, place = digit
        return self.before[dim] if place < 0 else self.layout[dim][place][0]

    def _digits(self, track: Track) -> Track | None:
        """Every digit followed or summed out, the last first: the leading one is unbounded."""
        digits, index = list(track.digits), track.map
        sizes = [self._size(digit) for digit in digits]
        for position in reversed(range(len(digits))):
            dim, place = digits[position]
            coord = self.coords[dim]
            assert isinstance(index, AxisMap)
            if isinstance(coord, Along):
                if place >= 0 and self._keeps(coord, dim):
                    digits[position] = (coord.dim, place)
                    continue
                step, sized = self._followed(coord, tuple(sizes), position)
                index = step.then(index)
                self.sized |= sized
                sizes[position] = self.after[coord.dim]
                digits[position] = (coord.dim, 0)
                continue
            if isinstance(coord, Unknown):
                self.why = self.why or coord.why
            swept = self._summed(coord, tuple(sizes), position, index)
            if swept is None:
                return None
            if isinstance(swept, Lattice):
                return Track((), swept)
            index = swept
            del digits[position], sizes[position]
        assert isinstance(index, AxisMap)
        return self._refined(digits, index)

    def _followed(
        self, coord: Along, sizes: tuple[int, ...], position: int
    ) -> tuple[AxisMap, bool]:
        return substituted(
            sizes, position, coord.map, coord.border, self.after[coord.dim],
            self.where.get(coord.dim),
        )  # fmt: skip

    def _summed(
        self, coord: Coord, sizes: tuple[int, ...], position: int, index: AxisMap
    ) -> AxisMap | Lattice | None:
        """A digit read whole, or at fixed values, disappears."""
        if isinstance(coord, Fixed):
            return summed_out(sizes, position, coord.indices).then(index)
        if position == 0:
            if not self.keep_global:
                return None
            if len(sizes) == 1 and not self.sized:
                return Lattice.swept(index)
            self.sized = True
        return summed_out(sizes, position, None).then(index)

    def _refined(self, digits: list[tuple[int, int]], index: AxisMap) -> Track:
        """New single digits (dim, 0), split where the result's layout has more of them."""
        out: list[tuple[int, int]] = []
        for dim, place in digits:
            split = len(self.result[dim]) > 1 and not self._came_whole(dim)
            out.extend((dim, k) for k in range(len(self.result[dim]))) if split else out.append(
                (dim, place)
            )
        return Track(tuple(out), index)

    def _came_whole(self, dim: int) -> bool:
        """Whether the digits of this result dimension are those of the operand."""
        return any(
            isinstance(coord, Along) and coord.dim == dim and self._keeps(coord, source)
            for source, coord in enumerate(self.coords)
        )

    def _bound(self, why: str) -> Track | None:
        if not self.keep_global:
            return None
        self.why = self.why or why
        return Track((), Lattice(1, IndexSet(0, 1)))


# -------------------------------------------------------------------- reshapes


def _reshaped(state: State, before: Shape, after: Shape) -> State:
    if before == after:
        return state
    layout: list[tuple[tuple[int, int], ...]] = [()] * len(after)
    moved: dict[tuple[int, int], tuple[tuple[int, int], ...]] = {}
    lost: set[int] = set()
    groups = groups_of(before, after)
    for old, new in groups:
        if len(old) == len(new) == 1:
            layout[new[0]] = state.layout[old[0]]
            for place in range(len(layout[new[0]])):
                moved[old[0], place] = ((new[0], place),)
            continue
        names = [(dim, place) for dim in old for place in range(len(state.layout[dim]))]
        sizes = [state.layout[dim][place][0] for dim, place in names]
        cut = regroup(sizes, after[new.start : new.stop])
        if cut is None:
            lost.update(old)
            for dim in new:
                layout[dim] = ((after[dim], _descent(state.layout, old)),)
            continue
        targets: dict[tuple[int, int], list[tuple[int, int]]] = {name: [] for name in names}
        for dim, taken in zip(new, cut, strict=True):
            layout[dim] = tuple(
                (size, state.layout[names[n][0]][names[n][1]][1]) for n, size in taken
            ) or ((after[dim], 0),)
            for place, (n, _) in enumerate(taken):
                targets[names[n]].append((dim, place))
        moved.update({name: tuple(parts) for name, parts in targets.items()})

    def change(product: Product) -> list[Product]:
        tracks, why = [], product.why
        for track in product.tracks:
            if any(dim in lost for dim, _ in track.digits):
                why = why or CUTS
                tracks.append(Track((), Lattice(1, IndexSet(0, 1))))
            else:
                tracks.append(
                    Track(tuple(new for old in track.digits for new in moved[old]), track.map)
                )
        return [
            replace(product, tracks=tuple(tracks), where=where, why=why)
            for where in _reshaped_guards(product.where, groups, before, after)
        ]

    return apply(state, tuple(layout), change, change)


def _descent(layout: Layout, dims: range) -> int:
    axes = 0
    for dim in dims:
        for _, more in layout[dim]:
            axes |= more
    return axes


def _reshaped_guards(
    where: Guards, groups: Sequence[tuple[range, range]], before: Shape, after: Shape
) -> list[Guards]:
    """Guards over the new dimensions; several where the guarded part is no product there."""
    known = dict(where)
    found: list[dict[int, IndexSet]] = [{}]
    for old, new in groups:
        if not any(dim in known for dim in old):
            continue
        sides = tuple(known.get(dim, IndexSet.range(0, before[dim])) for dim in old)
        region = Region.of([sides]).reshape(
            before[old.start : old.stop], after[new.start : new.stop]
        )
        found = [
            {**head, **dict(zip(new, part, strict=True))}
            for head in found
            for part in region.products
        ]
    return [guards(one, after) for one in found]

