"""Into which files the results of a request go: their shapes, blocks, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fieldwise.capture.torch.capture import record
from fieldwise.capture.torch.example import meta_tensor
from fieldwise.tile.files import (
    AxisLayout,
    Calibration,
    NewFile,
    OutputGrid,
    axes_to_write,
    calibration_of,
)
from fieldwise.tile.jobs.paths import result_paths
from fieldwise.tile.jobs.placing import fields_of, output_grids
from fieldwise.tile.jobs.request import Request
from fieldwise.tile.jobs.results import Results, rows_of
from fieldwise.tile.jobs.work import Output


def results_for(asked: Request, outputs: Sequence[Output]) -> Results:
    """The files of these outputs, with what follows for them from the input's calibration.

    Raises UsageError where a file cannot hold its output.
    """
    paths = result_paths(asked.out, [output.name for output in outputs])
    files = tuple(_file(asked, *pair) for pair in zip(paths, outputs, strict=True))
    results = Results(tuple(outputs), files, tuple(layout_of(asked, one) for one in outputs))
    about = calibration_of(asked.source, asked.layout.axes)
    if about is None:
        return results
    return replace(results, files=_calibrated(asked, about, files, grids_of(asked, results)))


def layout_of(asked: Request, output: Output) -> AxisLayout:
    """How the axes of an output's file stand for its dimensions."""
    assert asked.along is not None
    layout, batch = asked.layout, asked.shape[0]
    if layout.one_by_one:
        batch = output.shape[0]
    found = layout.of_result(output.shape, follows=(asked.along, output.dim), batch=batch)
    return found.in_order(axes_to_write(asked.out, found.axes))


def rows_at_a_time(asked: Request, output: Output) -> int:
    """The rows of an output that its file takes at a time."""
    return rows_of(_file(asked, asked.out, output).grain, layout_of(asked, output), output)


def _file(asked: Request, path: Path, output: Output) -> NewFile:
    layout = layout_of(asked, output)
    found = NewFile.of(
        path,
        layout.file_shape(output.shape),
        output.dtype,
        layout.axes,
        [output.steps[dim] for dim in layout.dims],
        compression=asked.compression,
        side=asked.chunks,
    )
    return replace(found, pyramid=asked.pyramid)


def grids_of(asked: Request, results: Results) -> list[Mapping[str, OutputGrid | None]]:
    """Where the positions of the results lie in the input."""
    graph = record(asked.model.call.model, meta_tensor(asked.shape, asked.model.dtype))
    report, names = fields_of(graph), dict(zip(graph.output_names, graph.outputs, strict=True))
    return [
        output_grids(report, names[out.name], asked.layout, layout)
        for out, _, layout in zip(*results.parts, strict=True)
    ]


def _calibrated(
    asked: Request,
    about: Calibration,
    files: Sequence[NewFile],
    grids: Sequence[Mapping[str, OutputGrid | None]],
) -> tuple[NewFile, ...]:
    """The files of the results, with what follows for them from the input's calibration."""
    found = []
    for file, grid in zip(files, grids, strict=True):
        kept, lost = about.on(grid)
        if asked.nodata is not None and about.nodata is not None:
            kept = replace(kept, nodata=f"{asked.fill:g}")
            lost = tuple(one for one in lost if not one.startswith(f"nodata {about.nodata}:"))
        found.append(file.saying(kept, lost))
    return tuple(found)
