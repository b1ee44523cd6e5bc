"""``fieldwise tile``: run a model on an array larger than memory, piece by piece, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fieldwise.cli.console import (
    Debug,
    MaxConstant,
    OptionalModelName,
    allowed_constants,
    parse_size,
)
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.cli.tile_job import connected, parse_scale, planned, run, said
from fieldwise.errors import UsageError
from fieldwise.written import MAX_SIZE

REFUSED = 1


class EngineChoice(StrEnum):
    """How pieces are computed."""

    stream = "stream"
    halo = "halo"


class GlobalOpsChoice(StrEnum):
    """What is done with layers that need the whole input."""

    refuse = "refuse"
    multipass = "multipass"


class Type(StrEnum):
    """What the input is cast to and the model computes in."""

    float16 = "float16"
    float32 = "float32"
    float64 = "float64"


def tile(
    model: OptionalModelName = None,
    source: Annotated[
        Path | None,
        typer.Argument(metavar="IN", help="The input: .npy, .zarr or .tif.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT",
            help="The result: .npy, .zarr or .tif; beside it OUT.journal says what is done.",
            show_default=False,
        ),
    ] = None,
    check_bioimageio: Annotated[
        Path | None,
        typer.Option(
            metavar="rdf.yaml",
            help="In place of IN and OUT: compare the halo and step that a bioimage.io model "
            "description declares with those that MODEL needs.",
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT",
            help="In place of MODEL, IN and OUT: compare a result with what its journal says that "
            "was written.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights for the model, a .safetensors file."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the plan and end.")] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where an interrupted run has stopped, if one has."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again, even if OUT exists.")
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(metavar="2GiB", help="At most this much for rows and weights."),
    ] = None,
    engine: Annotated[
        EngineChoice,
        typer.Option(
            help="stream: band by band, each layer keeping the rows that the next band needs; "
            "halo: the model as it is on overlapping crops."
        ),
    ] = EngineChoice.stream,
    band: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=MAX_SIZE, help="Input rows per step of stream; by default 64."
        ),
    ] = None,
    piece: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MAX_SIZE,
            help="Input rows per piece of stream, at least: fewer, and a crash costs less, but "
            "more is computed twice.",
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(
            "--tile",
            metavar="N",
            min=1,
            max=MAX_SIZE,
            help="Samples from tile to tile of halo; by default 512.",
        ),
    ] = None,
    global_ops: Annotated[
        GlobalOpsChoice,
        typer.Option(
            help="Layers that need the whole input (global means, group norm): refuse, or go "
            "through the input once more for each in sequence (stream, on one machine)."
        ),
    ] = GlobalOpsChoice.refuse,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="First compare pieces with the whole on a corner of IN that has seams.",
        ),
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--dask",
            metavar="ADDRESS",
            help="Compute on the workers of this dask scheduler; IN and OUT must lie on a file "
            "system that all machines see under the same names.",
        ),
    ] = None,
    along: Annotated[
        str | None,
        typer.Option(metavar="AXIS", help="The axis that bands follow; by default the first."),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="CHW",
            help="What the axes of IN are: N batch, C channels, and T, D or Z, H or Y, W, X or L.",
        ),
    ] = None,
    dtype: Annotated[
        Type | None,
        typer.Option(
            help="Cast the input to this, without scaling, and compute in it; by default the "
            "type of the weights."
        ),
    ] = None,
    scale: Annotated[
        str, typer.Option(metavar="1/255", help="Multiply the input by this after the cast.")
    ] = "1",
    shape: Annotated[
        str | None,
        typer.Option("--input", metavar="SHAPE", help="A usual input shape, as 1x3x224x224."),
    ] = None,
    max_constant: MaxConstant = None,
    debug: Debug = False,
) -> None:
    """Run a model on an array larger than memory; the result is the whole array's, exactly.

    Pieces are recorded once they are on disk: after a crash, --resume goes on and ends with the
    same bytes.  Exit code 1 where a layer of the model needs the whole array at once, and where
    --verify, --check or --check-bioimageio finds a difference.
    """
    with reported(debug=debug):
        _check_together(
            stream={"--band": band, "--along": along, "--piece": piece},
            halo={"--tile": side},
            engine=engine,
            global_ops=global_ops,
        )
        if resume and overwrite:
            raise UsageError("--resume keeps what is done and --overwrite drops it; give one.")
        if check is not None or check_bioimageio is not None:
            _checked(model, source, check, check_bioimageio, allowed_constants(max_constant))
            return
        if model is None:
            raise UsageError("Name MODEL, IN and OUT, or --check OUT; see fieldwise tile --help.")
        if source is None or out is None:
            raise UsageError("Name IN and OUT, the input and where the result goes.")
        options = {
            "engine": engine.value,
            "band": band,
            "piece": piece,
            "tile": side,
            "memory": None if memory is None else parse_size(memory),
            "scale": parse_scale(scale),
            "global_ops": global_ops.value,
        }
        built = {
            "shape": shape,
            "weights": weights,
            "dtype": dtype,
            "max_constant": allowed_constants(max_constant),
        }
        with _refusals():
            job = planned(model, source, out, axes, along, built, options)
            if verify:
                with progress("comparing pieces with the whole"):
                    certificate = job.verify()
                typer.echo(certificate)
        if plan:
            typer.echo(said(job, model, source))
            return
        with connected(cluster, job, debug=debug) as client:
            with progress("checking what is on disk"):
                journal = job.open(resume=resume, overwrite=overwrite)
            with journal:
                if not journal.done:
                    typer.echo(said(job, model, source))
                run(job, journal, client)


def _check_together(
    *,
    stream: dict[str, Any],
    halo: dict[str, Any],
    engine: EngineChoice,
    global_ops: GlobalOpsChoice,
) -> None:
    """Raise UsageError for options of the other engine."""
    if engine is EngineChoice.halo and any(stream.values()):
        raise UsageError("--band, --along and --piece belong to --engine stream; give --tile.")
    if engine is EngineChoice.halo and global_ops is GlobalOpsChoice.multipass:
        raise UsageError("--global-ops multipass belongs to --engine stream.")
    if engine is EngineChoice.stream and any(halo.values()):
        raise UsageError("--tile belongs to --engine halo; give --band.")


def _checked(
    model: str | None,
    source: Path | None,
    out: Path | None,
    rdf: Path | None,
    max_constant: int | None,
) -> None:
    """Check something in place of a run."""
    if source is not None:
        given = "--check" if rdf is None else "--check-bioimageio"
        raise UsageError(f"{given} takes the place of IN and OUT; leave them out.")
    if rdf is None:
        if model is not None or out is None:
            raise UsageError("--check takes OUT alone; leave MODEL out.")
        _check_result(out)
        return
    if model is None or out is not None:
        raise UsageError("--check-bioimageio takes MODEL alone.")
    with _refusals():
        _check(model, rdf, max_constant)


def _check_result(out: Path) -> None:
    from fieldwise.tile.jobs import check_result

    with progress(f"checking {out}"):
        checked = check_result(out)
    for fault in checked.faults:
        typer.echo(fault)
    if checked.faults:
        raise typer.Exit(REFUSED)
    pieces = "1 piece" if checked.pieces == 1 else f"{checked.pieces} pieces"
    typer.echo(f"{out}: {pieces}, all as written")


def _check(spec: str, rdf: Path, max_constant: int | None) -> None:
    from fieldwise.tile.interop.bioimageio import read_description

    found = read_description(rdf)
    with progress(f"building {spec}"):
        from fieldwise.capture import load_model
        from fieldwise.tile.interop.bioimageio import check_description
        from fieldwise.views import tile as view

        shapes = ",".join("x".join(map(str, shape)) for shape in found.shapes())
        loaded = load_model(spec, shapes, weights=False, max_constant=max_constant)
        module = loaded.runnable().module
    with progress(f"checking {rdf}"):
        checks = check_description(module, found)
    typer.echo(view.render_checks(checks, source=f"{spec} by {rdf}"))
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
