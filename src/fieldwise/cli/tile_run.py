"""One run of ``fieldwise tile``: a job is planned, shown, certified and carried out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fieldwise.cli.answers import answer
from fieldwise.cli.console import note, note_files, show_lines, warn
from fieldwise.cli.options import Format
from fieldwise.cli.progress import progress
from fieldwise.cli.system_memory import SLACK, give_back_freed
from fieldwise.cli.tile_asked import Asked
from fieldwise.cli.tile_job import connected, run
from fieldwise.cli.tile_options import RunOptions
from fieldwise.cli.tile_plan import planned
from fieldwise.errors import OutOfMemoryError
from fieldwise.reports import Report

if TYPE_CHECKING:
    from fieldwise.tile.certificate import RunCertificate
    from fieldwise.tile.jobs import Job
    from fieldwise.tile.jobs.report import JobReport

REFUSED = 1


def run_one(asked: Asked, source: Path, out: Path) -> None:
    """Compute the result of one input, or print the plan."""
    with refusals():
        job = planned(asked, source, out)
        certificate = certified(asked, job)
    if asked.running.plan:
        with progress("comparing plans"):
            compared = job.compared()
        write_report(job.report(asked.model, certificate, compared), asked.style)
        return
    report = job.report(asked.model, certificate)
    shown = report if asked.style == "table" else None
    job, _ = carry_out(asked, job, shown=shown)
    if asked.style == "json":
        report = job.report(asked.model, certificate)
        write_report(replace(report, done=len(job.plan.pieces)), asked.style)
    note_files([file.path for file in job.files], err=asked.style == "json")


def certified(asked: Asked, job: Job) -> RunCertificate | None:
    """How equal its pieces are to the whole, where that is asked for."""
    if not asked.running.verify:
        return None
    with progress("comparing pieces with the whole"):
        certificate = job.verify()
    if asked.style == "table":
        show_lines(certificate)
        _note_steps(job)
    return certificate


def carry_out(
    asked: Asked, job: Job, *, shown: JobReport | None = None, label: str = ""
) -> tuple[Job, bool]:
    """Compute what is missing of a job, here or on a cluster; with less memory where need be.

    shown: what is printed before the first piece; label: what stands before the bar

    Gives the job that was carried out, and whether something was missing.
    """
    running = asked.running
    while True:
        try:
            return job, _carry_out(job, shown, running, debug=asked.debug, label=label)
        except OutOfMemoryError as error:
            if not asked.pieces.automatic:
                raise
            warn(f"{error}  It begins again with half.")
            job = job.in_less_memory()
            shown = shown and job.report(asked.model, shown.certificate)
            running = replace(running, resume=False, overwrite=True)


def _carry_out(
    job: Job, shown: JobReport | None, running: RunOptions, *, debug: bool, label: str
) -> bool:
    """Compute what is missing of a job, here or on a cluster; whether something was."""
    _keep_to_memory(job)
    with connected(running, job, debug=debug) as client:
        with progress("checking what is on disk"):
            journal = job.open(resume=running.resume, overwrite=running.overwrite)
        with journal:
            if not journal.done and shown is not None:
                write_report(shown, "table")
            done, pieces = len(journal.done), len(job.plan.pieces)
            missing = done < pieces
            if running.resume and done:
                rest = "" if missing else "; nothing is computed"
                note(f"{done} of {pieces} pieces are on disk{rest}")
            run(job, journal, client, label=label)
    return missing


def _keep_to_memory(job: Job) -> None:
    """Give freed memory back at once, where the job would take more than it was given otherwise."""
    memory, plan = job.request.memory, job.plan
    on_host = job.request.model.call.device.type == "cpu"
    if memory is None or not on_host or plan.peak_bytes * SLACK <= memory:
        return
    if give_back_freed():
        what = "what is freed goes back to the system at once, to keep to --memory"
        note(f"{what}; more --memory is faster.")


def _note_steps(job: Job) -> None:
    """Say where what was compared is not yet what is written."""
    model = job.request.model
    if model.before_steps() is not model:
        steps = [step for step in (str(model.ending), model.ending.dtype) if step]
        are = "are functions" if len(steps) > 1 else "is a function"
        said = f"{' and '.join(steps)} {are} of one position each"
        note(f"{said}, of the values that were compared")


def write_report(report: Report, style: Format) -> None:
    """A report as it was asked for."""
    if style == "json":
        answer(report.to_json())
    else:
        show_lines(report)


@contextmanager
def refusals() -> Iterator[None]:
    """A network that cannot be computed in pieces is an answer, not a mistake."""
    from fieldwise.tile.certificate import MismatchError
    from fieldwise.tile.errors import StreamError, TileError

    try:
        yield
    except (StreamError, TileError, MismatchError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(REFUSED) from None
