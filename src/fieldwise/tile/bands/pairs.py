"""Products of rows with rows, as attention has them: followed until a sum that a mask limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from fieldwise.graph.ir import Node
from fieldwise.tile.bands.draft import ProgramDraft
from fieldwise.tile.bands.kernels import Executor
from fieldwise.tile.bands.obstacles import Obstacles
from fieldwise.tile.bands.program import Op
from fieldwise.tile.bands.schedule import Dependence
from fieldwise.tile.bands.weighing import (
    RELATES,
    PairNode,
    Weighing,
    WeightedSum,
    gone_on,
    is_product,
    paired,
    summed,
)
from fieldwise.tile.errors import Blocked


@dataclass(slots=True)
class PairedRows:
    """The values of a program that are made of pairs of rows, until they are summed up.

    weighings: how each of them is made, by name
    """

    draft: ProgramDraft
    obstacles: Obstacles
    weighings: dict[str, Weighing] = field(default_factory=dict)

    def are_read_by(self, node: Node) -> bool:
        """Whether a node reads what is made of pairs."""
        return any(name in self.weighings for name in node.operands)

    def begin(self, node: Node) -> None:
        """Begin with a product of rows with rows, or note that it is none."""
        try:
            self.weighings[node.results[0]] = paired(self._pair_node(node))
        except Blocked:
            self.obstacles.add(node, RELATES)

    def go_on(self, node: Node) -> None:
        """Go on with what is made of pairs, or sum it over one of the two."""
        one = self._pair_node(node)
        try:
            if is_product(node):
                self._add_sum(summed(one))
            else:
                self.weighings[node.results[0]] = gone_on(one)
        except Blocked as why:
            for found in one.weighings.values():
                self._give_up(found, str(why))
            self.obstacles.go_on_behind(node)

    def end(self) -> None:
        """Give up what is an output, since no sum follows."""
        for name in self.draft.graph.outputs:
            if name in self.weighings:
                self._give_up(self.weighings[name], "an output holds what is made of them")

    def _give_up(self, found: Weighing, why: str) -> None:
        """Note why what is made of pairs is not summed up; all of it is lost."""
        same = [name for name, one in self.weighings.items() if one.first is found.first]
        if same:
            self.obstacles.add(found.first, f"{RELATES}, and {why}")
        for name in same:
            del self.weighings[name]
        self.obstacles.lost.update(same)

    def _pair_node(self, node: Node) -> PairNode:
        draft, axes = self.draft, self.draft.axes_of(node)
        pairs = {n: self.weighings[n] for n in node.operands if n in self.weighings}
        return PairNode(draft.graph, node, draft.call(node), axes, pairs, draft.laws)

    def _add_sum(self, found: WeightedSum) -> None:
        draft, node = self.draft, found.final.node
        found = found.opened() if draft.endless else found
        sources = [draft.numbers[one.name] for one in found.outside]
        value = draft.add_value(node.results[0], found.axis)
        nodes = tuple(step.node for step in found.weighing.steps)
        operands = dict(enumerate(sources))
        op = Op(node, Executor(found.run), operands, ((0, value),), earlier=nodes)
        reads = tuple(zip(sources, found.reaches(), strict=True))
        draft.add(op, Dependence((value,), reads, tail=draft.tail(*nodes, node)))
