"""What constant masks hide: reads of constants, and of what a zero multiplies.

An op's own rule sees one call, which is not enough behind a mask: an element that is known to be
a constant (see ``constant_parts``) reads nothing, and a factor that is zero hides what it
multiplies, so that causal attention, written by hand, reads the past alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from fieldwise.capture.torch.constant_parts import constant_parts
from fieldwise.capture.torch.factors import MOST, guarded, of_factors
from fieldwise.capture.torch.rereading import op_call
from fieldwise.capture.torch.rules.mask import products
from fieldwise.capture.torch.rules.product import CONTRACTIONS
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Read, Separable

KnownValues = Mapping[str, np.ndarray]


def without_hidden(graph: Graph) -> Graph:
    """The graph without the reads of what its constant masks hide."""
    if not any(node.op in ("softmax", *CONTRACTIONS) for node in graph.nodes):
        return graph
    known = {name: part.numpy() for name, part in constant_parts(graph).items()}
    if not known:
        return graph
    return replace(graph, nodes=tuple(_seen(node, graph, known) for node in graph.nodes))


def behind_zeros(graph: Graph, zeros: Mapping[str, Tensor]) -> Graph:
    """The graph of ``without_hidden``, without the reads of what these zeros hide further on.

    zeros: where values are zero that a mask multiplies, whose own nodes are as they should be
    """
    before = {name: part.numpy() for name, part in constant_parts(graph).items()}
    known = {name: part.numpy() for name, part in constant_parts(graph, zeros).items()}
    new = {
        name
        for name, part in known.items()
        if name not in before or not np.array_equal(part, before[name], equal_nan=True)
    }

    def seen(node: Node) -> Node:
        if node.results[0] in zeros or new.isdisjoint((*node.operands, node.results[0])):
            return node
        found = _seen(node, graph, known)
        return replace(
            found, reads=tuple(tuple(filter(_reads_some, reads)) for reads in found.reads)
        )

    return replace(graph, nodes=tuple(map(seen, graph.nodes)))


def _reads_some(read: Read) -> bool:
    """Whether some result reads it: guards of two masks may have nothing in common."""
    step = read.steps[-1]
    return not isinstance(step, Separable) or all(indices.count for _, indices in step.where)


def _seen(node: Node, graph: Graph, known: KnownValues) -> Node:
    reads = node.reads
    if node.op in CONTRACTIONS and any(name in known for name in node.operands):
        reads = (tuple(_of_factors(node, graph, known)),)
    if node.results[0] in known and _mixes(node):
        reads = (tuple(_of_varying(node, reads[0], known)), *reads[1:])
    return node if reads is node.reads else replace(node, reads=reads)


def _mixes(node: Node) -> bool:
    """Whether a result may be constant although what it reads varies: no copy is, but of writes."""
    return node.op == "index_put" or any(
        r.kind.combines not in ("one", "asked") for r in node.reads[0]
    )


# -------------------------------------------------------------------- constants read nothing


def _of_varying(node: Node, reads: Sequence[Read], known: KnownValues) -> Iterator[Read]:
    """The reads where the result varies; an operand that is constant there too needs no guard."""
    varying = np.isnan(known[node.results[0]])
    for read in reads:
        operand = known.get(node.operands[read.operand])
        if node.op == "softmax" or operand is None or _varies_more(operand, varying):
            for where in products(varying):
                yield guarded(read, where)
        else:
            yield read


def _varies_more(operand: np.ndarray, varying: np.ndarray) -> bool:
    return operand.shape != varying.shape or bool((np.isnan(operand) & ~varying).any())


# -------------------------------------------------------------------- what zeros multiply


def _of_factors(node: Node, graph: Graph, known: KnownValues) -> Iterator[Read]:
    """A factor is read where the other factors are not known to be zero."""
    parts = {n: known[name] != 0 for n, name in enumerate(node.operands) if name in known}
    assert node.source is not None
    return of_factors(node, op_call(node, graph, node.source), parts, most=MOST)
