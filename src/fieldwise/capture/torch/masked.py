"""What zeros of constants hide: reads of what they multiply (see ``zeros``, which finds these)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from fieldwise.capture.torch.calls import WriteThrough
from fieldwise.capture.torch.factors import MOST, guarded, of_factors
from fieldwise.capture.torch.hidden import behind_zeros
from fieldwise.capture.torch.registry import OpCall
from fieldwise.capture.torch.rereading import op_call
from fieldwise.capture.torch.rules.mask import products
from fieldwise.capture.torch.rules.product import CONTRACTIONS, contraction
from fieldwise.capture.torch.rules.window import through_kernel
from fieldwise.graph.calls import constants_of, op_name, opened
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Read
from fieldwise.graph.tensors import Values

_LARGEST = 1 << 22
"""Most elements of a masked value that is looked at further on: the scores of 2048 tokens."""


def without_masked(graph: Graph) -> Graph:
    """The graph without the reads of what its constants multiply by zero."""
    nodes = tuple(_seen(node, graph) for node in graph.nodes)
    found = replace(graph, nodes=nodes, zeros_hide=True)
    zeros = {
        node.results[0]: ~torch.from_numpy(mask)
        for node in nodes
        if node.op == "mul" and math.prod(graph.shape(node.results[0])) <= _LARGEST
        for mask in graph.zeros.get(node.results[0], {}).values()
    }
    return behind_zeros(found, zeros) if zeros else found


def _seen(node: Node, graph: Graph) -> Node:
    zeros = graph.zeros.get(node.results[0])
    if zeros is None:
        return node
    return replace(node, reads=(tuple(_reads(node, graph, zeros)), *node.reads[1:]))


def hides(node: Node, graph: Graph, zeros: Mapping[int, Values]) -> bool:
    """Whether these zeros hide anything, and what they leave can be said in few reads.

    Zeros that make more reads count as other numbers do.
    """
    most = max(MOST, *graph.shape(node.results[0])) if node.op == "mul" else MOST
    reads = tuple(islice(_reads(node, graph, zeros), most + 1))
    return len(reads) <= most and reads != node.reads[0]


def _reads(node: Node, graph: Graph, zeros: Mapping[int, Values]) -> Iterator[Read]:
    """How the first result reads; zeros: per factor, by its number, where it is not zero."""
    call, _ = opened_call(node, graph)
    return _RULES[node.op](node, call, zeros)


def opened_call(node: Node, graph: Graph) -> tuple[OpCall, list[Any]]:
    """The call of a product with its constants as further operands, and these."""
    assert node.source is not None
    again, constants = opened(node.source, len(node.operands))
    return op_call(node, graph, again, constants), constants


def is_product(node: Node) -> bool:
    """Whether a node multiplies what it reads by constants, by a rule that is known here."""
    call = node.source
    return (
        node.op in _RULES
        and call is not None
        and not isinstance(call.target, WriteThrough)
        and op_name(node) != "conv_tbc"
        and bool(constants_of(call))
    )


def factors(node: Node, call: OpCall) -> Sequence[int]:
    """The numbers of what is multiplied."""
    if node.op in CONTRACTIONS:
        return [number for number, _ in contraction(call)[0] if number is not None]
    names = ("self", "other") if node.op == "mul" else ("weight",)
    return [number for name in names if (number := call.operand(name)) is not None]


# -------------------------------------------------------------------- by op


def _by_kernel(node: Node, call: OpCall, zeros: Mapping[int, Values]) -> Iterator[Read]:
    """A signal is read through the taps that are not zero."""
    [opened_taps] = zeros.values()
    for read in node.reads[0]:
        if read.operand == call.operand("input"):
            yield from through_kernel(call, opened_taps)
        else:
            yield read


def _by_elements(node: Node, call: OpCall, zeros: Mapping[int, Values]) -> Iterator[Read]:
    """A value is read where the mask, broadcast to the result, is not zero."""
    [mask] = zeros.values()
    for read in node.reads[0]:
        for where in products(mask, len(call.result) - mask.ndim):
            yield guarded(read, where)


_RULES: dict[str, Callable[[Node, OpCall, Mapping[int, Values]], Iterator[Read]]] = {
    "conv": _by_kernel,
    "conv_transpose": _by_kernel,
    "mul": _by_elements,
    **dict.fromkeys(CONTRACTIONS, of_factors),
}
