"""A job of ``fieldwise tile`` from what was typed, carried out, on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fieldwise.cli.cluster import client_on_devices, connected_client, devices_named
from fieldwise.cli.console import AxisNames, parse_size, warn
from fieldwise.cli.outcome import INTERRUPTED
from fieldwise.cli.progress import progress
from fieldwise.cli.tile_input import normalised, wanted
from fieldwise.cli.tile_options import (
    InputOptions,
    ModelOptions,
    OutputOptions,
    PieceOptions,
    RunOptions,
    parse_channels,
)
from fieldwise.cli.weights import check_weights, note_weights
from fieldwise.errors import CaptureError, UsageError
from fieldwise.written import counted

if TYPE_CHECKING:
    from distributed import Client

    from fieldwise.graph.ir import Shape
    from fieldwise.tile.files import AxisLayout, Source
    from fieldwise.tile.jobs import Job, Journal


def planned(
    spec: str,
    source: Path,
    out: Path,
    building: ModelOptions,
    reading: InputOptions,
    writing: OutputOptions,
    pieces: PieceOptions,
    running: RunOptions,
    known: Job | None = None,
) -> Job:
    """The job, planned; nothing is computed or written yet.

    known: a job of another input with the same options, whose model is taken, and whose axes are
           those of this input too where it has as many
    """
    if running.devices is not None and building.device is not None:
        raise UsageError("--devices says where the model runs; leave --device out.")
    building.check_types()
    shared = running.cluster is not None or running.devices is not None
    asked = (pieces.for_workers() if shared else pieces).asked()
    axes, shape = reading.layout, building.shape
    with progress(f"building {spec}"):
        from fieldwise.tile.files import AxisLayout, guess_axes
        from fieldwise.tile.jobs import (
            Request,
            begun_cut,
            check_channels,
            has_usual_shape,
            job_model,
            journal_path,
            plan_job,
        )

        devices = None if running.devices is None else devices_named(running.devices)
        array = _opened(source, out, reading, running)
        channels, name = parse_channels(reading.channels), source.name
        if known is not None:
            axes = axes or _axes_as(known, array)
        elif shape is None and (axes is not None or not has_usual_shape(spec)):
            axes, seen = _read(spec, array, reading, building)
            shape = "x".join(map(str, seen))
        if known is not None:
            built = known.request.model
        else:
            built = job_model(
                spec,
                shape,
                weights=building.weights,
                dtype=building.dtype,
                autocast=building.autocast,
                device=building.device if devices is None else devices[0].type,
                max_constant=parse_size(building.max_constant),
                values=building.named_values(),
                ending=writing.ending(),
            )
        axes = axes or guess_axes(
            array.shape, model=built.shape, hint=array.axes, channels=channels, name=name
        )
        layout = AxisLayout.of(axes, rank=len(built.shape)).on(array.shape, channels)
    if array.note is not None:
        warn(array.note)
    if reading.layout is None and "N" in axes and "C" not in axes:
        samples = counted(array.shape[axes.index("N")], "sample")
        what = f"{samples} of one channel each; --layout says what its axes are instead"
        warn(f"{str(source)!r} is read as {axes}, {what}")
    if known is None:
        note_weights(built.loaded)
    if pieces.automatic:
        from fieldwise.capture.torch.devices import usable_bytes

        sharing = len(devices) if devices is not None and devices[0].type == "cpu" else 1
        asked["memory"] = usable_bytes(built.call.device) // sharing
    asked |= wanted(reading, writing, array)
    asked |= normalised(reading, array, layout, built.plain or built.call.model, spec)
    dim = None if pieces.axis is None else _dim_of(pieces.axis, layout)
    with progress(f"planning {spec}"):
        asked.update(along=dim, pyramid=running.pyramid, **writing.of_file())
        request = Request(built, array, layout, out, **asked)
        if running.resume:
            request = request.as_begun(begun_cut(journal_path(out)))
        try:
            job = plan_job(request)
        except CaptureError:
            check_channels(built.call.model, [request.shape], name)
            raise
    if known is None:
        written = () if running.plan else (out,)
        check_weights(built.loaded, written, allowed=running.random_weights)
    return job


def _read(
    spec: str, array: Source, reading: InputOptions, building: ModelOptions
) -> tuple[str, Shape]:
    """The axes of an input, as they were said or as the model takes them, and what it sees."""
    from fieldwise.tile.files import read_as, readings
    from fieldwise.tile.jobs import taken_reading

    axes, channels = reading.layout, parse_channels(reading.channels)
    if axes is None:
        found = readings(array.shape, hint=array.axes, channels=channels)
    else:
        found = read_as(axes, array.shape, channels)
    if axes is None or len(found) > 1:
        said, name = axes is not None, array.path.name
        axes = taken_reading(spec, found, building.named_values(), name=name, said=said)
    return axes, found[axes]


def _check_apart(source: Path, out: Path, *, pyramid: bool) -> None:
    """Raise UsageError where the result would be part of the input, or the input of the result."""
    made = out.resolve()
    if source in (made, *made.parents):
        raise UsageError(f"{str(out)!r} is the input itself or lies in it; name another OUT.")
    if made in source.parents and made.suffix.lower() == ".zarr":
        raise UsageError(f"{str(out)!r} holds the input; name another OUT.")
    if pyramid and not out.name.lower().endswith(".ome.zarr"):
        raise UsageError(f"--pyramid is of a result named .ome.zarr, not of {str(out)!r}.")


def _opened(source: Path, out: Path, reading: InputOptions, running: RunOptions) -> Source:
    """The input.  Raises UsageError where it is empty, has other axes, or is the result itself."""
    from fieldwise.tile.files import open_source, split_name

    array, axes = open_source(source, level=reading.level), reading.layout
    _check_apart(split_name(source)[0].resolve(), out, pyramid=running.pyramid)
    if 0 in array.shape:
        size = "x".join(map(str, array.shape))
        raise UsageError(f"{str(source)!r} is empty: its shape is {size}; there is no result.")
    if axes is not None and len(axes) != len(array.shape):
        raise UsageError(
            f"--layout {axes} has {counted(len(axes), 'letter')} and {str(source)!r} "
            f"{counted(len(array.shape), 'dimension')}; give one letter for each."
        )
    return array


def _axes_as(known: Job, array: Source) -> str | None:
    """The axes of an input that has as many as one of before."""
    axes = known.request.layout.axes
    return axes if len(axes) == len(array.shape) else None


def run(job: Job, journal: Journal, client: Client | None, *, label: str = "") -> None:
    """Compute what is missing; on the workers of a cluster, where there is one.

    label: what stands before the bar
    """
    from fieldwise.cli.tile_progress import bar

    for warning in (journal.warning, journal.spoilt):
        if warning is not None:
            warn(warning)
    try:
        with bar(job.plan, journal.done, label) as advance:
            if client is None:
                job.run(journal, advance=advance)
            else:
                from fieldwise.tile.spread import run_on_cluster

                run_on_cluster(job, journal, client, advance=advance, tell=warn)
    except KeyboardInterrupt:
        done, number = len(journal.done), len(job.plan.pieces)
        remedy = "--resume goes on from there" if journal.helps else "--resume begins again"
        dropped = "" if client is None else "; what workers are still at is dropped"
        what = f"{done} of {number} pieces are on disk, and {remedy}{dropped}"
        typer.echo(f"Interrupted; {what}.", err=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def connected(running: RunOptions, job: Job, *, debug: bool) -> Iterator[Client | None]:
    """A client of a dask scheduler, once it is clear that its workers can carry out the job.

    Nothing of the results is touched.  None where one process does it all.
    """
    if running.cluster is None and running.devices is None:
        yield None
        return
    if running.devices is not None:
        workers = client_on_devices(running.devices, debug=debug)
    else:
        assert running.cluster is not None
        workers = connected_client(running.cluster, debug=debug)
    with workers as client:
        from fieldwise.tile.spread import check_cluster

        with progress("asking the workers"):
            check_cluster(job, client, tell=warn)
        yield client


def _dim_of(axis: str, layout: AxisLayout) -> int:
    """The dimension of the model's input that ``--axis`` names."""
    places = zip(layout.axes, layout.dims, strict=True)
    letters = {letter: dim for letter, dim in places if dim >= _FIRST_SPATIAL}
    return AxisNames("IN", layout.rank, letters, _FIRST_SPATIAL).find("--axis", axis)


_FIRST_SPATIAL = 2
