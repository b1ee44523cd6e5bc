"""Layers that read the whole axis, exactly: passes over the input, each up to the next such layer.

A pass ends at values of which the whole is wanted.  What can be summed up is summed up; where
values may be kept, a layer that needs all of an operand finds it there whole, and the next pass
starts from what was kept instead of from the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor

from fieldwise.capture.torch.autocast import as_recorded
from fieldwise.graph.calls import replay
from fieldwise.graph.flops import flops_by_result
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Read
from fieldwise.graph.live import live_values
from fieldwise.tile.bands.compile import Made, Obstacle, blocking, compile_program
from fieldwise.tile.bands.follow import AxisPlace, by_operand, follow_all
from fieldwise.tile.bands.keeping import cheapest
from fieldwise.tile.bands.known import Known
from fieldwise.tile.bands.plan import StreamPlan, plan_of
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.run import BandState, OutputRows
from fieldwise.tile.bands.statistics import PartialSums, Statistic, planned, statistic_of
from fieldwise.tile.bands.store import Store
from fieldwise.tile.errors import Blocked, StreamError, reason

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
        plan = plan_of(self.program, band)
        nodes = [one.node for one in self.runs]
        least = max((_nbytes(self.graph, [*n.operands, *n.results]) for n in nodes), default=0)
        return replace(plan, peak_bytes=max(plan.peak_bytes, least))


def kept_bytes(graph: Graph, passes: Iterable[Pass]) -> int:
    """The most that is kept between passes, or gathered in one beside what it reads."""
    known, most = Known(plan=True), 0
    for one in passes:
        before = {*known.kept, *one.gathered.values()}
        after = one.after(known, _supposed(one), Store())
        most = max(most, _nbytes(graph, before), _nbytes(graph, {*before, *after.kept}))
        known = after
    return most


def _nbytes(graph: Graph, names: Iterable[str]) -> int:
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


# -------------------------------------------------------------------- planned


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
            + self.moving * _nbytes(self.graph, [*node.operands, *node.results])
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
        after = one.after(known, _supposed(one), Store())
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
        known = one.after(known, _supposed(one), Store())
    return passes, planner.last(known)


def _supposed(one: Pass) -> Known:
    """What stands in for what a pass will sum up."""
    return _joined(planned(summed, one.graph) for summed in one.statistics())


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


# -------------------------------------------------------------------- carried out


@dataclass(frozen=True, slots=True)
class Prepared:
    """A program, and what its inputs are read from, in the order of the wiring."""

    program: Program
    arrays: tuple[Any, ...]

    @classmethod
    def of(
        cls, program: Program, graph: Graph, given: Sequence[object], kept: Mapping[str, object]
    ) -> Prepared:
        """A program of a graph whose inputs are given; other values are kept."""
        arrays = {**kept, **dict(zip(graph.inputs, given, strict=True))}
        names = [program.values[value].name for value in program.wiring.inputs]
        return cls(program, tuple(arrays[name] for name in names))


class SavedPasses(Protocol):
    """Where the passes so far are saved, as plain data (see jobs.checkpoint)."""

    def load(self) -> Any:
        """What was saved last, or None."""

    def offer(self, data: Callable[[], object], *, now: bool = False) -> None:
        """Save what ``data`` gives, if it is time to, or ``now``."""


@dataclass(frozen=True, slots=True)
class PassSection:
    """What a pass has found in a section of its rows: its sums, and the rows that are gathered."""

    parts: PassParts
    rows: Iterable[OutputRows] = ()


PassDriver = Callable[[Prepared, BandState | None], Iterable[OutputRows | BandState | PassSection]]
"""Goes through the inputs of a program, from its start or from a saved state; see ``drive``.

Or has others go through sections of it, and gives what they have found in their order.
"""


def run_passes(
    planner: PassPlanner,
    given: Sequence[object],
    go_through: PassDriver,
    store: Store,
    checkpoint: SavedPasses | None = None,
) -> Prepared:
    """The program that gives the outputs, after all passes over the inputs.

    given:      the inputs of the graph
    store:      where values are kept
    checkpoint: what an interrupted run has found is taken from there, and saved there

    Raises StreamError as ``PassPlanner.next`` does.
    """
    run = _Run(planner.graph, given, go_through, store, checkpoint)
    known = Known()
    while (one := planner.next(known)) is not None:
        known = run.passed(one, known)
    return Prepared.of(planner.last(known), planner.graph, given, store.arrays)


def next_pass(
    planner: PassPlanner, given: Sequence[object], store: Store, saved: SavedPasses
) -> tuple[Pass, Prepared]:
    """The first pass that is not finished, by what is saved of those before, and what it reads.

    Raises StreamError as ``PassPlanner.next`` does.
    """
    run = _Run(planner.graph, given, not_through, store, saved)
    known = Known()
    while (one := planner.next(known)) is not None and run.has_finished:
        known = run.passed(one, known)
    assert one is not None
    return one, Prepared.of(one.program, planner.graph, given, store.arrays)


def not_through(prepared: Prepared, state: BandState | None) -> Iterable[OutputRows]:  # noqa: ARG001
    """Go through nothing.  Raises RuntimeError: what is saved of the passes is not all of it."""
    raise RuntimeError("a pass is missing from what is saved of them")


class _Run:
    """The passes of one run; a pass that gathers rows is gone on with only where it has ended."""

    def __init__(
        self,
        graph: Graph,
        given: Sequence[object],
        go_through: PassDriver,
        store: Store,
        checkpoint: SavedPasses | None,
    ) -> None:
        self._graph, self._given, self._go_through = graph, given, go_through
        self._store, self._checkpoint = store, checkpoint
        saved = None if checkpoint is None else checkpoint.load()
        self._unfinished: Any
        finished, self._unfinished, manifest = saved or ([], None, {})
        if not store.adopt(manifest):
            finished, self._unfinished = [], None
        self._finished, self._earlier = list(finished), list(finished)

    @property
    def has_finished(self) -> bool:
        """Whether the next pass was finished in an earlier run."""
        return bool(self._earlier)

    def passed(self, one: Pass, known: Known) -> Known:
        """What is known after a pass."""
        sums = PassSums(one)
        if self._earlier:
            sums.join(self._earlier.pop(0))
            return one.after(known, sums.known(), self._store)
        self._go(one, sums)
        self._finished.append(sums.parts())
        after = one.after(known, sums.known(), self._store)
        needed = {*after.kept, *after.values}
        keeps = bool(one.gathered or one.runs)
        self._save(lambda: (self._finished, None, self._store.manifest(needed)), now=keeps)
        self._store.keep(needed)
        return after

    def _go(self, one: Pass, sums: PassSums) -> None:
        """Go through the input once."""
        kept = self._store.values
        gathered = {value: name for value, name in one.gathered.items() if name not in kept}
        for value, name in gathered.items():
            self._store.begin(name, self._graph.values[name], one.program.values[value].axis)
        state = None
        if self._unfinished is not None:
            state = BandState.of(self._unfinished[0])
            sums.join(self._unfinished[1])
            self._unfinished = None
        summed = {value for value, _ in one.summed}
        prepared = Prepared.of(one.program, self._graph, self._given, self._store.arrays)
        for part in self._go_through(prepared, state):
            if isinstance(part, BandState):
                if not gathered:
                    self._save(partial(_unfinished, self._finished, part, sums, self._store))
                continue
            if isinstance(part, PassSection):
                sums.join(part.parts)
                found = part.rows
            else:
                value, _, rows = part
                found = [part]
                if value in summed:
                    sums.add(value, rows)
            for value, lo, rows in found:
                if value in gathered:
                    self._store.write(gathered[value], lo, rows)
        for run in one.runs:
            whole = {name: self._store.find(self._graph, name) for name in run.streamed}
            results = run_whole(run, whole)
            for name, result in zip(run.node.results, results, strict=True):
                self._store.put(name, result, run.kept.get(name))

    def _save(self, data: Callable[[], object], now: bool = False) -> None:
        if self._checkpoint is not None:
            self._checkpoint.offer(data, now=now)


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


def _unfinished(
    finished: Sequence[PassParts], state: BandState, sums: PassSums, store: Store
) -> object:
    """What is saved within a pass, as plain data."""
    return finished, (state.plain(), sums.parts()), store.manifest(store.values)


def _joined(parts: Iterable[Known]) -> Known:
    known = Known()
    for one in parts:
        known = known.joined(one)
    return known


def _required(one: Statistic | None) -> Statistic:
    assert one is not None
    return one


_NO_SUM = "These layers can neither be streamed nor summed up over several passes."
_NO_WAY = "These layers can neither be streamed nor be run once on all that they read."
