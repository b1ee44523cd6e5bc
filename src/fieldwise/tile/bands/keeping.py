"""Which values to keep between two passes: those that cost least, kept or computed again.

What later passes read of earlier ones is either kept, which costs its bytes, or computed again from
what is there, which costs operations, and asks for operands that are kept or computed in turn.  The
cheapest choice is a minimum cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node


def cheapest(
    rest: Graph, past: Container[str], bytes_of: Mapping[str, int], efforts: Mapping[str, int]
) -> list[str]:
    """The values to keep.

    rest:     what is left to compute of a graph, were nothing kept
    past:     the nodes that were computed already, by their first results
    bytes_of: the price of each value that can be kept
    efforts:  the price of each node that is computed again, by its first result
    """
    makers = {name: node for node in rest.nodes for name in node.results if node.results[0] in past}
    later = [node for node in rest.nodes if node.results[0] not in past]
    wanted = [*rest.outputs, *(name for node in later for name in node.operands)]
    network = _Network()
    open_values = list(dict.fromkeys(name for name in wanted if name in makers))
    for name in open_values:
        network.join(_NEEDED, name, _FAR)
    seen, entered = set(open_values), set[str]()
    while open_values:
        name = open_values.pop()
        node = makers[name]
        again = _again(node)
        network.join(name, again, bytes_of.get(name, _FAR))
        if again in entered:
            continue
        entered.add(again)
        network.join(again, _PAID, max(efforts[node.results[0]], 1))
        for operand in node.operands:
            if operand in makers:
                network.join(again, operand, _FAR)
                if operand not in seen:
                    seen.add(operand)
                    open_values.append(operand)
    needed = network.cut()
    return [name for name in makers if name in needed and _again(makers[name]) not in needed]


def _again(node: Node) -> str:
    """The choice to compute a node again."""
    return f"{node.results[0]} again"


_NEEDED, _PAID = "", " "
_FAR = 1 << 62


@dataclass(slots=True)
class _Network:
    """Vertices by name, and what may still flow from one to another."""

    room: dict[str, dict[str, int]] = field(default_factory=dict)

    def join(self, one: str, other: str, room: int) -> None:
        """An edge; several between the same vertices are one."""
        edges = self.room.setdefault(one, {})
        edges[other] = min(edges.get(other, 0) + room, _FAR)
        self.room.setdefault(other, {}).setdefault(one, 0)

    def cut(self) -> set[str]:
        """The vertices on the near side of a minimum cut between what is needed and what is paid.

        By shortest augmenting paths (Edmonds & Karp 1972).
        """
        while _PAID in (before := self._reached()):
            path, at = [], _PAID
            while at != _NEEDED:
                path.append((before[at], at))
                at = before[at]
            flow = min(self.room[one][other] for one, other in path)
            for one, other in path:
                self.room[one][other] -= flow
                self.room[other][one] += flow
        return set(before)

    def _reached(self) -> dict[str, str]:
        """Each vertex that something can still flow to, and the one before it."""
        before = {_NEEDED: _NEEDED}
        waiting = deque([_NEEDED])
        while waiting and _PAID not in before:
            one = waiting.popleft()
            for other, room in self.room.get(one, {}).items():
                if room > 0 and other not in before:
                    before[other] = one
                    waiting.append(other)
        return before
