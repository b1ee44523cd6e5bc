"""Tables of positions in a stream that is handed on: a counter of steps says which rows are next.

A step is recorded once, at its own absolute positions.  A table that never comes back is a part of
it, as long as the longest stream, and the counter, a state like any other, moves along it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fieldwise.errors import Reason
from fieldwise.graph.calls import constants_of
from fieldwise.tile.arrays import Interval
from fieldwise.tile.bands.kernels.constants import ConstantRows, RowLaw, cut
from fieldwise.tile.bands.latency import rates
from fieldwise.tile.bands.program import Program
from fieldwise.tile.errors import StreamError, reason

COUNTER = "steps"


@dataclass(frozen=True, slots=True)
class StepTable:
    """A table of positions, by which dimension it is read, and by how many rows a step moves on."""

    tensor: Tensor
    dim: int
    rows: int


@dataclass(frozen=True, slots=True)
class CountedTables:
    """The tables of a program, by identity of the constants that they stand for.

    asked: those that were looked up by a counter
    """

    tables: Mapping[int, StepTable] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, program: Program, chunk: int) -> CountedTables:
        """The tables of a program without an end that never come back, for steps of ``chunk``.

        Raises StreamError, by op, for those that know the end, and for tables of pairs.
        """
        found, refused = dict[int, StepTable](), list[Reason]()
        per_sample = rates(program.wiring)
        for op, constant in _constants(program):
            law = program.laws.get(id(constant))
            if law is None or law.lasts:
                continue
            if len(law.dims) > 1 or law.tail:
                refused.append(reason(program.ops[op].node, _NO_TABLE))
                continue
            rate = per_sample[program.wiring.ops[op].results[0]]
            found[id(constant)] = StepTable(constant, law.dims[0], int(rate * chunk))
        if refused:
            raise StreamError("The stream has no steady state", refused, _SESSION)
        return cls(found)

    def standing_in(self, program: Program, other: Program) -> CountedTables:
        """The same tables where another program of the same ops reads its own."""
        pairs = zip(_constants(program), _constants(other), strict=True)
        same = {id(theirs): id(mine) for (_, mine), (_, theirs) in pairs}
        tables = {own: self.tables[mine] for own, mine in same.items() if mine in self.tables}
        return CountedTables(tables)

    def reading(self, counter: Tensor) -> ConstantRows:
        """Reads constants after so many steps."""

        def rows(constant: Tensor, law: RowLaw | None, ends: Mapping[int, Interval]) -> Tensor:
            table = self.tables.get(id(constant))
            if table is None:
                return cut(constant, law, ends)
            self.asked.add(id(constant))
            index = torch.arange(*ends[table.dim], device=counter.device) + counter * table.rows
            return table.tensor.index_select(table.dim, index)

        return rows

    def check_asked(self, program: Program) -> None:
        """Raise StreamError for tables that some op reads in another way, by op."""
        refused = [
            reason(program.ops[op].node, _NO_TABLE)
            for op, constant in _constants(program)
            if id(constant) in self.tables and id(constant) not in self.asked
        ]
        if refused:
            raise StreamError("The stream has no steady state", refused, _SESSION)


def _constants(program: Program) -> Iterator[tuple[int, Tensor]]:
    """Every constant of every op, with the number of the op."""
    for number, op in enumerate(program.ops):
        for node in op.nodes:
            for constant in constants_of(node.source) if node.source else ():
                assert isinstance(constant, Tensor)
                yield number, constant


_NO_TABLE = "a table of positions in it is as long as the stream, and no row of it comes back"
_SESSION = "Stream it with a session, which captures more of it as it grows."
