"""A reshape, applied to a closed form: the digits of a group of dimensions in other dimensions."""

from __future__ import annotations

from dataclasses import replace

from fieldwise.axes.digits import regroup
from fieldwise.axes.region import groups_of
from fieldwise.field.guarding import merged, reshaped
from fieldwise.field.products import Digit, Product, Track, lean
from fieldwise.field.state import CUTS, ValueState, bound, collapse, descent
from fieldwise.graph.ir import Shape


def regrouped(state: ValueState, before: Shape, after: Shape) -> ValueState:
    """The state of a reshape; raises nothing: what cannot be carried over becomes a bound."""
    groups = groups_of(before, after)
    clumsy = [dim for old, new in groups if _cut(state, old, new, after) is None for dim in old]
    state = collapse(state, clumsy)
    layout: list[tuple[tuple[int, int], ...]] = [()] * len(after)
    moved: dict[Digit, tuple[Digit, ...]] = {}
    for old, new in groups:
        _move_group(state, old, new, after, layout, moved)
    target = tuple(layout)

    def change(product: Product) -> list[Product]:
        product = merged(product, groups, state.layout)
        for axis, track in enumerate(product.tracks):
            if all(digit in moved for digit in track.digits):
                digits = tuple(new for digit in track.digits for new in moved[digit])
                new = Track(digits, track.map)
                if len(digits) > len(track.digits):
                    new = lean(new, target)
                tracks = (*product.tracks[:axis], new)
                product = replace(product, tracks=(*tracks, *product.tracks[axis + 1 :]))
            else:
                product = bound(product, axis, CUTS)
        return [
            replace(product, where=where)
            for where in reshaped(product.where, groups, before, after)
        ]

    return state.changed(target, change)


def _cut(
    state: ValueState, old: range, new: range, after: Shape
) -> list[list[tuple[int, int]]] | None:
    """The digits of a group of dimensions, regrouped; None where borders do not nest."""
    sizes = [size for dim in old for size, _ in state.layout[dim]]
    return regroup(sizes, after[new.start : new.stop])


def _move_group(
    state: ValueState,
    old: range,
    new: range,
    after: Shape,
    layout: list[tuple[tuple[int, int], ...]],
    moved: dict[Digit, tuple[Digit, ...]],
) -> None:
    """Enter a group's new digits; digits that cannot be carried over stay out of ``moved``."""
    names = [(dim, place) for dim in old for place in range(len(state.layout[dim]))]
    if len(old) == len(new) == 1:
        layout[new[0]] = state.layout[old[0]]
        moved.update({(dim, place): ((new[0], place),) for dim, place in names})
        return
    cut = _cut(state, old, new, after)
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
