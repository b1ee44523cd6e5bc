"""What an analysis is given, as a graph: a captured one, or a module to capture."""

from __future__ import annotations

from typing import Any

from fieldwise.errors import UsageError
from fieldwise.graph.graph import Graph


def graph_of(model: Any, example: object) -> Graph:
    """The model itself if it is a ``Graph``; else its capture on an example input, or its shape.

    Raises CaptureError where the model cannot be recorded, UsageError without an example.
    """
    if isinstance(model, Graph):
        return model
    from fieldwise.capture.torch import capture

    if example is None:
        raise UsageError("A torch module is analysed on an example input; pass one, or its shape.")
    return capture(model, example)
