"""``fieldwise tile`` on many files: one model, one line for each file, one summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fieldwise.cli.answers import answer
from fieldwise.cli.tile_asked import Asked
from fieldwise.cli.tile_plan import planned
from fieldwise.cli.tile_run import REFUSED, carry_out, certified, refusals, write_report
from fieldwise.errors import FieldwiseError

if TYPE_CHECKING:
    from fieldwise.tile.jobs import FileOutcome, Job


def run_many(asked: Asked, pairs: Sequence[tuple[Path, Path]]) -> None:
    """Compute the result of each input.  Exit code 1 where one has none.

    Inputs that cannot be read are told before anything is computed.  What fails at the plan of the
    first one ends the run, since it would fail for all; of a later one it is noted.
    """
    from fieldwise.tile.jobs import ManyReport

    unread = dict(_unreadable(pairs))
    readable = [pair for pair in pairs if pair[0] not in unread]
    table = asked.style == "table"
    for outcome in unread.values():
        typer.echo(f"failed  {outcome}", err=True)
    found = list(unread.values())
    if readable:
        with refusals():
            first = planned(asked, *readable[0])
            certificate = certified(asked, first)
        report = first.report(asked.model, certificate)
        if asked.running.plan or table:
            write_report(report, asked.style)
        if asked.running.plan:
            what = f"note: the plan of the first of {len(readable)} files"
            typer.echo(what, err=True)
            return
    for number, (source, out) in enumerate(readable, 1):
        label = f"{number} of {len(readable)}"
        outcome = _outcome(asked, source, out, first, f"{label} {source.name}")
        found.append(outcome)
        if table:
            answer(f"{label}  {outcome}")
    places = {source: place for place, (source, _) in enumerate(pairs)}
    many = ManyReport(asked.model, tuple(sorted(found, key=lambda one: places[one.source])))
    write_report(many, asked.style)
    if many.failed:
        raise typer.Exit(REFUSED)


def _unreadable(pairs: Sequence[tuple[Path, Path]]) -> Iterator[tuple[Path, FileOutcome]]:
    """The inputs that cannot be opened, and why."""
    from fieldwise.tile.files import open_source
    from fieldwise.tile.jobs import FileOutcome

    for source, out in pairs:
        try:
            open_source(source)
        except FieldwiseError as error:
            yield source, FileOutcome(source, out, "failed", " ".join(str(error).split()))


def _outcome(asked: Asked, source: Path, out: Path, first: Job, label: str) -> FileOutcome:
    from fieldwise.tile.jobs import FileOutcome

    try:
        written = _computed(asked, source, out, first, label)
    except FieldwiseError as error:
        return FileOutcome(source, out, "failed", " ".join(str(error).split()))
    return FileOutcome(source, out, "written" if written else "skipped")


def _computed(asked: Asked, source: Path, out: Path, first: Job, label: str) -> bool:
    """Whether a result was written, or was there."""
    own = source == first.request.source.path
    job = first if own else planned(asked, source, out, first)
    return carry_out(asked, job, label=label)[1]
