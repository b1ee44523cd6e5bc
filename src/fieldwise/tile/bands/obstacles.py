"""The nodes in the way of a program; the graph is followed behind them, to name all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from torch import Tensor

from fieldwise.graph.ir import Node
from fieldwise.tile.bands.draft import ProgramDraft
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.known import Known, stand_in
from fieldwise.tile.bands.linking import made_of
from fieldwise.tile.bands.statistics import statistic_of
from fieldwise.tile.errors import Blocked


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A node in the way of a program, and why.

    streamed: its operands that are streamed, and where the axis lies in them
    known:    its other operands: constants, and what earlier passes found
    whole:    those of the streamed ones that would have to be there whole for the others to be
              streamed; empty where that does not help
    """

    node: Node
    why: str
    streamed: Mapping[str, AxisPlace]
    known: Mapping[str, Tensor]
    whole: tuple[str, ...] = ()

    @property
    def axis(self) -> AxisPlace:
        """Where the axis lies in the first operand that is streamed."""
        return next(iter(self.streamed.values()))


@dataclass(slots=True)
class Obstacles:
    """The obstacles of one program, and what is supposed or lost behind them.

    known:    what earlier passes have found; None where no pass is to be made: then the graph is
              followed past each obstacle, else its results are lost
    found:    the obstacles, in the order of the graph
    lost:     values of which nothing can be said
    supposed: values that are supposed to be known
    summable: whether every obstacle can be summed up
    """

    draft: ProgramDraft
    known: Known | None
    found: list[Obstacle] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    supposed: set[str] = field(default_factory=set)
    summable: bool = True

    def add(self, node: Node, why: str, *, helps: bool = True) -> None:
        """Add a node, and go on behind it.

        helps: whether it may help to have operands whole
        """
        whole = wanted_whole(self.draft, node) if helps and self.known is not None else ()
        streamed, fixed = self.draft.axes_of(node), self.draft.fixed
        known = {name: fixed[name] for name in node.operands if name in fixed}
        self.found.append(Obstacle(node, why, streamed, known, whole))
        self.go_on_behind(node)

    def add_pool(self, pool: Node) -> None:
        """Add a pool as long as the axis, once."""
        if all(one.node is not pool for one in self.found):
            self.add(pool, "every result reads the whole streamed axis")

    def go_on_behind(self, node: Node) -> None:
        """Suppose what the results of a node are, where no pass finds them; else they are lost.

        What can be summed up is supposed to be known; what else keeps the rows, to be streamed.
        """
        axes = self.draft.axes_of(node)
        if self.known is not None or not axes:
            self.lost.update(node.results)
            return
        graph, (first, axis) = self.draft.graph, next(iter(axes.items()))
        one = statistic_of(graph, node, axis)
        self.summable = self.summable and one is not None
        if one is not None and not one.normalises:
            self.suppose_known(node.results)
            return
        size = graph.shape(first)[axis.dim]
        for name in node.results:
            shape = graph.shape(name)
            if len(shape) > axis.dim and shape[axis.dim] == size:
                self.draft.add_value(name, axis)
            else:
                self.lost.add(name)

    def suppose_known(self, names: Sequence[str]) -> None:
        """Go on as if these values were there whole."""
        for name in names:
            self.draft.fixed[name] = stand_in(self.draft.graph.values[name])
        self.supposed.update(names)


def wanted_whole(draft: ProgramDraft, node: Node) -> tuple[str, ...]:
    """The operands of fewest bytes that have to be there whole for a node to be run."""
    streamed = draft.axes_of(node)
    for left in sorted(streamed, key=lambda name: -draft.nbytes(name)):
        others = [name for name in streamed if name != left]
        with (
            suppress(Blocked),
            draft.fixing({name: stand_in(draft.graph.values[name]) for name in others}),
        ):
            made_of(draft, node)
            return tuple(others)
    return tuple(streamed)


def pool_before(draft: ProgramDraft, node: Node) -> Node | None:
    """The pool as long as the axis from which one row comes that a node needs; None without any.

    It can be summed up instead of the node.
    """
    names, seen = [name for name in node.operands if draft.has_one_row(name)], set[str]()
    while names:
        name = names.pop()
        if name in seen:
            continue
        seen.add(name)
        maker = next((one for one in draft.graph.nodes if name in one.results), None)
        streamed = [one for one in maker.operands if one in draft.numbers] if maker else []
        if maker and streamed:
            axis = draft.streamed(streamed[0]).axis
            if statistic_of(draft.graph, maker, axis) is not None:
                return maker
        names += filter(draft.has_one_row, streamed)
    return None
