"""How the nodes of a graph hang together for a planner that takes some of them out of it.

A node that is gone hands on what it is given, as a copy does; so sums and layers are found behind
both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from fieldwise.fold.passing import is_copy
from fieldwise.fold.refusal import Stays, listed
from fieldwise.graph.calls import arguments, op_name
from fieldwise.graph.ir import Graph, Node, Read, Ref, Shape


@dataclass(frozen=True, eq=False)
class Summand:
    """A value that a tree of sums adds (sign 1) or subtracts (−1), and the node that reads it."""

    value: str
    reader: int
    sign: int


class Wiring:
    """Producers and readers of values, and the nodes that are gone."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.gone: set[int] = set()
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
        return bool(self.readers[value]) or value in self.graph.outputs

    def is_unshared(self, value: str, reader: int) -> bool:
        """Whether a value is there for this reader alone."""
        return value not in self.graph.outputs and self.readers[value] == [reader]

    def check_unshared(self, value: str, reader: int) -> None:
        """Raise Stays where something else needs the value, with its name."""
        if value in self.graph.outputs:
            raise Stays(f"'{value}' is also an output of the model")
        others = [self.name(number) for number in self.readers[value] if number != reader]
        if others:
            raise Stays(f"'{value}' is also read by {listed(others)}")

    def only_read(self, node: Node, result: str, place: int) -> Read:
        """The one read of an operand; raises Stays where there are several."""
        reads = [r for r in node.reads[node.results.index(result)] if r.operand == place]
        if len(reads) != 1:
            raise Stays(f"'{result}' reads '{node.operands[place]}' {len(reads)} times")
        return reads[0]

    def shapes(self, operand: str, result: str) -> tuple[Shape, Shape]:
        """Of an operand and a result."""
        return self.graph.shape(operand), self.graph.shape(result)

    # ---------------------------------------------------------------- copies

    def is_copy(self, number: int) -> bool:
        """Whether a node hands on what it is given."""
        return number in self.gone or is_copy(self.graph.nodes[number])

    def source(self, number: int) -> str:
        """The value that a copy is a copy of."""
        node = self.graph.nodes[number]
        return node.operands[places(node)[0]]

    def origin(self, value: str, until: int = -1) -> str | None:
        """The value that this one is a copy of; None where node ``until`` makes it."""
        number = self.producer.get(value)
        if number is not None and number == until:
            return None
        if number is None or not self.is_copy(number):
            return value
        return self.origin(self.source(number), until)

    def maker(self, value: str, reader: int) -> int | None:
        """The node that makes a value for this reader alone, copies looked through; else None."""
        number = self.producer.get(value)
        if number is None or not self.is_unshared(value, reader):
            return None
        if self.is_copy(number):
            return self.maker(self.source(number), number)
        return number

    # ---------------------------------------------------------------- sums

    def summands(self, number: int, sign: int = 1) -> Iterator[Summand]:
        """What a tree of sums adds up; a sum that others read too is a summand.

        Raises Stays for a sum that broadcasts, or that reads one value twice.
        """
        node = self.graph.nodes[number]
        value = node.results[0]
        for place, operand in enumerate(node.operands):
            self.only_read(node, value, place)
            if self.graph.shape(operand) != self.graph.shape(value):
                raise Stays(f"it reads a sum, '{value}', whose summands have different shapes")
            here = sign * sign_of(node, place)
            inner = self.maker(operand, number)
            if inner is not None and is_sum(self.graph.nodes[inner]):
                yield from self.summands(inner, here)
            else:
                yield Summand(operand, number, here)


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
