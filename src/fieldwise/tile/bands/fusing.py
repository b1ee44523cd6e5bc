"""The graph that is run on a card: the bias of a convolution is added by the ReLU behind it.

Values have the names and the shapes that they have in the model's own graph, and but for those
between the two, their bits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor

from fieldwise.graph.calls import bind, rebind
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Call, Node, Ref
from fieldwise.tile.bands.kernels.add_relu import ADD_RELU


def fuses_on(device: torch.device) -> bool:
    """Whether that is quicker on a device: on processors torch adds biases within convolutions."""
    return device.type == "cuda"


def with_biases_in_relus(graph: Graph) -> Graph:
    """The same network, each bias that nothing but a ReLU reads added by that ReLU.

    A depthwise convolution keeps its own: torch has a kernel for it that adds the bias by itself.
    """
    read = Counter(name for node in graph.nodes for name in node.operands)
    read.update(graph.outputs)
    nodes = {node.results[0]: node for node in graph.nodes}
    for node in graph.nodes:
        before = nodes.get(node.operands[0]) if _is_relu(node) else None
        bias = None if before is None else _bias_of(before, graph)
        if before is None or bias is None or read[before.results[0]] > 1:
            continue
        assert before.source is not None
        plain = replace(before, source=rebind(before.source, {"bias": None}))
        summed = replace(node, source=Call(ADD_RELU, (Ref(0), bias)))
        nodes |= {before.results[0]: plain, node.results[0]: summed}
    return replace(graph, nodes=tuple(nodes.values()))


def _is_relu(node: Node) -> bool:
    return node.source is not None and node.source.target is torch.ops.aten.relu.default


def _bias_of(node: Node, graph: Graph) -> Tensor | None:
    """What a convolution adds behind its kernel, as ReLU adds it; None where it does not."""
    if node.op not in _CONVOLUTIONS or node.source is None or len(node.operands) != 1:
        return None
    given = bind(node.source)
    weight, bias = given.get("weight"), given.get("bias")
    if not isinstance(weight, Tensor) or not isinstance(bias, Tensor):
        return None
    made = getattr(torch, graph.values[node.results[0]].dtype)
    is_depthwise = weight.shape[1] == 1 and given.get("groups", 1) > 1
    if is_depthwise or {weight.dtype, bias.dtype} != {made}:
        return None
    return bias.view(-1, *[1] * (weight.dim() - 2))


_CONVOLUTIONS = ("conv", "conv_transpose")
