"""A reshape, applied to a closed form: the digits of a group of dimensions in other dimensions."""

from __future__ import annotations

from fieldwise.axes import FULL
from fieldwise.axes.digits import regroup
from fieldwise.axes.region import groups_of
from fieldwise.field.guarding import merged, reshaped
from fieldwise.field.products import Digit, Product, Track, lean
from fieldwise.field.state import CUTS, ValueState, collapse, descent
from fieldwise.graph.ir import Shape


def regrouped(state: ValueState, before: Shape, after: Shape) -> ValueState:
    """The state of a reshape; raises nothing: what cannot be carried over becomes a bound."""
    groups = groups_of(before, after)
    cuts = [_cut(state, old, new, after) for old, new in groups]
    if None in cuts:
        clumsy = [dim for (old, _), cut in zip(groups, cuts, strict=True) if not cut for dim in old]
        state = collapse(state, clumsy)
        cuts = [_cut(state, old, new, after) for old, new in groups]
    layout: list[tuple[tuple[int, int], ...]] = [()] * len(after)
    moved: dict[Digit, tuple[Digit, ...]] = {}
    for (old, new), cut in zip(groups, cuts, strict=True):
        _move_group(state, old, new, after, cut, layout, moved)
    target = tuple(layout)

    def change(product: Product) -> list[Product]:
        product = merged(product, groups, state.layout)
        tracks, why = [], product.why
        for track in product.tracks:
            if all(digit in moved for digit in track.digits):
                digits = tuple([new for digit in track.digits for new in moved[digit]])
                new = Track(digits, track.map)
                tracks.append(lean(new, target) if len(digits) > len(track.digits) else new)
            else:
                tracks.append(Track((), FULL))
                why = why or CUTS
        guarded = reshaped(product.where, groups, before, after)
        return [Product(tuple(tracks), where, why, product.sized) for where in guarded]

    return state.changed(target, change)


_Digits = list[list[tuple[int, int]]]


def _cut(state: ValueState, old: range, new: range, after: Shape) -> _Digits | None:
    """The digits of a group of dimensions, regrouped; None where borders do not nest."""
    sizes = [size for dim in old for size, _ in state.layout[dim]]
    return regroup(sizes, after[new.start : new.stop])


def _move_group(
    state: ValueState,
    old: range,
    new: range,
    after: Shape,
    cut: _Digits | None,
    layout: list[tuple[tuple[int, int], ...]],
    moved: dict[Digit, tuple[Digit, ...]],
) -> None:
    """Enter a group's new digits; digits that cannot be carried over stay out of ``moved``."""
    names = [(dim, place) for dim in old for place in range(len(state.layout[dim]))]
    if len(old) == len(new) == 1:
        layout[new[0]] = state.layout[old[0]]
        moved.update({(dim, place): ((new[0], place),) for dim, place in names})
        return
    if cut is None:
        stems = descent(digit for dim in old for digit in state.layout[dim])
        for dim in new:
            layout[dim] = ((after[dim], stems),)
        return
    parts: dict[Digit, list[Digit]] = {name: [] for name in names}
    for dim, taken in zip(new, cut, strict=True):
        digits = tuple((size, state.layout[names[n][0]][names[n][1]][1]) for n, size in taken)
        layout[dim] = digits or ((after[dim], 0),)
        for place, (n, _) in enumerate(taken):
            parts[names[n]].append((dim, place))
    moved.update({name: tuple(places) for name, places in parts.items()})
