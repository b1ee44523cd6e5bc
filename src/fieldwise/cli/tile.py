"""``fieldwise tile``: run a model on an array larger than memory, piece by piece, exactly."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldwise.cli.outcome import INTERRUPTED, reported
from fieldwise.cli.progress import progress
from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from fieldwise.tile.io import Layout
    from fieldwise.tile.jobs import Job, Journal


REFUSED = 1
CONNECT = "20s"


class Engine(StrEnum):
    """How pieces are computed."""

    stream = "stream"
    halo = "halo"


class GlobalOps(StrEnum):
    """What is done with layers that need the whole input."""

    refuse = "refuse"
    multipass = "multipass"


class Type(StrEnum):
    """What the input is cast to and the model computes in."""

    float16 = "float16"
    float32 = "float32"
    float64 = "float64"


def tile(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="torchvision:NAME, timm:NAME, 'layers:conv3 relu ...', package.module:factory, "
            "or a .pt2 exported program.",
        ),
    ],
    source: Annotated[Path, typer.Argument(metavar="IN", help="The input: .npy, .zarr or .tif.")],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="The result: .npy, .zarr or .tif; beside it OUT.journal says what is done.",
        ),
    ],
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
        Engine,
        typer.Option(
            help="stream: band by band, each layer keeping the rows that the next band needs; "
            "halo: the model as it is on overlapping crops."
        ),
    ] = Engine.stream,
    band: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Input rows per step of stream; by default 64."),
    ] = None,
    piece: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Input rows per piece of stream, at least: fewer, and a crash costs less, but "
            "more is computed twice.",
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(
            "--tile", metavar="N", min=1, help="Samples from tile to tile of halo; by default 512."
        ),
    ] = None,
    global_ops: Annotated[
        GlobalOps,
        typer.Option(
            help="Layers that need the whole input (global means, group norm): refuse, or go "
            "through the input once more for each in sequence (stream, on one machine)."
        ),
    ] = GlobalOps.refuse,
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
            "--dask", metavar="ADDRESS", help="Compute on the workers of this dask scheduler."
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
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Run a model on an array larger than memory; the result is the whole array's, exactly.

    Pieces are recorded once they are on disk: after a crash, --resume goes on and ends with the
    same bytes.  Exit code 1 where a layer of the model needs the whole array at once, and where
    --verify finds a difference.
    """
    with reported(debug=debug):
        if resume and overwrite:
            raise UsageError("--resume keeps what is done and --overwrite drops it; give one.")
        if engine is Engine.halo and (band or along or piece):
            raise UsageError("--band, --along and --piece belong to --engine stream; give --tile.")
        if engine is Engine.halo and global_ops is GlobalOps.multipass:
            raise UsageError("--global-ops multipass belongs to --engine stream.")
        if engine is Engine.stream and side:
            raise UsageError("--tile belongs to --engine halo; give --band.")
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
        }
        with _refusals():
            job = _planned(model, source, out, axes, along, built, options)
            if verify:
                with progress("comparing pieces with the whole"):
                    certificate = job.verify()
                typer.echo(certificate)
        if plan:
            typer.echo(_said(job, model, source))
            return
        with job.open(resume=resume, overwrite=overwrite) as journal:
            if not journal.done:
                typer.echo(_said(job, model, source))
            _run(job, journal, cluster)


def _planned(
    spec: str,
    source: Path,
    out: Path,
    axes: str | None,
    along: str | None,
    model: dict[str, Any],
    options: dict[str, Any],
) -> Job:
    with progress(f"building {spec}"):
        from fieldwise.tile.io import Layout, guess_axes, open_source, readings
        from fieldwise.tile.jobs import (
            Request,
            has_usual_shape,
            job_model,
            plan_job,
            taken_reading,
        )

        array = open_source(source)
        if source.resolve() in (out.resolve(), *out.resolve().parents):
            raise UsageError(f"{str(out)!r} is the input itself or lies in it; name another OUT.")
        if axes is not None and len(axes) != len(array.shape):
            raise UsageError(
                f"--axes {axes} has {len(axes)} letters and {str(source)!r} "
                f"{len(array.shape)} dimensions; give one letter for each."
            )
        if axes is None and model["shape"] is None and not has_usual_shape(spec):
            axes = taken_reading(spec, readings(array.shape, hint=array.axes))
        if axes is not None and model["shape"] is None:
            model["shape"] = "x".join(map(str, Layout.of(axes).model_shape(array.shape)))
        built = job_model(spec, **model)
        axes = axes or guess_axes(array.shape, model=built.shape, hint=array.axes)
        layout = Layout.of(axes, rank=len(built.shape))
    if built.random:
        typer.echo(
            f"warning: {spec!r} has random weights; --weights FILE.safetensors loads trained ones",
            err=True,
        )
    dim = _FIRST_SPATIAL if along is None else _dim_of(along, layout)
    with progress(f"planning {spec}"):
        return plan_job(Request(built, array, layout, out, along=dim, **options))


@contextmanager
def _refusals() -> Iterator[None]:
    """A network that cannot be computed in pieces is an answer, not a mistake."""
    from fieldwise.tile.plan import TileError
    from fieldwise.tile.refusal import StreamError
    from fieldwise.tile.verify import MismatchError

    try:
        yield
    except (StreamError, TileError, MismatchError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(REFUSED) from None


def _run(job: Job, journal: Journal, cluster: str | None) -> None:
    from fieldwise.cli.tile_progress import bar

    if journal.warning is not None:
        typer.echo(f"warning: {journal.warning}", err=True)
    try:
        with bar(job.plan, journal.done) as advance:
            if cluster is None:
                job.run(journal, advance=advance)
            else:
                _run_on(cluster, job, journal, advance)
    except KeyboardInterrupt:
        done, number = len(journal.done), len(job.plan.pieces)
        remedy = "--resume goes on from there" if done else "--resume begins again"
        typer.echo(f"Interrupted; {done} of {number} pieces are on disk, and {remedy}.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    for file in job.files:
        typer.echo(f"wrote {file.path}")


def _run_on(address: str, job: Job, journal: Journal, advance: Callable[[int], None]) -> None:
    try:
        from distributed import Client

        from fieldwise.tile.distributed import run_on_cluster
    except ImportError as error:
        raise UsageError(
            "A cluster needs dask.distributed; install it with pip install 'fieldwise[tile]'."
        ) from error
    try:
        client = Client(address, timeout=CONNECT)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"There is no dask scheduler at {address!r}; start one with dask scheduler."
        ) from error
    with client:
        run_on_cluster(job, journal, client, advance=advance)


def _said(job: Job, model: str, source: Path) -> str:
    from fieldwise.views import tile as view

    return view.render(
        job.plan,
        model=model,
        source=f"{source} ({job.request.layout.axes})",
        results=[f"{file.path} ({file.axes})" for file in job.files],
    )


def _dim_of(along: str, layout: Layout) -> int:
    axis = layout.axes.find(along.upper()) if len(along) == 1 else -1
    if axis < 0 or layout.dims[axis] < _FIRST_SPATIAL:
        spatial = [a for a, dim in zip(layout.axes, layout.dims, strict=True) if dim > 1]
        raise UsageError(f"--along {along} is no spatial axis of IN; use {' or '.join(spatial)}.")
    return layout.dims[axis]


def parse_size(text: str) -> int:
    """Bytes from text.

    >>> parse_size("2GiB"), parse_size("1.5 MB"), parse_size("4096")
    (2147483648, 1500000, 4096)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if found is None:
        raise UsageError(f"Cannot read the amount of memory {text!r}; write for example 2GiB.")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** ("kmgt".find(unit) + 1 if unit else 0))


def parse_scale(text: str) -> float:
    """A factor from a decimal number or a fraction.

    >>> parse_scale("1/4"), parse_scale("0.5")
    (0.25, 0.5)
    """
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--scale {text!r} is no number; write for example 1/255.") from None


_FIRST_SPATIAL = 2
