"""Index maps without a regular form: one set of input indices per output, written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldwise.axes.axis_map import AxisMap
from fieldwise.axes.index_set import EMPTY, IndexSet


@dataclass(frozen=True, slots=True)
class Table:
    """Output i reads ``rows[i]``; there is no output beyond the last row.

    >>> Table.of([[0, 1], [1], [3]]).pull(IndexSet.range(0, 2))
    IndexSet{0..1}
    """

    rows: tuple[IndexSet, ...]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Table:
        """A table from plain sequences of indices, one per output."""
        return cls(tuple(IndexSet.of(row) for row in rows))

    @property
    def is_single(self) -> bool:
        """Whether every output reads at most one index."""
        return all(row.extent <= 1 for row in self.rows)

    @property
    def is_identity(self) -> bool:
        """Never: an identity is written as an AxisMap (see ``index_map``)."""
        return False

    def __call__(self, index: int) -> IndexSet:
        """The row at this index; nothing beyond the last row."""
        return self.rows[index] if 0 <= index < len(self.rows) else EMPTY

    def pull(self, outputs: IndexSet) -> IndexSet:
        """Everything that these outputs read."""
        read = EMPTY
        for index in outputs:
            read = read | self(index)
        return read

    def push(self, inputs: IndexSet, size: int) -> IndexSet:
        """The outputs in [0, size) that read at least one of these inputs."""
        rows = self.rows[:size]
        return IndexSet.of(i for i, row in enumerate(rows) if not row.isdisjoint(inputs))

    def reach(self, size: int) -> range:
        """The least range that holds everything that outputs 0 … size − 1 read."""
        read = self.pull(IndexSet.range(0, size))
        return range(read.first, read.last + 1) if read else range(0)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.rows[:4]))
        return f"Table({shown}{', …' if len(self.rows) > 4 else ''}: {len(self.rows)} rows)"

    def __str__(self) -> str:
        return f"table of {len(self.rows)}"


def index_map(rows: Sequence[IndexSet]) -> AxisMap | Table:
    """The map with these rows: affine in closed form where it is, else the table itself.

    >>> print(index_map([IndexSet.of([2 * i + 1]) for i in range(5)]))
    i -> 2i+{1}
    """
    if not rows:
        return AxisMap.constant(EMPTY)
    step = rows[1].base - rows[0].base if len(rows) > 1 else 1
    if all(row == rows[0].shift(step * i) for i, row in enumerate(rows)):
        return AxisMap(step, (rows[0],))
    return Table(tuple(rows))
