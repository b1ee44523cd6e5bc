"""What several commands read and print alike: sizes, axes, tables of any width, files written."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import typer

from fieldwise.cli.answers import answer, answers
from fieldwise.errors import UsageError
from fieldwise.written import counted, ratio, shown, whole_number

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fieldwise.folding import Saved

_UNBOUNDED = 10_000
_ANY = 25
"""Lines of a terminal: without a number rich takes dumb ones for 80 columns wide."""


# -------------------------------------------------------------------- what is read


def parse_size(text: str | None) -> int | None:
    """Bytes from text; None where nothing is given.

    >>> parse_size("2GiB"), parse_size("1.5 MB"), parse_size("4096")
    (2147483648, 1500000, 4096)
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?)(i?)b?\s*", text.lower())
    number = ratio(found[1]) if found else None
    if found is None or number is None:
        raise UsageError(f"Cannot read the amount of memory {shown(text)}; write for example 2GiB.")
    power = "kmgt".find(found[2]) + 1 if found[2] else 0
    return int(number * (1024 if found[3] else 1000) ** power)


def parse_position(text: str | None) -> tuple[int, ...] | None:
    """The output position that ``--unit`` names; None where it is not given.

    >>> parse_position("2,3")
    (2, 3)
    """
    if text is None:
        return None
    numbers = [whole_number(part) for part in text.split(",")]
    found = tuple(number for number in numbers if number is not None)
    if len(found) < len(numbers):
        raise UsageError(
            f"--unit {shown(text)} is not a list of integers; write for example --unit 2,3."
        )
    return found


def parse_numbers(option: str, text: str) -> tuple[float, ...]:
    """Numbers, or fractions, with commas between them.

    >>> parse_numbers("--mean", "0.5,1/4")
    (0.5, 0.25)
    """
    found = [ratio(part) for part in text.split(",")]
    numbers = tuple(float(number) for number in found if number is not None)
    if len(numbers) < len(found):
        raise UsageError(f"{option} {shown(text)} is no list of numbers; write 0.5,0.5,0.5.")
    return numbers


_LETTERS: Mapping[int, Mapping[str, int]] = {
    2: {"T": 1},
    3: {"W": 2, "T": 2},
    4: {"H": 2, "W": 3},
    5: {"D": 2, "T": 2, "H": 3, "W": 4},
}
"""Per rank of (batch, channels, *spatial), the letters of its spatial axes."""


@dataclass(frozen=True, slots=True)
class AxisNames:
    """How the axes of an array of some rank are called: by letters and by numbers.

    of:      what has these axes, for errors
    letters: the axes that have a letter
    first:   the first axis that may be named
    """

    of: str
    rank: int
    letters: Mapping[str, int]
    first: int

    @classmethod
    def of_input(cls, shape: Sequence[int], *, spatial: bool = True) -> AxisNames:
        """Those of an input; spatial: (batch, channels) may not be named."""
        rank = len(shape)
        of = f"an input of {counted(rank, 'axis', 'axes')} ({'x'.join(map(str, shape))})"
        return cls(of, rank, _LETTERS.get(rank, {}), min(2, rank - 1) if spatial else 0)

    def find(self, option: str, text: str) -> int:
        """The axis that an option names; a negative number counts from the end.

        Raises UsageError for one that there is not.

        >>> names = AxisNames.of_input((1, 3, 8, 8))
        >>> [names.find("--axis", text) for text in ("h", "3", "-1")]
        [2, 3, 3]
        """
        number = self.letters.get(text.strip().upper(), whole_number(text))
        if number is None or not self.first <= number + self.rank * (number < 0) < self.rank:
            what = "spatial axis" if self.first else "axis"
            choices = ", ".join([*self.letters, *map(str, range(self.first, self.rank))])
            raise UsageError(
                f"{option} {shown(text)} is no {what} of {self.of}; write one of {choices}."
            )
        return number % self.rank

    def find_all(self, texts: Sequence[str] | None) -> tuple[int, ...] | None:
        """The axes that ``--axes`` names, with commas between several; None where not given.

        >>> AxisNames.of_input((1, 3, 8, 8)).find_all(["w,-2"])
        (2, 3)
        """
        named = [name for text in texts or () for name in text.split(",")]
        return tuple(sorted({self.find("--axes", name) for name in named})) or None


# -------------------------------------------------------------------- what is printed


def show(view: RenderableType) -> None:
    """Print a table: to the width of a terminal, and unbroken into files and pipes."""
    from rich.console import Console

    class Answers(Console):
        def on_broken_pipe(self) -> None:
            """Leave the end of the command to the command."""
            raise BrokenPipeError

    soft = not answers().isatty()
    Answers(file=answers(), width=_width(), height=_ANY, soft_wrap=soft).print(view)


def show_lines(text: object) -> None:
    """Print lines of text: broken between words for a terminal, and as they are elsewhere."""
    from fieldwise.views.fitting import hanging

    for line in str(text).splitlines():
        for part in hanging(line, _width()):
            answer(part)


def _width() -> int:
    """The columns of the terminal; no end elsewhere."""
    return get_terminal_size().columns if answers().isatty() else _UNBOUNDED


def show_json(data: Mapping[str, object]) -> None:
    """Print the data of a report."""
    from fieldwise.views import json

    answer(json.text(data))


def note_files(paths: Iterable[object], *, err: bool) -> None:
    """Say which files were written; err: on stderr, since stdout holds an answer of its own."""
    for path in paths:
        typer.echo(f"wrote {path}", file=sys.stderr if err else answers())


def note_saved(saved: Saved, *, err: bool) -> None:
    """Say what was written; err: in a line per file on stderr, since stdout holds the data."""
    if err:
        note_files(saved.paths, err=True)
        return
    from fieldwise.views import saved as view

    answer(view.text(saved))


def warn(text: str) -> None:
    """A warning, on stderr."""
    typer.echo(f"warning: {text}", err=True)


def note(text: str) -> None:
    """Something that a user should know, on stderr."""
    typer.echo(f"note: {text}", err=True)


def check_picture(path: Path) -> None:
    """Raise UsageError unless a picture can be written there, before anything long is done."""
    from fieldwise.views.plot_canvas import check_path

    check_path(path)
