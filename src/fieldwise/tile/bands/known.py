"""What the passes so far have found, and what they have kept."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Shape, Value
from fieldwise.tile.bands.follow import AxisPlace

PartialSums = tuple[torch.dtype, int, tuple[Tensor, ...]]
"""Of some rows: their type, a count, and what is summed up of them, as tensors."""


@dataclass(frozen=True, slots=True)
class Known:
    """What need not be computed any more, by name of the value.

    values: values that are there whole: what was summed up, and what layers read all of
    affine: (scale, shift) in place of a norm, in no less than single precision; they have the rank
            of what is normalised
    kept:   values whose rows are read again, from where they are kept, and where the axis lies
    past:   the nodes whose rows some pass has computed, by name of the first result
    plan:   whether the values only stand in for what will be found
    """

    values: Mapping[str, Tensor] = field(default_factory=dict)
    affine: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    kept: Mapping[str, AxisPlace] = field(default_factory=dict)
    past: frozenset[str] = frozenset()
    plan: bool = False

    def joined(self, other: Known) -> Known:
        """All that either knows."""
        return Known(
            {**self.values, **other.values},
            {**self.affine, **other.affine},
            {**self.kept, **other.kept},
            self.past | other.past,
            self.plan or other.plan,
        )

    @property
    def is_nothing(self) -> bool:
        """Whether everything is still to be computed."""
        return not (self.values or self.affine or self.kept)

    def rest(self, graph: Graph, outputs: Sequence[str] | None = None) -> Graph:
        """What is left to compute of a graph; its inputs are those that are read, kept ones too."""
        return between(graph, {*self.values, *self.kept}, outputs or graph.outputs)

    def needed(self, graph: Graph) -> Known:
        """The same without what nothing reads any more."""
        rest = self.rest(graph)
        read = {*rest.outputs, *rest.inputs, *(name for n in rest.nodes for name in n.operands)}
        return replace(
            self,
            values={name: value for name, value in self.values.items() if name in read},
            kept={name: dim for name, dim in self.kept.items() if name in read},
        )


def between(graph: Graph, known: Container[str], outputs: Sequence[str]) -> Graph:
    """The part of a graph that computes some values where others are known already.

    Its inputs are those of the graph, and known values, that it reads.
    """
    live = {name for name in outputs if name not in known}
    nodes = []
    for node in reversed(graph.nodes):
        if not live.isdisjoint(node.results):
            nodes.append(node)
            live.update(name for name in node.operands if name not in known)
    read = {*outputs, *(name for node in nodes for name in node.operands)}
    values = [name for name in graph.values if name in known and name in read]
    inputs = [name for name in graph.inputs if name in live]
    return replace(
        graph,
        inputs=tuple(dict.fromkeys([*inputs, *values])),
        nodes=tuple(reversed(nodes)),
        outputs=tuple(outputs),
    )


def stand_in(value: Value) -> Tensor:
    """A tensor like a value that is not there yet; it takes no memory."""
    return torch.zeros((), dtype=getattr(torch, value.dtype)).expand(value.shape)


def check_same_shape(one: Tensor, other: Shape) -> None:
    """Raise RuntimeError for a part of another shape, which would be broadcast in silence."""
    if tuple(one.shape) != tuple(other):
        raise RuntimeError(f"a sum has the shape {tuple(one.shape)} instead of {tuple(other)}")
