"""``fieldwise tile``: run a model on an array larger than memory, piece by piece, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fieldwise.cli.console import show_json, show_lines
from fieldwise.cli.options import Debug, Format, OptionalModelName, Style, grouped
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.cli.tile_asked import Asked
from fieldwise.cli.tile_many import run_many
from fieldwise.cli.tile_options import (
    Checks,
    InputOptions,
    ModelOptions,
    OutputOptions,
    RunOptions,
)
from fieldwise.cli.tile_pieces import PieceOptions
from fieldwise.cli.tile_run import REFUSED, refusals, run_one, write_report
from fieldwise.errors import UsageError


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
            "sound, or file.raw:uint16:1024x1024; many: a folder, or '*.tif' in quotes.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT",
            help="The result: .npy, .zarr, .tif, .h5, .nii, .png or .wav; of many files a folder, "
            "or 'out/{stem}.tif'; beside it OUT.journal says what is done.",
            show_default=False,
        ),
    ] = None,
    style: Style = "table",
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
        asked = Asked(model, building, reading, writing, pieces, running, style, debug)
        from fieldwise.tile.jobs import files_named

        pairs = files_named(source, out)
        if pairs is None:
            run_one(asked, source, out)
        else:
            run_many(asked, pairs)


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
    with refusals():
        _check_description(model, description, building, style)


def _check_result(out: Path, style: Format) -> None:
    from fieldwise.tile.jobs import check_result

    with progress(f"checking {out}"):
        checked = check_result(out)
    write_report(checked, style)
    if checked.faults:
        raise typer.Exit(REFUSED)


def _check_description(spec: str, rdf: Path, building: ModelOptions, style: Format) -> None:
    from fieldwise.tile.interop.bioimageio import read_description

    found = read_description(rdf)
    with progress(f"building {spec}"):
        from fieldwise.tile.interop.bioimageio import check_description
        from fieldwise.views import tile, tile_json

        shapes = ["x".join(map(str, shape)) for shape in found.shapes()]
        module = building.load(spec, shapes, weights=False).runnable().module
    with progress(f"checking {rdf}"):
        checks = check_description(module, found)
    if style == "json":
        show_json(tile_json.description(checks, model=spec, source=str(rdf)))
    else:
        show_lines(tile.render_checks(checks, source=f"{spec} by {rdf}"))
    if any(one.wrong for one in checks):
        raise typer.Exit(REFUSED)
