"""Layers that read the whole axis, exactly: one more pass over the input for each in sequence.

A pass streams up to the first layers that read the whole axis and sums up what they need to know;
the next goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node
from fieldwise.tile.bands.compile import Made, blocking, compile_program
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.statistics import KnownStatistics, Statistic, planned, statistic
from fieldwise.tile.errors import StreamError, reason


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the input: its program, and what it sums up of which of its values."""

    program: Program
    nodes: tuple[Node, ...]
    statistics: Mapping[int, Sequence[Statistic]]

    def __iter__(self) -> Iterator[Statistic]:
        return chain.from_iterable(self.statistics.values())


def next_pass(
    graph: Graph, axis: int, known: KnownStatistics, made: Made | None = None
) -> Pass | None:
    """The pass that sums up what can be summed up by now; None where nothing is left to sum up.

    made: what earlier passes of the graph have made of its nodes (see ``compile_program``)

    Raises StreamError, which names what can be neither streamed nor summed up.
    """
    blocked = blocking(graph, axis, known, made)
    found: dict[str, list[Statistic]] = {}
    refusals = []
    for node, why, dim in blocked:
        shapes = [graph.shape(name) for name in node.results]
        one = statistic(node, dim, graph.shape(node.operands[0]), shapes)
        if node.results[0] in {*known.values, *known.affine}:
            one = None  # that it is known has not helped
        if one is None:
            refusals.append(reason(node, why))
        else:
            found.setdefault(node.operands[0], []).append(one)
    if refusals:
        remedy = "These layers can neither be streamed nor summed up over several passes."
        raise StreamError("The model cannot be streamed along this axis", refusals, remedy)
    if not found:
        return None
    program = compile_program(graph, axis, known=known, targets=list(found), made=made)
    values = dict(zip(found, program.outputs, strict=True))
    nodes = tuple(node for node, _, _ in blocked)
    return Pass(program, nodes, {values[name]: group for name, group in found.items()})


def run_passes(
    graph: Graph, axis: int, run: Callable[[Pass], bool], device: torch.device
) -> tuple[list[Pass], Program]:
    """All passes and the last program; ``run`` carries a pass out, or says False to plan only.

    Raises StreamError as next_pass does.
    """
    known, passes, made = KnownStatistics(), list[Pass](), Made()
    while (one := next_pass(graph, axis, known, made)) is not None:
        passes.append(one)
        done = run(one)
        for summed in one:
            known = known.joined(summed.known() if done else planned(summed, graph, device))
    return passes, compile_program(graph, axis, known=known, made=made)
