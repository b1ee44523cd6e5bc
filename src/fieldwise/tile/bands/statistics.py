"""What a layer reads of the whole axis, summed up band by band: means, extremes, moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Shape
from fieldwise.graph.live import live_values
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.known import Known, PartialSums, stand_in
from fieldwise.tile.bands.moments import Norm, Spread, norm_groups
from fieldwise.tile.bands.reductions import Reduction, is_whole


class Statistic(Protocol):
    """What is summed up for one node."""

    @property
    def node(self) -> Node:
        """That node."""

    @property
    def normalises(self) -> bool:
        """Whether the node goes on row by row once its statistics are known."""

    def add(self, rows: Tensor) -> None:
        """Take the next rows of the node's operand into account."""

    def part(self) -> PartialSums:
        """What is summed up so far, for another machine to go on with."""

    def join(self, part: PartialSums) -> None:
        """Take into account what was summed up of the rows that come next."""

    def known(self) -> Known:
        """What is known of the node after the last row."""


def planned(one: Statistic, graph: Graph) -> Known:
    """What stands in for what a statistic will find, as long as only the plan is wanted."""
    first, *beside = one.node.results
    if not one.normalises:
        return Known({name: stand_in(graph.values[name]) for name in one.node.results})
    unit = torch.ones([1] * len(graph.shape(first)))
    return Known({name: stand_in(graph.values[name]) for name in beside}, {first: (unit, unit)})


def statistic_of(graph: Graph, node: Node, axis: AxisPlace) -> Statistic | None:
    """The statistic of a node of a graph whose only operand has its axis there, or None."""
    if axis.lead > 1:
        return None
    live = live_values(graph)
    wanted = [number for number, name in enumerate(node.results) if name in live]
    shapes = [graph.shape(name) for name in node.results]
    return statistic(node, axis.dim, graph.shape(node.operands[0]), shapes, wanted)


def statistic(
    node: Node,
    dim: int,
    shape: Shape,
    results: Sequence[Shape],
    wanted: Sequence[int] | None = None,
) -> Statistic | None:
    """The statistic of a node whose only operand has this shape and is streamed along ``dim``.

    wanted: the results that are used, by number; all of them by default

    None where the node is none that can be summed up, or where its results read less than all of
    the streamed axis: then what one band gives says nothing of the others.  Where the operand has
    no rows there are no bands to sum up.
    """
    if (
        len(node.operands) != 1
        or node.source is None
        or not shape[dim]
        or not _reads_whole(node, dim, shape[dim], results)
    ):
        return None
    wanted = range(len(results)) if wanted is None else wanted
    if all(read.kind.joins for number in wanted for read in node.reads[number]):
        return Reduction.of(node, dim, shape, results, tuple(wanted))
    if node.op in ("var", "std", "var_mean", "std_mean"):
        return Spread(node, results)
    groups = norm_groups(node, shape) if len(results) <= _NORMALISED else None
    return None if groups is None else Norm(node, results, groups, shape)


_NORMALISED = 3
"""Results of a norm that are known: what is normalised, the means and the reciprocal spreads."""


def _reads_whole(node: Node, dim: int, size: int, results: Sequence[Shape]) -> bool:
    """Whether every result reads the whole of this dimension of its operand."""
    found = [
        (read, shape) for reads, shape in zip(node.reads, results, strict=True) for read in reads
    ]
    return bool(found) and all(
        (step := read.single) is not None
        and not step.where
        and is_whole(step.coords[dim], size, shape)
        for read, shape in found
    )
