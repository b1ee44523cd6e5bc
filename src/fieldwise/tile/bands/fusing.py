"""The graph that is run on a card: a ReLU makes the sum or the BatchNorm before it as well.

It has the nodes, values and reads of the model's own graph, so that plans are the same, and so are
the states from which a run goes on: on another device it may go on in the other graph.  What stands
before such a ReLU, and nothing else reads, has other numbers than in the model, and no row of it is
kept from step to step; all other values have the model's bits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor

from fieldwise.graph.calls import bind, rebind
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Call, Node, Ref
from fieldwise.tile.bands.kernels.fused import ADD_RELU, BATCH_NORM_RELU, FIRST

Fused = tuple[Node, Node]
"""What stands before a ReLU, and the ReLU, as they are run."""


def fuses_on(device: torch.device) -> bool:
    """Whether that is quicker on a device: on processors torch adds biases within convolutions."""
    return device.type == "cuda"


def as_run_on(device: torch.device, graph: Graph) -> Graph:
    """The graph as it is run on a device."""
    return with_fused_relus(graph) if fuses_on(device) else graph


def with_fused_relus(graph: Graph) -> Graph:
    """The same network, whose ReLUs make what is before them where nothing else reads it."""
    read = Counter(name for node in graph.nodes for name in node.operands)
    read.update(graph.outputs)
    nodes = {node.results[0]: node for node in graph.nodes}
    for relu in graph.nodes:
        before = nodes.get(relu.operands[0]) if _is_relu(relu) else None
        if before is None or read[before.results[0]] > 1 or len(before.results) > 1:
            continue
        found = _with_bias(before, relu, graph) or _sum(before, relu, graph) or _norm(before, relu)
        nodes |= {node.results[0]: node for node in found or ()}
    return replace(graph, nodes=tuple(nodes.values()))


def _is_relu(node: Node) -> bool:
    return node.source is not None and node.source.target is torch.ops.aten.relu.default


def _with_bias(before: Node, relu: Node, graph: Graph) -> Fused | None:
    """A convolution without its bias, and a ReLU that adds it, as torch does by an op of its own.

    A depthwise convolution keeps it: torch has a kernel that adds the bias by itself.
    """
    if before.op not in ("conv", "conv_transpose") or len(before.operands) > 1:
        return None
    assert before.source is not None
    given = bind(before.source)
    weight, bias = given.get("weight"), given.get("bias")
    if not isinstance(weight, Tensor) or not isinstance(bias, Tensor):
        return None
    is_depthwise = weight.shape[1] == 1 and given.get("groups", 1) > 1
    if is_depthwise or {weight.dtype, bias.dtype} != {_dtype(before, graph)}:
        return None
    per_channel = bias.view(-1, *[1] * (weight.dim() - 2))
    plain = replace(before, source=rebind(before.source, {"bias": None}))
    return plain, replace(relu, source=Call(ADD_RELU, (Ref(0), per_channel)))


def _sum(before: Node, relu: Node, graph: Graph) -> Fused | None:
    """The first of two values, and a ReLU that adds the second; both have the sum's shape."""
    source = before.source
    if source is None or source.target is not torch.ops.aten.add.Tensor:
        return None
    if source.args != (Ref(0), Ref(1)) or source.kwargs.get("alpha", 1) != 1:
        return None
    kinds = {(graph.values[n].shape, graph.values[n].dtype) for n in before.operands}
    made = graph.values[before.results[0]]
    if kinds != {(made.shape, made.dtype)}:
        return None
    (read,) = relu.reads[0]
    adds = replace(
        relu,
        operands=(before.results[0], before.operands[1]),
        reads=((read, replace(read, operand=1)),),
        source=Call(ADD_RELU, (Ref(0), Ref(1))),
    )
    return replace(before, op="first", source=Call(FIRST, (Ref(0), Ref(1)))), adds


def _norm(before: Node, relu: Node) -> Fused | None:
    """What a BatchNorm in eval mode reads, and a ReLU that normalises it."""
    source = before.source
    if source is None or source.target is not torch.ops.aten.batch_norm.default:
        return None
    given = bind(source)
    numbers = [given[name] for name in ("weight", "bias", "running_mean", "running_var")]
    is_fixed = not any(isinstance(one, Ref) for one in numbers) and numbers[2] is not None
    if given["training"] or not is_fixed or len(before.operands) > 1:
        return None
    norms = replace(relu, source=Call(BATCH_NORM_RELU, (Ref(0), *numbers, given["eps"])))
    return replace(before, op="alias", source=Call(torch.ops.aten.alias.default, (Ref(0),))), norms


def _dtype(node: Node, graph: Graph) -> torch.dtype:
    found = getattr(torch, graph.values[node.results[0]].dtype)
    assert isinstance(found, torch.dtype)
    return found
