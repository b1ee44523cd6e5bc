"""How the nodes of a graph hang together for a planner that takes some of them out of it.

A node that is gone hands on what it is given, as a copy does; so sums and layers are found behind
both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fieldwise.folding.labels import BARE, Labels, pulled
from fieldwise.folding.passing import is_copy
from fieldwise.folding.refusal import Stays, listed
from fieldwise.graph.calls import arguments, op_name
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Read, Ref, Shape


@dataclass(frozen=True, eq=False)
class Summand:
    """A value that a tree of sums adds (sign 1) or subtracts (−1), and the node that reads it."""

    value: str
    reader: int
    sign: int


class GraphWiring:
    """Producers and readers of values, and the nodes that are gone.

    held: see ``plan``
    """

    def __init__(self, graph: Graph, held: Mapping[str, str] | None = None) -> None:
        self.graph = graph
        self.held = held or {}
        self.gone: set[int] = set()
        self._skipped: dict[tuple[str, int], tuple[str, int]] = {}
        self.producer = {r: n for n, node in enumerate(graph.nodes) for r in node.results}
        self.readers: dict[str, list[int]] = defaultdict(list)
        for number, node in enumerate(graph.nodes):
            for place in places(node):
                self.readers[node.operands[place]].append(number)

    def name(self, number: int) -> str:
        """How reasons call a node: its module, or its value where a forward does the work."""
        node = self.graph.nodes[number]
        return node.module or node.results[0]

    def is_used(self, value: str) -> bool:
        """Whether anything reads a value, or the model returns it."""
        return bool(self.readers[value]) or value in self.graph.outputs or value in self.held

    def is_unshared(self, value: str, reader: int) -> bool:
        """Whether a value is there for this reader alone."""
        free = value not in self.graph.outputs and value not in self.held
        return free and self.readers[value] == [reader]

    def check_unshared(self, value: str, reader: int, labels: Labels) -> None:
        """Raise Stays where something else needs what labels say of the value, with its name.

        Others may read what is labelled as not touched (the other half of a split).
        """
        if value in self.graph.outputs:
            raise Stays(f"'{value}' is also an output of the model")
        if value in self.held:
            raise Stays(self.held[value])
        others = [number for number in self.readers[value] if number != reader]
        if any(self._touches(number, value, labels) for number in others):
            names = [self.name(number) for number in others]
            if len({*names}) < len(names):
                names = [self.graph.nodes[number].results[0] for number in others]
            raise Stays(f"'{value}' is also read by {listed(names)}")

    def _touches(self, number: int, value: str, labels: Labels) -> bool:
        """Whether a node reads elements of a value that are labelled."""
        if not (labels == BARE).any():
            return True
        node = self.graph.nodes[number]
        for result, reads in zip(node.results, node.reads, strict=True):
            everything = np.zeros([1] * len(self.graph.shape(result)), dtype=np.int64)
            for read in reads:
                if node.operands[read.operand] != value:
                    continue
                try:
                    read_here = pulled(everything, read, *self.shapes(value, result), shared=True)
                except Stays:
                    return True
                if ((read_here != BARE) & (labels != BARE)).any():
                    return True
        return False

    def past_gone(self, value: str, reader: int, labels: Labels) -> tuple[str, int]:
        """The value that this reader is given once nodes are gone, and the first of those nodes.

        Raises Stays where something else needs what labels say of one of the values on the way.
        """
        way = []
        while True:
            self.check_unshared(value, reader, labels)
            number = self.producer.get(value)
            if number not in self.gone or number is None:
                break
            if len(self.readers[value]) == 1:
                way.append((value, reader))
            else:
                way.clear()
            value, reader = self._skipped.get((value, reader)) or (
                self.graph.nodes[number].operands[0],
                number,
            )
        self._skipped.update(dict.fromkeys(way, (value, reader)))
        return value, reader

    def only_read(self, node: Node, result: str, place: int) -> Read:
        """The one read of an operand; raises Stays where there are several."""
        reads = [r for r in node.reads[node.results.index(result)] if r.operand == place]
        if len(reads) != 1:
            raise Stays(f"'{result}' reads '{node.operands[place]}' {len(reads)} times")
        return reads[0]

    def alike(
        self, node: Node, result: str, place: int, labels: Labels, through: Callable[..., Labels]
    ) -> Labels:
        """Labels through the reads of an operand; raises Stays where these give different ones."""
        reads = [r for r in node.reads[node.results.index(result)] if r.operand == place]
        shapes = self.shapes(node.operands[place], result)
        found = [through(labels, read, *shapes) for read in reads]
        if not found or not all(np.array_equal(found[0], other) for other in found[1:]):
            self.only_read(node, result, place)
        return found[0]

    def shapes(self, operand: str, result: str) -> tuple[Shape, Shape]:
        """Of an operand and a result."""
        return self.graph.shape(operand), self.graph.shape(result)

    # ---------------------------------------------------------------- copies

    def is_copy(self, number: int) -> bool:
        """Whether a node hands on what it is given."""
        return number in self.gone or is_copy(self.graph, self.graph.nodes[number])

    def source(self, number: int) -> str:
        """The value that a copy is a copy of."""
        node = self.graph.nodes[number]
        return node.operands[places(node)[0]]

    def origin(self, value: str, until: int = -1) -> str | None:
        """The value that this one is a copy of; None where node ``until`` makes it."""
        while (number := self.producer.get(value)) is not None and self.is_copy(number):
            if number == until:
                return None
            value = self.source(number)
        return value if number is None or number != until else None

    def maker(self, value: str, reader: int) -> int | None:
        """The node that makes a value for this reader alone, copies looked through; else None."""
        while (number := self.producer.get(value)) is not None:
            if not self.is_unshared(value, reader):
                return None
            if not self.is_copy(number):
                return number
            value, reader = self.source(number), number
        return None

    # ---------------------------------------------------------------- sums

    def summands(self, number: int) -> Iterator[Summand]:
        """What a tree of sums adds up; a sum that others read too is a summand.

        Raises Stays for a sum that broadcasts, or that reads one value twice.
        """
        waiting = [Summand(self.graph.nodes[number].results[0], -1, 1)]
        inner: int | None = number
        while waiting:
            summand = waiting.pop()
            if summand.reader >= 0:
                inner = self.inner_sum(summand.value, summand.reader)
            if inner is None:
                yield summand
                continue
            node, total = self.graph.nodes[inner], self.graph.nodes[inner].results[0]
            for place, operand in enumerate(node.operands):
                self.only_read(node, total, place)
                if self.graph.shape(operand) != self.graph.shape(total):
                    raise Stays(f"it reads a sum, '{total}', whose summands have different shapes")
            waiting.extend(
                Summand(operand, inner, summand.sign * sign_of(node, place))
                for place, operand in reversed(list(enumerate(node.operands)))
            )

    def inner_sum(self, value: str, reader: int) -> int | None:
        """The sum that makes a value for this reader alone; None where none does."""
        number = self.maker(value, reader)
        return number if number is not None and is_sum(self.graph.nodes[number]) else None


def places(node: Node) -> list[int]:
    """The operands that are read; an operand may also be asked for its shape alone."""
    read = {read.operand for reads in node.reads for read in reads}
    return sorted(read)


def is_sum(node: Node) -> bool:
    """Whether a node adds two values, or subtracts one from the other."""
    return op_name(node) in ("add", "sub") and (
        len(node.operands) == 2 and arguments(node).get("alpha", 1) == 1
    )


def sign_of(node: Node, place: int) -> int:
    """−1 for the operand that a sum subtracts, else 1."""
    return 1 if node.op == "add" or arguments(node)["self"] == Ref(place) else -1
