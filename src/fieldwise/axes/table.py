"""Index maps without a regular form: one set of input indices per output, written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fieldwise.axes.axis_map import AxisMap
from fieldwise.axes.index_set import EMPTY, IndexSet
from fieldwise.axes.tailed import AnySet


@dataclass(frozen=True)
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

    def __len__(self) -> int:
        return len(self.rows)

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


class Within(Table):
    """A map that reads without end, as far as there is something to read.

    law:     what it reads of an axis that never ends
    outputs: how many outputs there are, for each of which a row is written out if one is wanted
    size:    of the axis that is read: the rows lie in [0, size)

    >>> from fieldwise.axes.tailed import until
    >>> past = Within(AxisMap(1, (until(0),)), outputs=6, size=4)
    >>> past(2), past.law(2), past(5)
    (IndexSet{0..2}, Tailed{…2}, IndexSet{0..3})
    """

    law: AxisMap[AnySet]
    outputs: int
    size: int

    def __init__(self, law: AxisMap[AnySet], outputs: int, size: int) -> None:
        for name, value in (("law", law), ("outputs", outputs), ("size", size)):
            object.__setattr__(self, name, value)

    @cached_property
    def rows(self) -> tuple[IndexSet, ...]:
        """What each output reads."""
        return tuple(map(self, range(self.outputs)))

    @property
    def is_single(self) -> bool:
        """Whether every output reads at most one index."""
        return self.law.is_single

    def __len__(self) -> int:
        return self.outputs

    def __call__(self, index: int) -> IndexSet:
        """What this output reads of the axis; nothing beyond the last output."""
        return self.law(index).clip(self.size) if 0 <= index < self.outputs else EMPTY

    def pull(self, outputs: IndexSet) -> IndexSet:
        """Everything that these outputs read."""
        return self.law.pull(outputs.clip(self.outputs)).clip(self.size)

    def push(self, inputs: IndexSet, size: int) -> IndexSet:
        """The outputs in [0, size) that read at least one of these inputs."""
        return self.law.push(inputs.clip(self.size), min(size, self.outputs))

    def reach(self, size: int) -> range:
        """The least range that holds everything that outputs 0 … size − 1 read."""
        read = self.pull(IndexSet.range(0, size))
        return range(read.first, read.last + 1) if read else range(0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Within):
            return NotImplemented
        return (self.law, self.outputs, self.size) == (other.law, other.outputs, other.size)

    def __hash__(self) -> int:
        return hash((self.law, self.outputs, self.size))

    def __repr__(self) -> str:
        return f"Within({self.law}, outputs={self.outputs}, size={self.size})"

    def __str__(self) -> str:
        return str(self.law)


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
