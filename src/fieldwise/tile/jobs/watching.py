"""Whether the input of a job is still what it was when the job was planned."""

from __future__ import annotations

from collections.abc import Callable

from fieldwise.errors import UsageError
from fieldwise.tile.files import Source
from fieldwise.tile.files.detect import split_name
from fieldwise.tile.files.disk import stamp
from fieldwise.tile.jobs.journal import Journal


def watch(source: Source, planned: str) -> Callable[[], None]:
    """A check that the input is still the file that it is now, which costs next to nothing.

    planned: the identity of the input that the job was planned for

    Raises UsageError, as that check does, where the input is another.
    """
    file, _ = split_name(source.path)
    before = stamp(file)
    if source.identity() != planned:
        raise UsageError(_CHANGED)

    def check() -> None:
        if stamp(file) != before:
            raise UsageError(_CHANGED)

    return check


def check_input(source: Source, planned: str, journal: Journal) -> None:
    """Raise UsageError where the input is not what it was when the job was planned.

    Then nothing of the journal is to be built upon, and it says so.
    """
    if source.identity() != planned:
        journal.void("The input has changed while it was read, so the result is a mixture")
        raise UsageError(_CHANGED)


_CHANGED = (
    "The input has changed while it was read, so the result is a mixture; run the job again with "
    "--overwrite."
)
