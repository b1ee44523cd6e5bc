"""How a command ends: one sentence on stderr and an exit code instead of a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from fieldwise.errors import FieldwiseError

USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


@contextmanager
def reported(*, debug: bool) -> Iterator[None]:
    """Turn what goes wrong inside into a sentence and an exit code; debug adds the traceback.

    An error of fieldwise is told as it is; any other exception by its type and first line.
    A closed pipe ('| head') is quiet.
    """
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _silence_stdout()
        raise typer.Exit(BROKEN_PIPE) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        text = str(error) if isinstance(error, FieldwiseError) else _sentence(error)
        typer.echo(f"error: {text}", err=True)
        raise typer.Exit(USAGE) from error


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    said = f": {lines[0][:300]}" if lines else ""
    return (
        f"{type(error).__name__}{said}; check the model and --input, "
        "or use --debug for the traceback."
    )


def _silence_stdout() -> None:
    """What is still buffered goes nowhere when Python flushes it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
