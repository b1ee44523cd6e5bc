"""What constant masks hide: reads of constants, and of what a zero multiplies.

An op's own rule sees one call, which is not enough behind a mask: an element that is known to be
a constant (see ``constant_parts``) reads nothing, and a factor that is zero hides what it
multiplies, so that causal attention, written by hand, reads the past alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fieldwise.axes import IndexSet
from fieldwise.capture.torch.constant_parts import constant_parts
from fieldwise.capture.torch.overloads import describe
from fieldwise.capture.torch.registry import OpCall
from fieldwise.capture.torch.rules.common import Where
from fieldwise.capture.torch.rules.mask import products, visible
from fieldwise.capture.torch.rules.product import contraction
from fieldwise.graph.calls import bind, operator_of
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import WHOLE, Coord, Fixed, Node, Read, Separable, Shape, Unknown

KnownValues = Mapping[str, np.ndarray]

MANY_SUMS = "a masked product that is summed over several masked dimensions"

_PRODUCTS = ("matmul", "einsum")


def without_hidden(graph: Graph) -> Graph:
    """The graph without the reads of what its constant masks hide."""
    if not any(node.op in ("softmax", *_PRODUCTS) for node in graph.nodes):
        return graph
    known = {name: part.numpy() for name, part in constant_parts(graph).items()}
    if not known:
        return graph
    return replace(graph, nodes=tuple(_seen(node, graph, known) for node in graph.nodes))


def _seen(node: Node, graph: Graph, known: KnownValues) -> Node:
    reads = node.reads
    if node.op in _PRODUCTS and any(name in known for name in node.operands):
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
                yield _guarded(read, where)
        else:
            yield read


def _varies_more(operand: np.ndarray, varying: np.ndarray) -> bool:
    return operand.shape != varying.shape or bool((np.isnan(operand) & ~varying).any())


def _guarded(read: Read, where: Where) -> Read:
    """The read for these result indices alone."""
    step = read.steps[-1]
    assert isinstance(step, Separable)
    limits = dict(step.where)
    for dim, indices in where:
        limits[dim] = limits[dim] & indices if dim in limits else indices
    return replace(read, steps=(*read.steps[:-1], replace(step, where=tuple(limits.items()))))


# -------------------------------------------------------------------- what zeros multiply


@dataclass(frozen=True, slots=True)
class _Mask:
    """The places at which a factor of a product is not known to be zero.

    opened: one axis per label of the factor
    output: the labels of the result, whose shape is ``shape``
    """

    opened: np.ndarray
    labels: Sequence[str]
    output: Sequence[str]
    shape: Shape

    def varies(self, label: str) -> bool:
        """Whether the mask differs along this label."""
        along = np.moveaxis(self.opened, self.labels.index(label), 0)
        return bool((along != along[:1]).any())

    def over(self, summed: Sequence[str]) -> np.ndarray:
        """The mask with one axis per result dimension, then these; open where any place is."""
        kept = [*self.output, *summed]
        hidden = tuple(axis for axis, label in enumerate(self.labels) if label not in kept)
        opened: np.ndarray = np.asarray(self.opened.any(hidden))
        labels = [label for label in self.labels if label in kept]
        opened = opened.transpose(tuple(labels.index(k) for k in kept if k in labels))
        missing = [axis for axis, label in enumerate(kept) if label not in labels]
        return np.expand_dims(opened, tuple(missing))


def _of_factors(node: Node, graph: Graph, known: KnownValues) -> Iterator[Read]:
    """A factor is read where the other factors are not known to be zero."""
    terms, output = contraction(_call(node, graph))
    derived = [(number, labels) for number, labels in terms if number is not None]
    reads, shape = node.reads[0], graph.shape(node.results[0])
    for place, (_, labels) in enumerate(derived):
        parts = [reads[place]]
        for other, (number, masked) in enumerate(derived):
            part = known.get(node.operands[number])
            if other != place and part is not None:
                mask = _Mask(part != 0, masked, output, shape)
                parts = [new for old in parts for new in _limited(old, labels, mask)]
        yield from parts
    yield from reads[len(derived) :]


def _call(node: Node, graph: Graph) -> OpCall:
    assert node.source is not None
    op = describe(operator_of(node.source.target))
    return OpCall(
        op=op.plain,
        args=bind(node.source),
        operands=tuple(graph.shape(name) for name in node.operands),
        results=tuple(graph.shape(name) for name in node.results),
        operator=node.operator,
    )


def _limited(read: Read, labels: Sequence[str], mask: _Mask) -> Iterator[Read]:
    """The read of a factor with these labels, without what the mask of another one hides."""
    summed = [
        label
        for label in dict.fromkeys(labels)
        if label in mask.labels and label not in mask.output and mask.varies(label)
    ]
    if not summed:
        for where in products(mask.over(())):
            yield _guarded(read, where)
        return
    dim = list(dict.fromkeys(labels)).index(summed[0])
    if len(summed) > 1 or len(set(mask.labels)) < len(mask.labels) or _at(read, dim) != WHOLE:
        yield _changed(read, dim, Unknown(MANY_SUMS))
        return
    for coord, where in _seen_by_rows(mask.over(summed), mask.shape):
        yield _guarded(_changed(read, dim, coord), where)


def _seen_by_rows(opened: np.ndarray, shape: Shape) -> Iterator[tuple[Coord, Where]]:
    """What each result index sees of the mask's last axis: a table along one result dimension."""
    varying = [dim for dim in range(len(shape)) if opened.shape[dim] > 1]
    if not varying:
        yield Fixed(IndexSet.of(opened.ravel().nonzero()[0].tolist())), ()
        return
    row = varying[-1]
    dims = [*(dim for dim in range(len(shape)) if dim != row), row]
    yield from visible(opened.transpose([*dims, len(shape)]), dims, shape[row])


def _at(read: Read, dim: int) -> Coord:
    step = read.steps[-1]
    assert isinstance(step, Separable)
    return step.coords[dim]


def _changed(read: Read, dim: int, coord: Coord) -> Read:
    step = read.steps[-1]
    assert isinstance(step, Separable)
    coords = (*step.coords[:dim], coord, *step.coords[dim + 1 :])
    return replace(read, steps=(*read.steps[:-1], replace(step, coords=coords)))
