"""The ``fieldwise`` command: its subcommands and the options that stand before them."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fieldwise.cli.compare import compare
from fieldwise.cli.diagram import diagram
from fieldwise.cli.erf import erf
from fieldwise.cli.field import field
from fieldwise.cli.fold import fold
from fieldwise.cli.headings import WithHeadings
from fieldwise.cli.late import import_late
from fieldwise.cli.options import renamed
from fieldwise.cli.shift import shift
from fieldwise.cli.stream import stream
from fieldwise.cli.summary import summary
from fieldwise.cli.tile import tile
from fieldwise.cli.view import view
from fieldwise.collecting import collect_rarely
from fieldwise.version import __version__


class _Commands(TyperGroup):
    """The commands, whose usage errors are told in our words."""

    def invoke(self, ctx: Any) -> object:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    name="fieldwise",
    cls=_Commands,
    help="What every unit of a convolutional network sees, exactly.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(compare)
app.command(cls=WithHeadings)(diagram)
app.command(cls=WithHeadings)(erf)
app.command()(field)
app.command()(fold)
app.command(context_settings=renamed(axis="axes"))(shift)
app.command(cls=WithHeadings)(stream)
app.command()(summary)
app.command(cls=WithHeadings, context_settings=renamed(along="axis", axes="layout"))(tile)
app.command()(view)


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
    collect_rarely()
    import_late()
    app()
