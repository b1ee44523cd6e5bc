"""What to keep between passes: the cheapest choice, held against all choices there are."""

from __future__ import annotations

from itertools import chain, combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Value, identity
from fieldwise.tile.bands.keeping import cheapest

NODES = 7


@st.composite
def graphs(draw):
    """A graph of which some nodes at the end were not computed yet, and prices."""
    values, nodes = ["x"], []
    for number in range(NODES):
        read = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True))
        name = f"v{number}"
        nodes.append(
            Node("op", tuple(read), (name,), (tuple(identity(k, 1) for k in range(len(read))),))
        )
        values.append(name)
    graph = Graph(("x",), tuple(nodes), (values[-1],), {n: Value(n, (3,)) for n in values})
    past = {f"v{number}" for number in range(draw(st.integers(1, NODES - 1)))}
    price = st.integers(1, 30)
    bytes_of = {n: draw(price) for n in past if draw(st.booleans())}
    return graph, past, bytes_of, {f"v{n}": draw(price) for n in range(NODES)}


def cost(graph: Graph, past: set[str], kept: set[str], bytes_of, efforts) -> int:
    """Of keeping just these values, and computing what else is wanted."""
    makers = {node.results[0]: node for node in graph.nodes}
    wanted = {*graph.outputs}
    for node in graph.nodes:
        if node.results[0] not in past:
            wanted.update(node.operands)
    total, seen = 0, set[str]()
    waiting = [name for name in wanted if name in past]
    while waiting:
        name = waiting.pop()
        if name in seen or name in kept:
            continue
        seen.add(name)
        total += efforts[name]
        waiting += [operand for operand in makers[name].operands if operand in past]
    return total + sum(bytes_of[name] for name in kept)


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_no_other_choice_costs_less(case):
    graph, past, bytes_of, efforts = case
    found = set(cheapest(graph, past, bytes_of, efforts))
    names = sorted(bytes_of)
    choices = chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))
    least = min(cost(graph, past, set(kept), bytes_of, efforts) for kept in choices)
    assert found <= set(bytes_of)
    assert cost(graph, past, found, bytes_of, efforts) == least
