"""What is said of weights: what a file holds, and that nobody has trained those of a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwise.cli.console import note, warn
from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from fieldwise.capture import Model


def note_weights(model: Model) -> None:
    """Say what was found in a file of weights, where it is more than one entry for each."""
    if said := str(model.weights or ""):
        note(said)


def check_weights(model: Model, written: Iterable[Path | None] = (), *, allowed: bool) -> None:
    """Say that weights are random numbers, where they are and values count.

    written: the files that would hold what such weights make; None for one that is not asked for
    allowed: whether --random-weights is given: then nothing is said

    Raises UsageError for a file that would be written with them.
    """
    drawn = () if allowed else model.drawn()
    if not drawn:
        return
    said, published = model.said_of(drawn), _published(model.name)
    files = [str(path) for path in written if path is not None]
    if not files:
        warn(f"{said}; --weights FILE loads trained ones")
        if published:
            note(published)
        return
    raise UsageError(
        f"{said}, and {' and '.join(files)} would hold what they make; --weights FILE loads "
        f"trained ones, and --random-weights writes it nevertheless."
        + (f"\n{published[0].upper()}{published[1:]}" if published else "")
    )


def _published(spec: str) -> str:
    """How trained weights of a zoo's model come into a file; '' where none are published."""
    from fieldwise.capture.published import command_for

    command = command_for(spec)
    return (
        "" if command is None else f"where there is a network, this writes trained ones: {command}"
    )
