"""What a run on one size holds at once, from the graph alone."""

from __future__ import annotations

import re
from math import prod

from fieldwise.graph.ir import Graph, Value


def peak_bytes(graph: Graph) -> int:
    """The most that is alive at once, when every value is freed after its last use.

    Views count as copies and weights and workspaces not at all: an upper bound of activations.
    """
    last: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    for number, node in enumerate(graph.nodes):
        for name in (*node.operands, *node.results):
            last[name] = number
    last |= dict.fromkeys((*graph.outputs, *graph.inputs), len(graph.nodes))
    ends: dict[int, list[str]] = {}
    for name, number in last.items():
        ends.setdefault(number, []).append(name)
    held = sum(nbytes(graph.values[name]) for name in graph.inputs)
    peak = held
    for number, node in enumerate(graph.nodes):
        held += sum(nbytes(graph.values[name]) for name in node.results)
        peak = max(peak, held)
        held -= sum(nbytes(graph.values[name]) for name in ends.get(number, ()))
    return peak


def nbytes(value: Value) -> int:
    """The memory of a value.

    >>> nbytes(Value("x", (2, 3), "bfloat16"))
    12
    """
    bits = re.search(r"\d+", value.dtype)
    return prod(value.shape) * (int(bits[0]) // 8 if bits else 1)
