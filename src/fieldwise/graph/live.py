"""Which values of a graph matter to its outputs."""

from __future__ import annotations

from fieldwise.graph.graph import Graph


def live_values(graph: Graph) -> set[str]:
    """The values that some output depends on."""
    live = set(graph.outputs)
    for node in reversed(graph.nodes):
        if not live.isdisjoint(node.results):
            live.update(node.operands)
    return live
