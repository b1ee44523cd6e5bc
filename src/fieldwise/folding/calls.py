"""What fold asks of a recorded call: its constants as arrays, whether a norm is affine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.graph.calls import arguments
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Ref, identity
from fieldwise.graph.tensors import TensorLike

Doubles = NDArray[np.float64]


def is_float(tensor: TensorLike) -> bool:
    """Whether a constant tensor holds real numbers."""
    return tensor.dtype.is_floating_point


def values(tensor: TensorLike) -> Doubles:
    """A constant tensor as a float64 array.

    Raises UsageError for one without values.
    """
    if tensor.is_meta:
        raise UsageError("The model is on the meta device and has no weights to fold; load them.")
    return tensor.detach().double().cpu().numpy()


def keeps_statistics(graph: Graph, node: Node) -> bool:
    """Whether a norm takes its statistics from its constants: an element reads itself alone."""
    source = arguments(node)["input"]
    if not isinstance(source, Ref):
        return True
    rank = len(graph.shape(node.operands[source.operand]))
    return identity(source.operand, rank) in node.reads[0]
