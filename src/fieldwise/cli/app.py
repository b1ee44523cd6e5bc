"""The ``fieldwise`` command: its subcommands and the options that stand before them."""

from __future__ import annotations

from typing import Annotated

import typer

from fieldwise.cli.diagram import diagram
from fieldwise.cli.field import field
from fieldwise.cli.fold import fold
from fieldwise.cli.shift import shift
from fieldwise.cli.tile import tile
from fieldwise.version import __version__

app = typer.Typer(
    name="fieldwise",
    help="What every unit of a convolutional network sees, exactly.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(diagram)
app.command()(field)
app.command()(fold)
app.command()(shift)
app.command()(tile)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fieldwise {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """What every unit of a convolutional network sees, exactly."""


def main() -> None:
    """The entry point of the ``fieldwise`` script; ends the process."""
    app()
