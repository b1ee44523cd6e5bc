"""Layers that read the whole axis, exactly: passes over the input, each up to the next such layer.

A pass ends at values of which the whole is wanted.  What can be summed up is summed up; where
values may be kept, a layer that needs all of an operand finds it there whole, and the next pass
starts from what was kept instead of from the input.  ``pass_planner`` plans them, ``pass_run``
goes through them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import torch
from torch import Tensor

from fieldwise.capture.torch.autocast import as_recorded
from fieldwise.graph.calls import replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.known import Known, PartialSums
from fieldwise.tile.bands.plan import StreamPlan, plan_within
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.statistics import Statistic, planned, statistic_of
from fieldwise.tile.bands.store import Store

PassParts = tuple[PartialSums | None, ...]
"""What was summed up of some rows, for every node of a pass; None where it was given none."""


@dataclass(frozen=True, slots=True)
class WholeRun:
    """A node that is run once, on whole operands.

    streamed: those of its operands that are gathered for it
    known:    the others
    kept:     the results whose rows are read later, and where the axis lies; others are known whole
    """

    node: Node
    streamed: Mapping[str, AxisPlace]
    known: Mapping[str, Tensor]
    kept: Mapping[str, AxisPlace]


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the input, or over what was kept of it.

    program: up to the values of which the whole is wanted, and those that are kept
    summed:  the nodes that need to know the whole of a value of the program, and the value's number
    nodes:   all nodes for whose sake it is made, in the order of the graph
    whole:   values that are known whole from then on
    runs:    nodes that are run then
    kept:    values whose rows are read again later, and where the axis lies
    """

    graph: Graph
    program: Program
    summed: tuple[tuple[int, Node], ...]
    nodes: tuple[Node, ...]
    whole: tuple[str, ...] = ()
    runs: tuple[WholeRun, ...] = ()
    kept: Mapping[str, AxisPlace] = field(default_factory=dict)

    def statistics(self) -> list[Statistic]:
        """What is summed up for each node, of no rows yet."""
        return [
            _required(statistic_of(self.graph, node, self.program.values[value].axis))
            for value, node in self.summed
        ]

    def supposed(self) -> Known:
        """What stands in for what it will sum up."""
        return _joined(planned(summed, self.graph) for summed in self.statistics())

    @property
    def gathered(self) -> Mapping[int, str]:
        """The values of the program, by number, of which all rows are gathered."""
        operands = {name for one in self.runs for name in one.streamed}
        names = {*self.whole, *self.kept, *operands}
        values = self.program.values
        return {v: values[v].name for v in self.program.wiring.outputs if values[v].name in names}

    def after(self, known: Known, sums: Known, store: Store) -> Known:
        """What is known after the pass.

        known: before it; sums: what it has summed up; store: holds what it has gathered
        """
        kept = dict(self.kept)
        for one in self.runs:
            kept.update(one.kept)
        constants = [n for one in self.runs for n in one.node.results if n not in one.kept]
        values = {name: store.find(self.graph, name) for name in (*self.whole, *constants)}
        past = frozenset(op.node.results[0] for op in self.program.ops)
        return known.joined(sums).joined(Known(values, {}, kept, past)).needed(self.graph)

    def plan(self, band: int) -> StreamPlan:
        """What it keeps between its steps, and what is there at once where a node is run whole."""
        plan = self.plan_within(band, None)
        assert plan is not None
        return plan

    def plan_within(self, band: int, most: int | None) -> StreamPlan | None:
        """The same as far as it takes no more than ``most`` bytes (see ``plan.plan_within``)."""
        plan = plan_within(self.program, band, most)
        if plan is None:
            return None
        nodes = [one.node for one in self.runs]
        least = max((nbytes_of(self.graph, [*n.operands, *n.results]) for n in nodes), default=0)
        found = replace(plan, peak_bytes=max(plan.peak_bytes, least))
        return found if most is None or found.peak_bytes + found.state_bytes <= most else None


def nbytes_of(graph: Graph, names: Iterable[str]) -> int:
    """The bytes of some values of a graph, each counted once."""
    kinds = [graph.values[name] for name in set(names)]
    return sum(prod(kind.shape) * getattr(torch, kind.dtype).itemsize for kind in kinds)


class PassSums:
    """What a pass has summed up of the rows that it was given."""

    def __init__(self, one: Pass) -> None:
        self._values = [value for value, _ in one.summed]
        self._statistics = one.statistics()
        self._given = [False] * len(self._statistics)

    def add(self, value: int, rows: Tensor) -> None:
        """Take the next rows of a value into account."""
        with as_recorded():
            for number, summed in enumerate(self._statistics):
                if self._values[number] == value:
                    summed.add(rows)
                    self._given[number] = True

    def join(self, parts: Sequence[PartialSums | None]) -> None:
        """Take into account what was summed up of the rows that come next."""
        with as_recorded():
            for number, (summed, part) in enumerate(zip(self._statistics, parts, strict=True)):
                if part is not None:
                    summed.join(part)
                    self._given[number] = True

    def parts(self) -> PassParts:
        """What is summed up so far, for another run or another machine to go on with."""
        pairs = zip(self._statistics, self._given, strict=True)
        return tuple(summed.part() if is_given else None for summed, is_given in pairs)

    def known(self) -> Known:
        """What is known of the nodes after the last row."""
        return _joined(summed.known() for summed in self._statistics)


def run_whole(run: WholeRun, gathered: Mapping[str, Tensor]) -> list[Tensor]:
    """The results of a node, of operands that were gathered or are known."""
    node = run.node
    assert node.source is not None
    operands = [
        (gathered if name in run.streamed else run.known)[name].contiguous()
        for name in node.operands
    ]
    with as_recorded():
        return list(replay(node.source, operands))


def _joined(parts: Iterable[Known]) -> Known:
    known = Known()
    for one in parts:
        known = known.joined(one)
    return known


def _required(one: Statistic | None) -> Statistic:
    assert one is not None
    return one
