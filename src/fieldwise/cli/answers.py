"""stdout holds the answers of a command alone: what the code of a model prints goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

import typer

_STDOUT: ContextVar[TextIO | None] = ContextVar("_STDOUT", default=None)


@contextmanager
def answers_alone() -> Iterator[None]:
    """Inside, ``print`` writes to stderr, and ``answer`` to stdout."""
    stdout = sys.stdout
    token = _STDOUT.set(stdout)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = stdout
        _STDOUT.reset(token)


def answers() -> TextIO:
    """Where answers are written."""
    return _STDOUT.get() or sys.stdout


def answer(text: object) -> None:
    """Write a line of an answer."""
    typer.echo(text, file=answers())
