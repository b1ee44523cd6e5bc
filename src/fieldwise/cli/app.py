"""The ``fieldwise`` command: its subcommands and the options that stand before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from fieldwise.cli.outcome import USAGE, unwritten
from fieldwise.cli.shift import shift
from fieldwise.cli.stream import stream
from fieldwise.cli.summary import summary
from fieldwise.cli.system_memory import take_large_pages
from fieldwise.cli.tile import tile
from fieldwise.cli.view import view
from fieldwise.collecting import collect_rarely
from fieldwise.version import __version__

_UsageError: Any = typer.BadParameter.__bases__[0]
"""What is raised for options and arguments that a command does not take."""


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Say what is wrong with how a command was given as every other error is said."""
    try:
        yield
    except _UsageError as error:
        if error.ctx is None or type(error).__name__ == "NoArgsIsHelpError":
            raise
        said = error.format_message().replace("Value error, ", "")
        end = "" if said.endswith((".", "?", ")")) else "."
        typer.echo(f"error: {said}{end} See {error.ctx.command_path} --help.", err=True)
        raise typer.Exit(USAGE) from None
    except OSError as error:  # of --help and --version; commands report their own
        raise unwritten(error) from None


class _Commands(TyperGroup):
    """The commands, whose usage errors are told in our words."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Read the options that stand before a command."""
        with _one_sentence():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> object:
        """Run the command that was named."""
        with _one_sentence():
            return super().invoke(ctx)


app = typer.Typer(
    name="fieldwise",
    cls=_Commands,
    help="What every output of a convolutional network sees, exactly.",
    epilog="Begin with: fieldwise summary torchvision:resnet18",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(command: Callable[..., None], short: str, **settings: object) -> None:
    app.command(cls=WithHeadings, short_help=short, context_settings=settings or None)(command)


_add(summary, "Every module at a glance: shape, parameters, what it sees.")
_add(field, "What an output pixel of every layer sees of the input.")
_add(view, "A page to look at every layer in a browser.")
_add(diagram, "Draw the connections between layers, as rows of dots.")
_add(erf, "How much each input pixel matters: the effective field.")
_add(compare, "Whether two models see the same, layer by layer.")
_add(fold, "Fold BatchNorm and other affine layers into their neighbours.")
_add(shift, "Which shifts of the input the output follows.", **renamed(axis="axes"))
_add(
    tile,
    "Run a model on an image larger than memory, exactly.",
    **renamed(along="axis", axes="layout"),
)
_add(stream, "What a live stream takes, and the stream itself as a file.")


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
    """What every output of a convolutional network sees, exactly."""


def main() -> None:
    """The entry point of the ``fieldwise`` script; ends the process."""
    collect_rarely()
    import_late()
    take_large_pages()
    app()
