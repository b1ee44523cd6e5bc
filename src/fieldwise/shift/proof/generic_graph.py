"""The graph of a module in which what is computed from parameters is generic too.

A constant is judged by its values, a parameter is not: it counts as generic.  Tables that are
looked up in parameters lie between: a bias that is zero today, looked up by distance, looks
uniform.  So the parameters behind such constants are drawn at random before the model is recorded.
"""

from __future__ import annotations

from typing import Any

from fieldwise.capture.graphs import graph_of
from fieldwise.graph.calls import arguments
from fieldwise.graph.constants import tensors
from fieldwise.graph.graph import Graph


def generic_graph(model: Any, example: object) -> Graph:
    """As ``capture.graphs.graph_of``, which records a module; a ``Graph`` stays as it is."""
    graph = graph_of(model, example, zeros=False)
    if isinstance(model, Graph) or not hasattr(model, "named_parameters"):
        return graph
    behind = _behind_constants(graph, model)
    if not behind:
        return graph
    from fieldwise.capture.torch.redrawn import redrawn

    return graph_of(redrawn(model, behind), example, zeros=False)


def _behind_constants(graph: Graph, model: Any) -> set[str]:
    """The parameters from which constants of some recorded call were computed."""
    from fieldwise.capture.torch.running import is_inexact

    drawable = {
        name
        for name, tensor in model.named_parameters(remove_duplicate=False)
        if is_inexact(tensor) and not tensor.is_meta
    }
    found = set[str]()
    for node in graph.nodes:
        behind = drawable.intersection(node.parameters)
        if behind and any(
            type(tensor).__name__ != "Parameter" and is_inexact(tensor)
            for _, tensor in tensors(arguments(node))
        ):
            found |= behind
    return found
