"""What the nodes of a graph cost, in floating point operations, before anything runs.

Products are counted by torch (two operations for each multiplication and addition); what else
computes something counts one per element of its results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from fieldwise.capture.torch.overloads import on_device
from fieldwise.capture.torch.results import META
from fieldwise.graph.calls import constants_of, replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Args, Kwargs, Node, Shape
from fieldwise.tile.bands.kernels.registry import without_data


def efforts(graph: Graph) -> Mapping[str, int]:
    """Operations of each node of a graph at the size that was captured, by its first result."""
    with FlopCounterMode(display=False) as counter:
        return {node.results[0]: _effort(graph, node, counter) for node in graph.nodes}


def _effort(graph: Graph, node: Node, counter: Any) -> int:
    copies = all(read.kind.combines == "one" for reads in node.reads for read in reads)
    elements = 0 if copies else sum(prod(graph.shape(name)) for name in node.results)
    if node.source is None or not _multiplies(node):
        return elements
    if any(read.kind.scans for reads in node.reads for read in reads):
        return elements + _of_recurrence(graph.shape(node.operands[0]), constants_of(node.source))
    before = counter.get_total_flops()
    given = [without_data(graph.shape(name), _dtype(graph, name)) for name in node.operands]
    try:
        replay(node.source, given, by=_on_meta)
    except (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError):
        return elements
    return elements + int(counter.get_total_flops() - before)


def _on_meta(target: Callable[..., object], args: Args, kwargs: Kwargs) -> object:
    args, kwargs = on_device(META, args, kwargs)
    return target(*args, **kwargs)


def _multiplies(node: Node) -> bool:
    """Whether there may be products that torch counts."""
    return any(not read.kind.alike and read.kind.combines in ("product", "any", "sum", "mean")
               for reads in node.reads for read in reads)  # fmt: skip


def _of_recurrence(sequence: Shape, weights: Iterable[Any]) -> int:
    """Each step of a recurrent layer takes all of its weights once per sample."""
    steps = prod(sequence[:-1])
    return 2 * steps * sum(weight.numel() for weight in weights if weight.dim() == 2)


def _dtype(graph: Graph, name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, graph.values[name].dtype)
    return found
