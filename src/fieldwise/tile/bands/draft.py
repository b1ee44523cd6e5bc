"""A program as it grows: values that are streamed, ops that make them, and what is there whole."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction

from torch import Tensor

from fieldwise.errors import UsageError
from fieldwise.graph.calls import changed
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Call, Node, Ref
from fieldwise.tile.bands.early import AxisShare, is_early, is_of_few, share_of
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.kernels import Executor, Link, Site
from fieldwise.tile.bands.kernels.constants import Laws, laws_among
from fieldwise.tile.bands.program import Op, Program, Streamed
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.bands.schedule import Dependence, Wiring
from fieldwise.written import counted

Made = dict[
    tuple[int, tuple[int, ...], tuple[AxisPlace, ...], tuple[bool | None, ...]],
    list[tuple[int, Site, Executor]],
]
"""By id of the node, its results, where the axis lies in each operand and which of them are one row
(see ``ProgramDraft.alone``): how it is run."""


@dataclass(slots=True)
class ProgramDraft:
    """The program of a graph along an axis, as far as it is made.

    laws:      how constants that are as long as the axis go on; None where the length is known
    live:      values that something reads
    made:      how nodes are run, for all programs of the graph
    numbers:   of the values that are streamed, by name
    fixed:     values that are there whole
    alone:     values of one row that is made of few (see ``early``), and whether of rows near the
               start
    shares:    per value, of which part of the axis it is made
    """

    graph: Graph
    axis: int
    laws: Laws | None
    live: Container[str]
    made: Made
    values: list[Streamed] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    fixed: dict[str, Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    dependences: list[Dependence] = field(default_factory=list)
    alone: dict[str, bool] = field(default_factory=dict)
    shares: list[AxisShare] = field(default_factory=list)

    @property
    def endless(self) -> bool:
        """Whether the total length is not known; then there are laws."""
        return self.laws is not None

    def streamed(self, name: str) -> Streamed:
        """A value that is streamed."""
        return self.values[self.numbers[name]]

    def axes_of(self, node: Node) -> dict[str, AxisPlace]:
        """The operands of a node that are streamed, and where the axis lies in them."""
        return {name: self.streamed(name).axis for name in node.operands if name in self.numbers}

    def wanted(self, node: Node) -> list[int]:
        """The numbers of the results of a node that something reads."""
        return [number for number, name in enumerate(node.results) if name in self.live]

    def has_one_row(self, name: str) -> bool:
        """Whether a value is streamed, and one row is all of it."""
        if self.endless or name not in self.numbers:
            return False
        kind = self.streamed(name)
        return kind.shape[kind.dim] == 1

    def nbytes(self, name: str) -> int:
        """The bytes of a value that is streamed, all rows together."""
        kind = self.streamed(name)
        return kind.row_bytes * kind.shape[kind.dim]

    def call(self, node: Node) -> Call:
        """The call of a node, with what is known of its operands."""
        assert node.source is not None
        fixed = {n: self.fixed[name] for n, name in enumerate(node.operands) if name in self.fixed}
        return changed(node.source, Ref, lambda ref: fixed.get(ref.operand, ref))

    @contextmanager
    def fixing(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Take values for whole that are streamed elsewhere."""
        self.fixed.update(values)
        try:
            yield
        finally:
            for name in values:
                del self.fixed[name]

    def add_input(self, name: str, axis: int | AxisPlace) -> None:
        """Note a value that the program reads from outside, and where the axis lies in it.

        Raises UsageError for an axis that it lacks.
        """
        if isinstance(axis, AxisPlace):
            self.inputs.append(self.add_value(name, axis))
            if self.has_one_row(name):
                self.alone[name] = True
            return
        shape = self.graph.shape(name)
        if not -len(shape) <= axis < len(shape):
            raise UsageError(
                f"The input '{name}' has {counted(len(shape), 'dimension')} and none numbered "
                f"{axis}; choose an axis from {-len(shape)} to {len(shape) - 1}."
            )
        self.inputs.append(self.add_value(name, AxisPlace(axis % len(shape))))

    def add_value(self, name: str, axis: AxisPlace) -> int:
        """Note a value that is streamed; its number."""
        self.numbers[name] = len(self.values)
        self.shares.append((0.0, 1.0))
        self.values.append(Streamed.of(name, self.graph.values[name], axis, endless=self.endless))
        return self.numbers[name]

    def add(self, op: Op, dependence: Dependence) -> None:
        """Note an op, and what its results depend on."""
        self.ops.append(op)
        self.dependences.append(dependence)

    def add_kernel(
        self, node: Node, site: Site, executor: Executor, results: Sequence[tuple[int, AxisPlace]]
    ) -> None:
        """Note a kernel that makes these results of a node, along these axes."""
        places = tuple((n, self.add_value(node.results[n], axis)) for n, axis in results)
        operands = {
            number: self.numbers[name]
            for number, name in enumerate(node.operands)
            if site.links[number] is not None
        }
        reaches = dict(executor.reaches)
        reads = tuple(
            (operands[number], reaches.get(number, link.reach))
            for number, link in enumerate(site.links)
            if link is not None
        )
        seats = {
            n: seat for n, link in site.streamed if (seat := self._seat(node.operands[n], link))
        }
        op = Op(node, executor, operands, places, seats=seats)
        values = tuple(value for _, value in places)
        self.add(op, Dependence(values, reads, executor.ordered, self.tail(node)))
        if not self.endless:
            self._note_share(values, reads)

    def tail(self, *nodes: Node) -> int:
        """So many rows at the end of a result may be others where the end is elsewhere."""
        return max((law.tail for law in laws_among(nodes, self.laws)), default=0)

    def _seat(self, name: str, link: Link) -> Streamed | None:
        """An operand with its row where a link has it; None where it was made so."""
        if self.streamed(name).axis == link.axis:
            return None
        return Streamed.of(name, self.graph.values[name], link.axis, endless=False)

    def _note_share(self, values: Sequence[int], reads: Sequence[tuple[int, RowReach]]) -> None:
        """Note what values are made of; one row that is alone stands for its last row."""
        share = share_of([(self.shares[value], reach) for value, reach in reads])
        for value in values:
            self.shares[value] = share
            name = self.values[value].name
            if self.has_one_row(name) and is_of_few(share):
                self.alone[name] = is_early(share)
                row = 1 / max(self.values[one].rows or 1 for one in self.inputs)
                self.shares[value] = (max(share[1] - row, share[0]), share[1])

    def fixed_outputs(self) -> tuple[tuple[int, str, Tensor], ...]:
        """The outputs that are there whole: their places, names and values."""
        pairs = zip(self.graph.output_names, self.graph.outputs, strict=True)
        return tuple(
            (place, name, self.fixed[value])
            for place, (name, value) in enumerate(pairs)
            if value in self.fixed
        )

    def finished(self, scale: Fraction) -> Program:
        """The program of what there is; scale: see Program."""
        named = zip(self.graph.output_names, self.graph.outputs, strict=True)
        pairs = [(name, value) for name, value in named if value not in self.fixed]
        outputs = tuple(self.numbers[value] for _, value in pairs)
        distinct = tuple(dict.fromkeys(outputs))
        rows = tuple(value.rows for value in self.values)
        wiring = Wiring(rows, tuple(self.inputs), distinct, tuple(self.dependences))
        names = tuple(name for name, _ in pairs)
        pieced = self._pieced()
        return Program(
            tuple(self.values), tuple(self.ops), wiring, names, outputs, self.fixed_outputs(),
            self.graph.structure, scale, self.laws or {}, pieced, self._apart(pieced),
        )  # fmt: skip

    def _pieced(self) -> frozenset[int]:
        """See Program."""

        def goes_by_pieces(op: Op) -> bool:
            values = (*op.operands.values(), *(value for _, value in op.results))
            plain = len(op.results) == 1 and not op.seats
            return op.executor.pieces and plain and all(self.values[v].lead == 1 for v in values)

        return frozenset(number for number, op in enumerate(self.ops) if goes_by_pieces(op))

    def _apart(self, pieced: Container[int]) -> frozenset[int]:
        """See Program."""
        read, joined = set[int](), set[int]()
        for number, op in enumerate(self.ops):
            (read if number in pieced else joined).update(op.operands.values())
        return frozenset(read - joined)
