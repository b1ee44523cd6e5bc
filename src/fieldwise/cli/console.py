"""What several commands take and how they print: options by type, tables of any width."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fieldwise.errors import UsageError
from fieldwise.written import ratio, shown

if TYPE_CHECKING:
    from rich.console import RenderableType

MODEL_FORMS = (
    "torchvision:NAME, timm:NAME, 'layers:conv3 relu ...', package.module:factory "
    "(my_net:build calls build() of ./my_net.py), or a .pt2 exported program"
)
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help=f"{MODEL_FORMS}.")]
OptionalModelName = Annotated[
    str | None, typer.Argument(metavar="MODEL", help=f"{MODEL_FORMS}.", show_default=False)
]
MaxConstant = Annotated[
    str | None,
    typer.Option(
        "--max-constant",
        metavar="1GiB",
        help="Of a .pt2 file: the most memory that constants which it makes or unpacks may take.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]

_UNBOUNDED = 10_000


def allowed_constants(text: str | None) -> int | None:
    """The bytes of ``--max-constant``; None where it is not given."""
    return None if text is None else parse_size(text)


def parse_size(text: str) -> int:
    """Bytes from text.

    >>> parse_size("2GiB"), parse_size("1.5 MB"), parse_size("4096")
    (2147483648, 1500000, 4096)
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?)(i?)b?\s*", text.lower())
    number = ratio(found[1]) if found else None
    if found is None or number is None:
        raise UsageError(f"Cannot read the amount of memory {shown(text)}; write for example 2GiB.")
    power = "kmgt".find(found[2]) + 1 if found[2] else 0
    return int(number * (1024 if found[3] else 1000) ** power)


def show(view: RenderableType) -> None:
    """Print a table: to the width of a terminal, and unbroken into files and pipes."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _UNBOUNDED
    Console(width=width, soft_wrap=width is not None).print(view)
