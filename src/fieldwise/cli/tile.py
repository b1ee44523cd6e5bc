"""``fieldwise tile``: run a model on an array larger than memory, piece by piece, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fieldwise.cli.console import note_files, show_json, warn
from fieldwise.cli.freed import SLACK, give_back_freed
from fieldwise.cli.options import Debug, Format, OptionalModelName, Style, grouped
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.cli.tile_job import connected, planned, run
from fieldwise.cli.tile_options import (
    Checks,
    InputOptions,
    ModelOptions,
    OutputOptions,
    PieceOptions,
    RunOptions,
)
from fieldwise.errors import OutOfMemoryError, UsageError
from fieldwise.reports import Report

if TYPE_CHECKING:
    from fieldwise.tile.jobs import Job
    from fieldwise.tile.jobs.report import JobReport

REFUSED = 1


@grouped
def tile(
    checks: Checks,
    building: ModelOptions,
    reading: InputOptions,
    writing: OutputOptions,
    pieces: PieceOptions,
    running: RunOptions,
    model: OptionalModelName = None,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="IN",
            help="The input: .npy, .zarr, a TIFF, a picture, file.h5:/path, file.npz:name, NIfTI, "
            "sound, or file.raw:uint16:1024x1024.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT",
            help="The result: .npy, .zarr, .tif, .h5, .nii or .png; beside it OUT.journal says "
            "what is done.",
            show_default=False,
        ),
    ] = None,
    style: Style = Format.table,
    debug: Debug = False,
) -> None:
    """Run a model on an array larger than memory; the result is the whole array's, exactly.

    Pieces are recorded once they are on disk: after a crash, --resume goes on and ends with the
    same bytes.  Exit code 1 where a layer of the model needs the whole array at once, and where
    --verify, --check or --check-bioimageio finds a difference.
    """
    with reported(debug=debug):
        pieces.check()
        running.check()
        if checks.check is not None or checks.check_bioimageio is not None:
            _checked(model, source, checks, building, style)
            return
        if model is None:
            raise UsageError("Name MODEL, IN and OUT, or --check OUT; see fieldwise tile --help.")
        if source is None or out is None:
            raise UsageError("Name IN and OUT, the input and where the result goes.")
        pieces = _as_it_must_be(pieces, running, out)
        with _refusals():
            job = planned(model, source, out, building, reading, writing, pieces, running)
            certificate = None
            if running.verify:
                with progress("comparing pieces with the whole"):
                    certificate = job.verify()
                if style is Format.table:
                    typer.echo(certificate)
                    _note_steps(job)
        if running.plan:
            with progress("comparing plans"):
                compared = job.compared()
            _write(job.report(model, certificate, compared), style)
            return
        report = job.report(model, certificate)
        while True:
            try:
                _carry_out(job, report, running, style, debug=debug)
                break
            except OutOfMemoryError as error:
                if not pieces.automatic:
                    raise
                warn(f"{error}  It begins again with half.")
                job = job.in_less_memory()
                report = job.report(model, certificate)
                running = replace(running, resume=False, overwrite=True)
        if style is Format.json:
            _write(replace(report, done=len(job.plan.pieces)), style)
        note_files([file.path for file in job.files], err=style is Format.json)


def _as_it_must_be(pieces: PieceOptions, running: RunOptions, out: Path) -> PieceOptions:
    """How the work is cut: as it was begun, and so that workers can share it."""
    if running.resume:
        from fieldwise.tile.jobs import begun_cut, journal_path

        pieces = pieces.as_begun(begun_cut(journal_path(out)))
    shared = running.cluster is not None or running.devices is not None
    return pieces.for_workers() if shared else pieces


def _carry_out(
    job: Job, report: JobReport, running: RunOptions, style: Format, *, debug: bool
) -> None:
    """Compute what is missing of a job, here or on a cluster."""
    _keep_to_memory(job)
    with connected(running, job, debug=debug) as client:
        with progress("checking what is on disk"):
            journal = job.open(resume=running.resume, overwrite=running.overwrite)
        with journal:
            if not journal.done and style is Format.table:
                _write(report, style)
            run(job, journal, client)


def _keep_to_memory(job: Job) -> None:
    """Give freed memory back at once, where the job would take more than it was given otherwise."""
    memory, plan = job.request.memory, job.plan
    on_host = job.request.model.call.device.type == "cpu"
    if memory is None or not on_host or plan.peak_bytes * SLACK <= memory:
        return
    if give_back_freed():
        what = "what is freed goes back to the system at once, to keep to --memory"
        typer.echo(f"note: {what}; more --memory is faster.", err=True)


def _note_steps(job: Job) -> None:
    """Say where what was compared is not yet what is written."""
    model = job.request.model
    if model.before_steps() is not model:
        written = " and ".join(filter(None, (str(model.ending), model.ending.dtype)))
        typer.echo(
            f"note: {written} is a function of one position each, of the values that were compared"
        )


def _write(report: Report, style: Format) -> None:
    """A report as it was asked for."""
    if style is Format.json:
        typer.echo(report.to_json())
    else:
        typer.echo(report)


def _checked(
    model: str | None, source: Path | None, checks: Checks, building: ModelOptions, style: Format
) -> None:
    """Check something in place of a run."""
    out, description = checks.check, checks.check_bioimageio
    if source is not None:
        given = "--check" if description is None else "--check-bioimageio"
        raise UsageError(f"{given} takes the place of IN and OUT; leave them out.")
    if description is None:
        if model is not None or out is None:
            raise UsageError("--check takes OUT alone; leave MODEL out.")
        _check_result(out, style)
        return
    if model is None or out is not None:
        raise UsageError("--check-bioimageio takes MODEL alone.")
    with _refusals():
        _check_description(model, description, building, style)


def _check_result(out: Path, style: Format) -> None:
    from fieldwise.tile.jobs import check_result

    with progress(f"checking {out}"):
        checked = check_result(out)
    _write(checked, style)
    if checked.faults:
        raise typer.Exit(REFUSED)


def _check_description(spec: str, rdf: Path, building: ModelOptions, style: Format) -> None:
    from fieldwise.tile.interop.bioimageio import read_description

    found = read_description(rdf)
    with progress(f"building {spec}"):
        from fieldwise.tile.interop.bioimageio import check_description
        from fieldwise.views import tile, tile_json

        shapes = ",".join("x".join(map(str, shape)) for shape in found.shapes())
        module = building.load(spec, shapes, weights=False).runnable().module
    with progress(f"checking {rdf}"):
        checks = check_description(module, found)
    if style is Format.json:
        show_json(tile_json.description(checks, model=spec, source=str(rdf)))
    else:
        typer.echo(tile.render_checks(checks, source=f"{spec} by {rdf}"))
    if any(one.wrong for one in checks):
        raise typer.Exit(REFUSED)


@contextmanager
def _refusals() -> Iterator[None]:
    """A network that cannot be computed in pieces is an answer, not a mistake."""
    from fieldwise.tile.certificate import MismatchError
    from fieldwise.tile.errors import StreamError, TileError

    try:
        yield
    except (StreamError, TileError, MismatchError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(REFUSED) from None
