"""Tables that fit a width: notes go first, then names lose their middles, then columns go.

A number is never wrapped and never cut.  Widths are counted in cells of a terminal, of which an
ideograph takes two; a control character in a name is written as its escape, since it would move
the cursor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from fieldwise.views.names import printable

_GAP = 2
_SHORTEST = 12
"""Cells that are left of a name."""


@dataclass(frozen=True, slots=True)
class FittingColumn:
    """A column: its title, its cells, and what becomes of it where room is short.

    role: a name is shortened, a note goes before that, numbers go after it, the last column first
    """

    title: str
    cells: tuple[str, ...]
    role: Literal["name", "note", "number"] = "number"

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(map(printable, self.cells)))

    @property
    def width(self) -> int:
        """Of its widest cell."""
        return max(cell_len(self.title), *map(cell_len, self.cells), 0)


@dataclass(frozen=True, slots=True)
class FittingTable:
    r"""A table for a rich console, which fits its width.

    >>> columns = (
    ...     FittingColumn("layer", ("features.denseblock4.denselayer16",), "name"),
    ...     FittingColumn("extent", ("2071",)),
    ...     FittingColumn("notes", ("sees all of the input",), "note"),
    ... )
    >>> print(*FittingTable(columns).lines(30), sep="\n")
    layer                   extent
    features.d…enselayer16    2071
    >>> print(*FittingTable(columns).lines(70), sep="\n")
    layer                              extent  notes
    features.denseblock4.denselayer16    2071  sees all of the input
    """

    columns: tuple[FittingColumn, ...]

    def fitted(self, width: int) -> tuple[FittingColumn, ...]:
        """The columns as they fit this width."""
        columns = [column for column in self.columns if any(column.cells)]
        if _total(columns) > width:
            columns = [column for column in columns if column.role != "note"]
        over = _total(columns) - width
        if over > 0:
            columns = [
                _shortened(column, column.width - over) if column.role == "name" else column
                for column in columns
            ]
        while _total(columns) > width and len(columns) > 1 + (columns[0].role == "name"):
            columns.pop()
        return tuple(columns)

    def lines(self, width: int) -> Iterator[str]:
        """The table as text, line by line."""
        columns = self.fitted(width)
        rows = zip(*((column.title, *column.cells) for column in columns), strict=True)
        for row in rows:
            cells = (
                _placed(cell, column.width, at_right=column.role == "number")
                for column, cell in zip(columns, row, strict=True)
            )
            yield (" " * _GAP).join(cells).rstrip()

    def table(self, width: int) -> Table:
        """The table for rich."""
        made = Table(box=None, pad_edge=False, header_style="bold")
        columns = self.fitted(width)
        for column in columns:
            justify: Literal["left", "right"] = "right" if column.role == "number" else "left"
            made.add_column(column.title, justify=justify, no_wrap=True)
        for row in zip(*(column.cells for column in columns), strict=True):
            made.add_row(*map(Text, row))
        return made

    def __rich_console__(
        self, _console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        yield self.table(options.max_width)


def _total(columns: Sequence[FittingColumn]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _placed(cell: str, width: int, *, at_right: bool) -> str:
    room = " " * (width - cell_len(cell))
    return room + cell if at_right else cell + room


def _shortened(column: FittingColumn, width: int) -> FittingColumn:
    room = max(width, _SHORTEST, cell_len(column.title))
    cells = tuple(cell if cell_len(cell) <= room else _elided(cell, room) for cell in column.cells)
    return FittingColumn(column.title, cells, column.role)


def _elided(text: str, room: int) -> str:
    head = (room - 1) // 2
    tail = set_cell_size(text[::-1], room - 1 - head)[::-1]
    return f"{set_cell_size(text, head)}…{tail}"
