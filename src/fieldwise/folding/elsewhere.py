"""Does a plan hold at other sizes of the input?  A graph has one size; modules run at any.

What padded nothing may pad at another size, a sum counts more elements, a number that a forward
computes from a shape is another one, and an ``if`` goes another way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isclose
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fieldwise.errors import FieldwiseError
from fieldwise.folding.plan import Absorption, Ban, Bans, Fold, Merge, Plan
from fieldwise.folding.report import Direction
from fieldwise.graph.calls import is_same
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Shape
from fieldwise.written import counted

if TYPE_CHECKING:
    from fieldwise.capture.torch.model_call import ModelCall
    from fieldwise.folding.saving.other_sizes import InputAxis

NodeKey = tuple[str, str, int]


@dataclass(frozen=True, eq=False)
class OtherSize:
    """A model captured on inputs of other shapes; which of its nodes are which of the example's."""

    here: Graph
    there: Graph
    shapes: tuple[Shape, ...]

    @cached_property
    def _twins(self) -> dict[int, int]:
        """Per node of the example's graph the one that does the same, where there is one."""
        there = {key: number for number, key in enumerate(_keys(self.there.nodes))}
        keys = enumerate(_keys(self.here.nodes))
        return {number: there[key] for number, key in keys if key in there}

    def bans(self, made: Plan, bans: Bans) -> Bans:
        """What keeps a plan for these shapes to what the one for the example's does.

        bans: what kept that one
        """
        directions: tuple[Direction, ...] = ("backward", "forward", "merge")
        done = {
            (self._twins.get(number), direction)
            for change in made.changes
            for number, direction in change.does
        }
        nothing: Bans = {
            (number, direction): ""
            for number in range(len(self.there.nodes))
            for direction in directions
            if (number, direction) not in done
        }
        known = {(self._twins[n], d): why for (n, d), why in bans.items() if n in self._twins}
        return {**nothing, **known}

    def differing(self, made: Plan, other: Plan) -> Iterator[tuple[Ban, str]]:
        """What the plan for the example's shapes does and the other one, for these, does not."""
        folds = {fold.candidate.number: fold for fold in other.folds}
        stays = {candidate.number: why for candidate, why in other.stays}
        for fold in made.folds:
            twin = self._twins.get(fold.candidate.number)
            found = None if twin is None else folds.get(twin)
            if found is None or not self._folded_alike(fold, found):
                why = stays.get(-1 if twin is None else twin) or _OTHERWISE
                yield (fold.candidate.number, fold.direction), self.because(why)
        merges = {b.number: (m, n) for m in other.merges for n, b in enumerate(m.branches)}
        apart = {branch.number: why for branch, why in other.apart}
        for merge in made.merges:
            for place, branch in enumerate(merge.branches):
                twin = self._twins.get(branch.number, -1)
                found_merge = merges.get(twin)
                if found_merge is None or not self._merged_alike(merge, place, *found_merge):
                    why = apart.get(twin) or _OTHERWISE
                    yield (branch.number, "merge"), self.because(why)

    def _folded_alike(self, one: Fold, two: Fold) -> bool:
        pairs = zip(one.candidate.coefficients(), two.candidate.coefficients(), strict=True)
        return (
            one.direction == two.direction
            and len(one.absorptions) == len(two.absorptions)
            and all(np.array_equal(here, there, equal_nan=True) for here, there in pairs)
            and all(map(self._taken_alike, one.absorptions, two.absorptions))
        )

    def _taken_alike(self, one: Absorption, two: Absorption) -> bool:
        same = (one.place, one.labels, one.sign) == (two.place, two.labels, two.sign)
        by = isclose(one.shift, two.shift, rel_tol=1e-9)
        return same and by and self._twins.get(one.layer.number) == two.layer.number

    def _merged_alike(self, one: Merge, place: int, two: Merge, other: int) -> bool:
        here, there = one.branches[place], two.branches[other]
        same = (one.taps[place], one.sign, here.sign) == (two.taps[other], two.sign, there.sign)
        return same and self._twins.get(one.host.number) == two.host.number

    def other_call(self) -> str | None:
        """The first call that the model makes otherwise for these shapes, for people."""
        for number, node in enumerate(self.here.nodes):
            twin = self._twins.get(number)
            if twin is None or not _is_called_alike(node, self.there.nodes[twin]):
                return f"'{node.results[0]}' ({node.called}) is another call"
        added = len(self.there.nodes) - len(self.here.nodes)
        return f"it makes {counted(added, 'more call')}" if added > 0 else None

    def because(self, why: str) -> str:
        """A reason that holds at this size."""
        return f"at an input of {shapes_text(self.shapes)}, {why}"


def _is_called_alike(one: Node, two: Node) -> bool:
    if one.operands != two.operands or one.source is None or two.source is None:
        return False
    here, there = ((call.args, *sorted(call.kwargs.items())) for call in (one.source, two.source))
    return one.source.target == two.source.target and is_same(here, there, _are_equal)


def _are_equal(one: Tensor, two: Tensor) -> bool:
    return one is two or (one.dtype == two.dtype and torch.equal(one, two))


_OTHERWISE = "other weights would be right"


def shapes_text(shapes: Iterable[Shape]) -> str:
    """As in '1x3x224x224 and 1x5'."""
    return " and ".join("x".join(map(str, shape)) for shape in shapes)


def captured_elsewhere(
    call: ModelCall, graph: Graph, *, fixed: Collection[InputAxis] = ()
) -> Iterator[OtherSize]:
    """A model captured at some other sizes, of all axes that may have any, at once.

    graph: of its example; fixed: axes that may not, of which input and which dimension
    """
    shapes = tuple(call.shapes)
    groups = list(_groups(call, fixed))
    tried = {shapes}
    for pair in _MULTIPLES if groups else ():
        for alternate in (pair, pair[:1] * 2):  # some models want squares
            larger = shapes
            for number, (axes, step) in enumerate(groups):
                size = larger[axes[0][0]][axes[0][1]]
                most = max(size, _LEAST) // step
                larger = _grown(larger, axes, step * max(min(alternate[number % 2], most), 1))
            there = None if larger in tried else _captured(call, larger)
            tried.add(larger)
            if there is not None:
                yield OtherSize(graph, there, larger)
                break


_MULTIPLES = ((1, 1), (3, 2), (7, 19), (37, 53))
"""By how many of its smallest steps an axis grows, every other one by the second number."""
_LEAST = 64
_STEPS = (1, 2, 4, 8, 32, 128)


def _groups(
    call: ModelCall, fixed: Collection[InputAxis]
) -> Iterator[tuple[tuple[InputAxis, ...], int]]:
    """Axes that grow together, and by how much at least."""
    shapes = tuple(call.shapes)
    sizes = {
        (number, dim): size
        for number, shape in enumerate(shapes)
        for dim, size in enumerate(shape)
        if (number, dim) not in fixed and size
    }
    left, refused = dict(sizes), set[tuple[object, ...]]()
    together = (lambda axis: (axis[1], sizes[axis]), lambda axis: axis, sizes.__getitem__)
    for alike in together:  # the same axis of all inputs; each alone; all of one size
        for axes in _grouped(left, alike):
            step = None if axes in refused else _smallest_step(call, axes, sizes[axes[0]])
            if step is None:
                refused.add(axes)
                continue
            yield axes, step
            left = {axis: size for axis, size in left.items() if axis not in axes}


def _grouped(
    axes: Iterable[InputAxis], alike: Callable[[InputAxis], object]
) -> list[tuple[InputAxis, ...]]:
    found: dict[object, list[InputAxis]] = defaultdict(list)
    for axis in axes:
        found[alike(axis)].append(axis)
    return list(map(tuple, found.values()))


def _smallest_step(call: ModelCall, axes: tuple[InputAxis, ...], size: int) -> int | None:
    """By how much these axes may grow, of a few steps; None where the model refuses all."""
    steps = (step for step in (*_STEPS, size) if step <= size)
    return next((s for s in steps if _captured(call, _grown(call.shapes, axes, s))), None)


def _grown(shapes: Sequence[Shape], axes: Iterable[InputAxis], by: int) -> tuple[Shape, ...]:
    chosen = set(axes)
    return tuple(
        tuple(size + by * ((number, dim) in chosen) for dim, size in enumerate(shape))
        for number, shape in enumerate(shapes)
    )


def _captured(call: ModelCall, shapes: Sequence[Shape]) -> Graph | None:
    try:
        return call.graph(shapes)
    except FieldwiseError:
        return None


def _keys(nodes: Iterable[Node]) -> Iterator[NodeKey]:
    """What the nodes of one model are known by at any size: the n-th run of an op in a module."""
    seen: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        yield node.module, node.op, seen[node.module, node.op]
        seen[node.module, node.op] += 1
