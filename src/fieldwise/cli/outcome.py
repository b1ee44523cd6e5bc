"""How a command ends: one sentence on stderr and an exit code instead of a traceback."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from fieldwise.cli.answers import answers_alone
from fieldwise.errors import FieldwiseError, ended_by, summary_of

USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
GRACE = 5.0
"""Seconds after an interrupt in which further ones are ignored."""


@contextmanager
def reported(*, debug: bool) -> Iterator[None]:
    """Turn what goes wrong inside into a sentence and an exit code; debug adds the traceback.

    An error of fieldwise is told as it is; any other exception by its type and first line, and so
    is what ends the process in the code of a model.  What that code prints goes to stderr.
    A closed pipe ('| head') is quiet, and so is a stream that was closed from the start ('>&-').
    """
    _open_closed_streams()
    try:
        with interrupted_once(), answers_alone():
            yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError as error:
        raise unwritten(error) from None
    except (typer.Exit, typer.Abort):
        raise
    except SystemExit as error:
        typer.echo(f"error: The code of the model ended the process: {ended_by(error)}.", err=True)
        raise typer.Exit(USAGE) from error
    except Exception as error:
        if debug:
            traceback.print_exc()
        text = str(error) if isinstance(error, FieldwiseError) else _sentence(error)
        typer.echo(f"error: {text}", err=True)
        raise typer.Exit(USAGE) from error


@contextmanager
def interrupted_once() -> Iterator[None]:
    """The first Ctrl-C raises KeyboardInterrupt; the next ones do not disturb what it sets off.

    An impatient second one would end the process in the middle of that, with another exit code.
    After ``GRACE`` seconds one more ends it at once.  Behind this the process is about to end, and
    they are ignored: while Python ends, it would no longer handle them.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or not _in_main_thread():
        yield
        return
    first: float | None = None

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None:
            first = now
            raise KeyboardInterrupt
        if now - first > GRACE:
            os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if first is None else signal.SIG_IGN)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _sentence(error: Exception) -> str:
    """What an exception says that nobody raised on purpose, and what to do about it."""
    return f"{summary_of(error)}; {_remedy(error)}"


def _remedy(error: Exception) -> str:
    if isinstance(error, OSError):
        return "check the files and folders that the command was given."
    if isinstance(error, MemoryError):
        return "the machine has too little memory for this; give a smaller --input."
    return "fieldwise did not expect this: please report it with what --debug prints."


def _open_closed_streams() -> None:
    """What Python has no stream for, since it was started without, goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def unwritten(error: OSError) -> typer.Exit:
    """How a command ends that could not write its answer: quietly where its reader went away."""
    _silence_stdout()
    if isinstance(error, BrokenPipeError):
        return typer.Exit(BROKEN_PIPE)
    typer.echo(f"error: {_sentence(error)}", err=True)
    return typer.Exit(USAGE)


def _silence_stdout() -> None:
    """What is still buffered goes nowhere when Python flushes it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
