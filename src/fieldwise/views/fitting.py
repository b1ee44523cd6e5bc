"""Tables that fit a width: notes go or fold first, then names lose their middles, then columns go.

A number is never wrapped and never cut.  Widths are counted in cells of a terminal, of which an
ideograph takes two; a control character in a name is written as its escape, since it would move
the cursor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from fieldwise.views.names import printable

_GAP = 2
_SHORTEST = 12
"""Cells that are left of a name."""
_READABLE = 28
"""Cells that a reason needs beside the numbers; with fewer it stands below its row."""
_INDENT = "    "
_BEGINS = re.compile(r" *(?:\S+ {2,})?")
"""What a line of a plan begins with: room, and a word that says what follows."""
Role = Literal["name", "number", "word", "fixed", "note", "reason"]


@dataclass(frozen=True, slots=True)
class FittingColumn:
    """A column: its title, its cells, and what becomes of it where room is short.

    role:  a name is shortened; a note goes before that; a reason folds, or stands below its row; a
           word goes before numbers do, which go last, from the right; a fixed one stays
    keeps: whether it goes after all other numbers
    brief: the cells where room is short
    """

    title: str
    cells: tuple[str, ...]
    role: Role = "number"
    keeps: bool = False
    brief: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(map(printable, self.cells)))
        if self.brief is not None:
            object.__setattr__(self, "brief", tuple(map(printable, self.brief)))

    @property
    def width(self) -> int:
        """Of its widest cell."""
        return max(cell_len(self.title), *map(cell_len, self.cells), 0)

    @property
    def at_right(self) -> bool:
        """Whether its cells end below each other."""
        return self.role == "number"

    def shorter(self) -> FittingColumn:
        """With its brief cells, if it has any."""
        return self if self.brief is None else replace(self, cells=self.brief, brief=None)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The columns of a table as they fit a width.

    widths:   of each column
    below:    what stands below each row, for which there is no room beside it
    left_out: the titles of numbers for which there is no room at all
    """

    columns: tuple[FittingColumn, ...]
    widths: tuple[int, ...]
    below: FittingColumn | None = None
    left_out: tuple[str, ...] = ()


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

    def shown(self) -> tuple[FittingColumn, ...]:
        """The columns that say something of some row; all of them where there is no row."""
        empty = not self.columns[0].cells
        return tuple(column for column in self.columns if empty or any(column.cells))

    def fitted(self, width: int) -> Fitted:
        """The columns as they fit this width."""
        columns = list(self.shown())
        if _total(columns) > width:
            columns = [column.shorter() for column in columns if column.role != "note"]
            columns = [column for column in columns if any(column.cells)]
        reason = next((column for column in columns if column.role == "reason"), None)
        beside = [column for column in columns if column is not reason]
        room = width - _GAP - _total(beside)
        if reason is not None and room < min(reason.width, _READABLE):
            beside = _narrowed(beside, width - _GAP - _READABLE, least=2 * _SHORTEST)
            room = width - _GAP - _total(beside)
        if reason is not None and room >= min(reason.width, _READABLE):
            widths = (*(column.width for column in beside), min(reason.width, room))
            return Fitted((*beside, reason), widths)
        beside = _narrowed(beside, width, least=_SHORTEST)
        gone: list[FittingColumn] = []
        last_first = beside[::-1]
        for column in sorted(last_first, key=_order):
            goes = column.role in ("word", "number") and len(beside) > 1
            if goes and _total(beside) > width:
                beside.remove(column)
                gone.append(column)
        left_out = tuple(
            column.title for column in columns if column in gone and column.role == "number"
        )
        return Fitted(tuple(beside), tuple(column.width for column in beside), reason, left_out)

    def lines(self, width: int) -> Iterator[str]:
        """The table as text, line by line, the titles first."""
        found = self.fitted(width)
        yield from _row(found, [column.title for column in found.columns])
        for number in range(len(self.columns[0].cells)):
            yield from _row(found, [column.cells[number] for column in found.columns])
            if found.below is not None:
                for line in _wrapped(found.below.cells[number], width - len(_INDENT)):
                    yield f"{_INDENT}{line}"

    def __rich_console__(
        self, _console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        style = "bold"
        for line in self.lines(options.max_width):
            yield Text(line, style, no_wrap=True, overflow="ignore")
            style = ""
        left_out = self.fitted(options.max_width).left_out
        if left_out:
            yield Text(f"no room for: {', '.join(left_out)}; make the terminal wider")


def _order(column: FittingColumn) -> tuple[bool, bool]:
    """Words go first, then numbers, last those that are to be kept."""
    return column.role == "number", column.keeps


def _row(found: Fitted, cells: Sequence[str]) -> Iterator[str]:
    """The lines of a row: one, or as many as a reason takes."""
    parts = [
        _wrapped(cell, width) if column.role == "reason" else [cell]
        for cell, column, width in zip(cells, found.columns, found.widths, strict=True)
    ]
    for line in zip_longest(*parts, fillvalue=""):
        placed = (
            _placed(cell, width, at_right=column.at_right)
            for cell, column, width in zip(line, found.columns, found.widths, strict=True)
        )
        yield (" " * _GAP).join(placed).rstrip()


def _total(columns: Sequence[FittingColumn]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _placed(cell: str, width: int, *, at_right: bool) -> str:
    room = " " * (width - cell_len(cell))
    return room + cell if at_right else cell + room


def _narrowed(columns: Sequence[FittingColumn], width: int, *, least: int) -> list[FittingColumn]:
    """The columns with shorter names, the first ones last, as far as that is needed."""
    found = list(columns)
    for at in reversed(range(len(found))):
        over = _total(found) - width
        if over > 0 and found[at].role == "name":
            found[at] = _shortened(found[at], max(found[at].width - over, least))
    return found


def _shortened(column: FittingColumn, width: int) -> FittingColumn:
    room = max(width, cell_len(column.title))
    cells = tuple(cell if cell_len(cell) <= room else _elided(cell, room) for cell in column.cells)
    return replace(column, cells=cells)


def _elided(text: str, room: int) -> str:
    head = (room - 1) // 2
    tail = set_cell_size(text[::-1], room - 1 - head)[::-1]
    return f"{set_cell_size(text, head)}…{tail}"


def hanging(line: str, width: int) -> list[str]:
    """A line of text in as many lines of this width as it takes, below what it begins with.

    >>> hanging("  engine  stream, 64 rows of H at a time", 30)
    ['  engine  stream, 64 rows of H', '          at a time']
    """
    if cell_len(line) <= width:
        return [line]
    begins = _BEGINS.match(line)
    head = begins[0] if begins is not None and len(begins[0]) < width // 2 else ""
    first, *others = _wrapped(line[len(head) :], width - len(head))
    return [head + first, *(" " * len(head) + other for other in others)]


def _wrapped(text: str, width: int) -> list[str]:
    """The text in lines of this width, broken between words, and within those that are longer.

    >>> _wrapped("it reads a concat of 3 values", 12)
    ['it reads a', 'concat of 3', 'values']
    """
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if cell_len(longer) <= width:
            lines[-1] = longer
            continue
        rest = word
        lines += [""] * bool(lines[-1])
        while cell_len(rest) > width:
            part = set_cell_size(rest, width).rstrip()
            lines[-1], rest = part, rest[len(part) :]
            lines.append("")
        lines[-1] = rest
    return [line for line in lines if line]
