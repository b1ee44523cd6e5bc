"""A job of ``fieldwise tile``, planned from what was typed: its input and its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwise.cli.cluster import devices_named
from fieldwise.cli.console import AxisNames, parse_size, warn
from fieldwise.cli.progress import progress
from fieldwise.cli.tile_asked import Asked
from fieldwise.cli.tile_input import normalised, wanted
from fieldwise.cli.tile_options import InputOptions, RunOptions, parse_channels
from fieldwise.cli.weights import check_weights, note_weights
from fieldwise.errors import CaptureError, UsageError
from fieldwise.written import counted

if TYPE_CHECKING:
    import torch

    from fieldwise.graph.ir import Shape
    from fieldwise.tile.files import AxisLayout, Source
    from fieldwise.tile.jobs import Job
    from fieldwise.tile.jobs.models import JobModel


def planned(asked: Asked, source: Path, out: Path, known: Job | None = None) -> Job:
    """The job, planned; nothing is computed or written yet.

    known: a job of another input with the same options, whose model is taken, and whose axes are
           those of this input too where it has as many
    """
    reading, writing, running = asked.reading, asked.writing, asked.running
    asked.check()
    with progress(f"building {asked.model}"):
        from fieldwise.tile.files import AxisLayout, guess_axes
        from fieldwise.tile.jobs import Request, begun_cut, check_channels, journal_path, plan_job

        begun = begun_cut(journal_path(out)) if running.resume else None
        options = asked.cut(begun)
        devices = () if running.devices is None else devices_named(running.devices)
        array = _opened(source, out, reading, running)
        channels, name = parse_channels(reading.channels), source.name
        if known is None:
            built, axes = _built(asked, array, devices)
        else:
            built, axes = known.request.model, reading.layout or _axes_as(known, array)
        axes = axes or guess_axes(
            array.shape, model=built.shape, hint=array.axes, channels=channels, name=name
        )
        layout = AxisLayout.of(axes, rank=len(built.shape)).on(array.shape, channels)
    _warn_of_reading(reading, array, source, axes)
    if known is None:
        note_weights(built.loaded)
    if asked.pieces.automatic:
        options["memory"] = _free_memory(built, devices)
    options |= wanted(reading, writing, array)
    options |= normalised(reading, array, layout, built.plain or built.call.model, asked.model)
    along = None if asked.pieces.axis is None else _dim_of(asked.pieces.axis, layout)
    with progress(f"planning {asked.model}"):
        options.update(along=along, pyramid=running.pyramid, **writing.of_file())
        request = Request(built, array, layout, out, **options)
        request = request.as_begun(begun)
        try:
            job = plan_job(request)
        except CaptureError:
            check_channels(built.call.model, [request.shape], name)
            raise
    if known is None:
        written = () if running.plan else (out,)
        check_weights(built.loaded, written, allowed=running.random_weights)
    return job


def _built(
    asked: Asked, array: Source, devices: Sequence[torch.device]
) -> tuple[JobModel, str | None]:
    """The model, and the axes of the input where they were said, or needed to build it."""
    from fieldwise.tile.jobs import has_usual_shape, job_model

    building, axes, shape = asked.building, asked.reading.layout, asked.building.shape
    if shape is None and (axes is not None or not has_usual_shape(asked.model)):
        axes, seen = _read(asked, array)
        shape = "x".join(map(str, seen))
    built = job_model(
        asked.model,
        shape,
        weights=building.weights,
        dtype=building.dtype,
        autocast=building.autocast,
        device=devices[0].type if devices else building.device,
        max_constant=parse_size(building.max_constant),
        values=building.named_values(),
        ending=asked.writing.ending(),
    )
    return built, axes


def _warn_of_reading(reading: InputOptions, array: Source, source: Path, axes: str) -> None:
    """Say what of the input is not read, or read in a way that may surprise."""
    if array.note is not None:
        warn(array.note)
    if reading.layout is None and "N" in axes and "C" not in axes:
        samples = counted(array.shape[axes.index("N")], "sample")
        what = f"{samples} of one channel each; --layout says what its axes are instead"
        warn(f"{str(source)!r} is read as {axes}, {what}")


def _free_memory(built: JobModel, devices: Sequence[torch.device]) -> int:
    """The bytes that are free where the model runs, for each of the processes that share them."""
    from fieldwise.capture.torch.devices import usable_bytes

    sharing = len(devices) if devices and devices[0].type == "cpu" else 1
    return usable_bytes(built.call.device) // sharing


def _read(asked: Asked, array: Source) -> tuple[str, Shape]:
    """The axes of an input, as they were said or as the model takes them, and what it sees."""
    from fieldwise.tile.files import read_as, readings
    from fieldwise.tile.jobs import taken_reading

    axes, channels = asked.reading.layout, parse_channels(asked.reading.channels)
    if axes is None:
        found = readings(array.shape, hint=array.axes, channels=channels)
    else:
        found = read_as(axes, array.shape, channels)
    if axes is None or len(found) > 1:
        said, name = axes is not None, array.path.name
        values = asked.building.named_values()
        axes = taken_reading(asked.model, found, values, name=name, said=said)
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


def _dim_of(axis: str, layout: AxisLayout) -> int:
    """The dimension of the model's input that ``--axis`` names."""
    places = zip(layout.axes, layout.dims, strict=True)
    letters = {letter: dim for letter, dim in places if dim >= _FIRST_SPATIAL}
    return AxisNames("IN", layout.rank, letters, _FIRST_SPATIAL).find("--axis", axis)


_FIRST_SPATIAL = 2
