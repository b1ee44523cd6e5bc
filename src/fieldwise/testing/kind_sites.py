"""What of a recorded graph has a kind: a result of a call as a function of one operand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fieldwise.graph.calls import changed, constants_of, replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import (
    Call,
    Node,
    Read,
    Shape,
)
from fieldwise.graph.kinds import Kind

ValuesByNumber = dict[int, Tensor]
"""Operands by number."""


@dataclass(frozen=True)
class KindSite:
    """One result of a recorded call as a function of one operand.

    others: the operands of the call as they are
    beside: the operands that are read in the same way, itself among them
    """

    graph: Graph
    node: Node
    result: int
    operand: int
    others: ValuesByNumber
    beside: tuple[int, ...]

    @property
    def reads(self) -> tuple[Read, ...]:
        """The reads of the operand."""
        return tuple(r for r in self.node.reads[self.result] if r.operand == self.operand)

    @property
    def kind(self) -> Kind:
        """The kind of these reads."""
        return self.reads[0].kind

    @property
    def x(self) -> Tensor:
        """The operand as it is."""
        return self.others[self.operand]

    @property
    def shape(self) -> Shape:
        """Of the result."""
        return self.graph.shape(self.node.results[self.result])

    def __call__(self, x: Tensor) -> Tensor:
        """The result for another operand."""
        return self.at({self.operand: x})

    def at(self, operands: Mapping[int, Tensor], call: Call | None = None) -> Tensor:
        """The result for other operands, maybe of another call."""
        source = call or self.node.source
        assert source is not None
        with torch.no_grad():
            return replay(source, {**self.others, **operands})[self.result]

    def mapped(self, change: Callable[[int, Tensor], Tensor]) -> Tensor:
        """The result where all operands that are read in the same way are changed."""
        return self.at({n: change(n, self.others[n]) for n in self.beside})

    def uniform(self, seed: int) -> KindSite:
        """The same call where every tensor holds one number, each tensor its own."""
        dice = torch.Generator().manual_seed(seed)
        source = self.node.source
        assert source is not None
        node = replace(self.node, source=changed(source, Tensor, lambda t: uniform_like(t, dice)))
        others = {n: uniform_like(t, dice) for n, t in self.others.items()}
        return replace(self, node=node, others=others)


def sites(graph: Graph, inputs: Sequence[Tensor]) -> Iterator[KindSite]:
    """What of a graph's calls can be judged: of results and operands that are read in one way."""
    values = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        if node.source is None or any(t.is_meta for t in constants_of(node.source)):
            return  # nothing can be computed of it
        given = {n: values[name] for n, name in enumerate(node.operands)}
        with torch.no_grad():
            values |= dict(zip(node.results, replay(node.source, given), strict=True))
        dice = torch.Generator().manual_seed(len(values))
        others = {n: random_like(t, dice) for n, t in given.items()}
        for result, reads in enumerate(node.reads):
            kinds: dict[int, set[Kind]] = {}
            for read in reads:
                kinds.setdefault(read.operand, set()).add(read.kind)
            for operand, found in kinds.items():
                if len(found) == 1 and all(kind.is_known for kind in found):
                    beside = tuple(n for n, kind in kinds.items() if kind == found)
                    yield KindSite(graph, node, result, operand, others, beside)


def random_like(tensor: Tensor, dice: torch.Generator) -> Tensor:
    """Numbers in (0, 1), no two alike; of whole numbers and truths those that were there."""
    if tensor.is_floating_point() or tensor.is_complex():
        order = torch.randperm(tensor.numel(), generator=dice).double()
        jitter = torch.rand(tensor.numel(), generator=dice, dtype=torch.float64)
        found = ((order + 0.2 + 0.6 * jitter) / max(1, tensor.numel())).reshape(tensor.shape)
        return torch.complex(found, 1 - found) if tensor.is_complex() else found.to(tensor.dtype)
    return tensor.reshape(-1)[torch.randperm(tensor.numel(), generator=dice)].reshape(tensor.shape)


def uniform_like(tensor: Tensor, dice: torch.Generator) -> Tensor:
    """One number in (0.2, 0.8) everywhere; of whole numbers and truths the first one."""
    if not tensor.numel():
        return tensor
    if tensor.is_floating_point() or tensor.is_complex():
        return torch.full_like(tensor, 0.2 + 0.6 * torch.rand(1, generator=dice).item())
    return tensor.reshape(-1)[0].expand(tensor.shape).clone()
