"""Layers that read the whole axis, exactly: one more pass over the input for each in sequence.

A pass streams up to the first layers that read the whole axis and sums up what they need to know;
the next goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from fieldwise.capture.torch.autocast import as_recorded
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node
from fieldwise.tile.bands.compile import Made, blocking, compile_program
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.run import BandState, OutputRows
from fieldwise.tile.bands.statistics import (
    KnownStatistics,
    PartialSums,
    Statistic,
    planned,
    statistic_of,
)
from fieldwise.tile.errors import StreamError, reason

PassParts = tuple[PartialSums | None, ...]
"""What was summed up of some rows, for every node of a pass; None where it was given none."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the input.

    program: up to the values that are summed up
    summed:  the nodes that need to know the whole of a value of the program, and the value's number
    nodes:   the same nodes in the order of the graph
    """

    graph: Graph
    program: Program
    summed: tuple[tuple[int, Node], ...]
    nodes: tuple[Node, ...]

    def statistics(self) -> list[Statistic]:
        """What is summed up for each node, of no rows yet."""
        return [
            _required(statistic_of(self.graph, node, self.program.values[value].axis))
            for value, node in self.summed
        ]


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

    def known(self) -> KnownStatistics:
        """What is known of the nodes after the last row."""
        return _joined(summed.known() for summed in self._statistics)


class SavedPasses(Protocol):
    """Where the passes so far are saved, as plain data (see jobs.checkpoint)."""

    def load(self) -> Any:
        """What was saved last, or None."""

    def offer(self, data: Callable[[], object]) -> None:
        """Save what ``data`` gives, if it is time to."""


PassDriver = Callable[[Program, BandState | None], Iterable[OutputRows | BandState]]
"""Goes through the input with a program, from its start or from a saved state; see ``drive``."""


def next_pass(
    graph: Graph, axis: int, known: KnownStatistics, made: Made | None = None
) -> Pass | None:
    """The pass that sums up what can be summed up by now; None where nothing is left to sum up.

    made: what earlier passes of the graph have made of its nodes (see ``compile_program``)

    Raises StreamError, which names what can be neither streamed nor summed up.
    """
    blocked = blocking(graph, axis, known, made)
    summed: dict[str, list[Node]] = {}
    refusals = []
    for node, why, place in blocked:
        has_not_helped = node.results[0] in {*known.values, *known.affine}
        if has_not_helped or statistic_of(graph, node, place) is None:
            refusals.append(reason(node, why))
        else:
            summed.setdefault(node.operands[0], []).append(node)
    if refusals:
        remedy = "These layers can neither be streamed nor summed up over several passes."
        raise StreamError("The model cannot be streamed along this axis", refusals, remedy)
    if not summed:
        return None
    program = compile_program(graph, axis, known=known, targets=list(summed), made=made)
    groups = zip(program.outputs, summed.values(), strict=True)
    pairs = tuple((value, node) for value, group in groups for node in group)
    return Pass(graph, program, pairs, tuple(node for node, _, _ in blocked))


def planned_passes(graph: Graph, axis: int, device: torch.device) -> tuple[list[Pass], Program]:
    """All passes and the last program, as far as they are known before anything runs.

    Raises StreamError as next_pass does.
    """
    passes: list[Pass] = []

    def supposed(one: Pass) -> KnownStatistics:
        passes.append(one)
        return _joined(planned(summed, graph, device) for summed in one.statistics())

    return passes, _last_program(graph, axis, supposed)


def run_passes(
    graph: Graph, axis: int, go_through: PassDriver, checkpoint: SavedPasses | None = None
) -> Program:
    """The program that gives the outputs, after all passes over the input.

    checkpoint: what an interrupted run has summed up is taken from there, and saved there

    Raises StreamError as next_pass does.
    """
    saved = None if checkpoint is None else checkpoint.load()
    finished, unfinished = ([], None) if saved is None else saved
    earlier = iter(list(finished))

    def offer(data: Callable[[], object]) -> None:
        if checkpoint is not None:
            checkpoint.offer(data)

    def found(one: Pass) -> KnownStatistics:
        nonlocal unfinished
        sums = PassSums(one)
        parts = next(earlier, None)
        if parts is not None:
            sums.join(parts)
            return sums.known()
        state = None
        if unfinished is not None:
            state = BandState.of(unfinished[0])
            sums.join(unfinished[1])
            unfinished = None
        for part in go_through(one.program, state):
            if isinstance(part, BandState):
                offer(partial(_unfinished, finished, part, sums))
            else:
                value, _, rows = part
                sums.add(value, rows)
        finished.append(sums.parts())
        offer(lambda: (finished, None))
        return sums.known()

    return _last_program(graph, axis, found)


def _last_program(graph: Graph, axis: int, found: Callable[[Pass], KnownStatistics]) -> Program:
    """The program after all passes; ``found`` tells what a pass finds out."""
    known, made = KnownStatistics(), Made()
    while (one := next_pass(graph, axis, known, made)) is not None:
        known = known.joined(found(one))
    return compile_program(graph, axis, known=known, made=made)


def _unfinished(finished: Sequence[PassParts], state: BandState, sums: PassSums) -> object:
    """What is saved within a pass, as plain data."""
    return finished, (state.plain(), sums.parts())


def _joined(parts: Iterable[KnownStatistics]) -> KnownStatistics:
    known = KnownStatistics()
    for one in parts:
        known = known.joined(one)
    return known


def _required(one: Statistic | None) -> Statistic:
    assert one is not None
    return one
