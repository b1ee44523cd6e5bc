"""What several commands take and how they print: options by type, tables of any width."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

_MODEL = (
    "torchvision:NAME, timm:NAME, 'layers:conv3 relu ...', package.module:factory, "
    "or a .pt2 exported program."
)
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)]
OptionalModelName = Annotated[
    str | None, typer.Argument(metavar="MODEL", help=_MODEL, show_default=False)
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]

_UNBOUNDED = 10_000


def show(view: RenderableType) -> None:
    """Print a table: to the width of a terminal, and unbroken into files and pipes."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _UNBOUNDED
    Console(width=width, soft_wrap=width is not None).print(view)
