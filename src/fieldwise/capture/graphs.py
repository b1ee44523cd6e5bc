"""What an analysis is given, as a graph: a captured one, or a module to capture."""

from __future__ import annotations

from typing import Any

from fieldwise.errors import CaptureError, UsageError
from fieldwise.graph.graph import Graph


def graph_of(model: Any, example: object, *, zeros: bool = True) -> Graph:
    """The model itself if it is a ``Graph``; else its capture on an example input, or its shape.

    An example of another type of numbers than the model's stands for one that the model takes.
    zeros: whether the graph says where its constants are zero for good (see ``record``)

    Raises CaptureError where the model cannot be recorded, UsageError without an example.
    """
    if isinstance(model, Graph):
        return model
    from fieldwise.capture.torch.capture import capture, record
    from fieldwise.capture.torch.given import NO_EXAMPLE
    from fieldwise.capture.torch.other_inputs import forgiven

    if example is None:
        raise UsageError(NO_EXAMPLE)
    make = capture if zeros else record
    try:
        return make(model, example)
    except CaptureError as error:
        return forgiven(model, example, error, make)


def read_graph(graph: Graph) -> Graph:
    """The graph in which nothing is read that a constant multiplies by zero for good."""
    if graph.zeros_hide or not graph.zeros:
        return graph
    from fieldwise.capture.torch.masked import without_masked

    return without_masked(graph)
