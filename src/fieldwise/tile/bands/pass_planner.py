"""Which passes a network needs, and what each of them keeps for the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from fieldwise.graph.flops import flops_by_result
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Read
from fieldwise.graph.live import live_values
from fieldwise.tile.bands.compile import blocking, compile_program
from fieldwise.tile.bands.draft import Made
from fieldwise.tile.bands.follow import AxisPlace, by_operand, follow_all
from fieldwise.tile.bands.keeping import cheapest
from fieldwise.tile.bands.known import Known
from fieldwise.tile.bands.obstacles import Obstacle
from fieldwise.tile.bands.passes import Pass, WholeRun, nbytes_of
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.statistics import statistic_of
from fieldwise.tile.bands.store import Store
from fieldwise.tile.errors import Blocked, StreamError, reason


@dataclass(frozen=True)
class PassPlanner:
    """Plans the passes over the inputs of a graph, each from what is known before it.

    price: of keeping a byte, which is written and read, in 1024ths of an operation; None where
           nothing is kept
    moving: of reading or writing a byte that is at hand
    """

    graph: Graph
    axis: int
    price: int | None = None
    moving: int = 0
    made: Made = field(default_factory=dict)

    @cached_property
    def efforts(self) -> Mapping[str, int]:
        """What each node costs: its operations, and the bytes that it reads and writes."""
        operations = flops_by_result(self.graph)
        return {
            node.results[0]: (operations[node.results[0]] << 10)
            + self.moving * nbytes_of(self.graph, [*node.operands, *node.results])
            for node in self.graph.nodes
        }

    def next(self, known: Known) -> Pass | None:
        """The next pass; None where nothing is in the way any more.

        Raises StreamError, which names what can neither be streamed nor found in a pass.
        """
        obstacles = blocking(self.graph, self.axis, known, self.made)
        if not obstacles:
            return None
        summed: dict[str, list[Node]] = {}
        whole: dict[str, AxisPlace] = {}
        runs: list[WholeRun] = []
        refusals = []
        for one in obstacles:
            if self._is_summed(one, known):
                summed.setdefault(one.node.operands[0], []).append(one.node)
            elif self.price is None or not one.whole or one.node.source is None:
                refusals.append(reason(one.node, one.why))
            elif len(one.whole) < len(one.streamed):
                whole.update({name: one.streamed[name] for name in one.whole})
            else:
                runs.append(WholeRun(one.node, one.streamed, one.known, _row_axes(self.graph, one)))
        if refusals:
            raise StreamError(
                "The model cannot be streamed along this axis",
                refusals,
                _NO_SUM if self.price is None else _NO_WAY,
            )
        nodes = tuple(one.node for one in obstacles)
        found = self._made_pass(known, summed, whole, runs, nodes)
        return found if self.price is None else self._keeping(found, known, summed)

    def last(self, known: Known) -> Program:
        """The program that gives the outputs, after all passes."""
        return compile_program(self.graph, self.axis, known=known, made=self.made)

    def _is_summed(self, one: Obstacle, known: Known) -> bool:
        has_not_helped = one.node.results[0] in {*known.values, *known.affine}
        return not has_not_helped and statistic_of(self.graph, one.node, one.axis) is not None

    def _made_pass(
        self,
        known: Known,
        summed: Mapping[str, Sequence[Node]],
        whole: Mapping[str, AxisPlace],
        runs: Sequence[WholeRun],
        nodes: tuple[Node, ...],
        kept: Mapping[str, AxisPlace] | None = None,
    ) -> Pass:
        kept = {**whole, **(kept or {})}
        gathered = [*kept, *(name for one in runs for name in one.streamed)]
        missing = [name for name in gathered if name not in known.kept]
        targets = list(dict.fromkeys([*summed, *missing]))
        program = compile_program(
            self.graph, self.axis, known=known, targets=targets, made=self.made
        )
        numbers = {program.values[value].name: value for value in program.wiring.outputs}
        pairs = tuple((numbers[name], node) for name, group in summed.items() for node in group)
        return Pass(self.graph, program, pairs, nodes, tuple(whole), tuple(runs), kept)

    def _keeping(self, one: Pass, known: Known, summed: Mapping[str, Sequence[Node]]) -> Pass:
        """A pass that also keeps what later passes read, as far as that costs least."""
        assert self.price is not None
        after = one.after(known, one.supposed(), Store())
        made = {value for op in one.program.ops for _, value in op.results}
        values = [one.program.values[value] for value in made]
        price = {v.name: v.row_bytes * v.shape[v.dim] * self.price for v in values}
        names = cheapest(after.rest(self.graph), after.past, price, self.efforts)
        axes = {value.name: value.axis for value in values}
        kept = {name: axes[name] for name in names}
        whole = {name: one.kept[name] for name in one.whole}
        return self._made_pass(known, summed, whole, one.runs, one.nodes, kept)


def planned_passes(planner: PassPlanner) -> tuple[list[Pass], Program]:
    """All passes and the last program, as far as they are known before anything runs.

    Raises StreamError as ``PassPlanner.next`` does.
    """
    passes, known = list[Pass](), Known(plan=True)
    while (one := planner.next(known)) is not None:
        passes.append(one)
        known = one.after(known, one.supposed(), Store())
    return passes, planner.last(known)


def _row_axes(graph: Graph, one: Obstacle) -> dict[str, AxisPlace]:
    """The results of a node of which rows are read later, and where the axis lies in them."""
    live = live_values(graph)
    pairs = zip(one.node.results, one.node.reads, strict=True)
    found = {name: _row_axis(graph, one, name, reads) for name, reads in pairs if name in live}
    return {name: axis for name, axis in found.items() if axis is not None}


def _row_axis(graph: Graph, one: Obstacle, result: str, reads: Sequence[Read]) -> AxisPlace | None:
    """Where the rows of an operand lead, or where as many lie as it has."""
    shape = graph.shape(result)
    for number, found in by_operand(reads).items():
        name = one.node.operands[number]
        if name in one.streamed:
            axis, operand = one.streamed[name], graph.shape(name)
            size = operand[axis.dim]
            with suppress(Blocked):
                axis = follow_all(found, axis, operand, shape).axis
            if axis.dim < len(shape) and shape[axis.dim] == size > 1:
                return axis
    return None


def kept_bytes(graph: Graph, passes: Iterable[Pass]) -> int:
    """The most that is kept between passes, or gathered in one beside what it reads."""
    known, most = Known(plan=True), 0
    for one in passes:
        before = {*known.kept, *one.gathered.values()}
        after = one.after(known, one.supposed(), Store())
        most = max(most, nbytes_of(graph, before), nbytes_of(graph, {*before, *after.kept}))
        known = after
    return most


_NO_SUM = "These layers can neither be streamed nor summed up over several passes."
_NO_WAY = "These layers can neither be streamed nor be run once on all that they read."
