"""Plans and certificates of tiled and streamed runs as plain data (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fieldwise.views.json import as_data, document, entry, interval

if TYPE_CHECKING:
    from fieldwise.tile import (
        AxisCheck,
        Calibration,
        Checked,
        JobFile,
        JobPlan,
        JobReport,
        ManyReport,
        RunCertificate,
        StreamPlan,
        Tile,
        TilePlan,
    )


def tile_plan(plan: TilePlan) -> dict[str, object]:
    """A plan of tiles, with an entry per crop."""
    return document(
        **entry(plan, "shapes"),
        axes=[entry(axis, *_AXIS) for axis in plan.axes],
        outputs=[entry(output, *_OUTPUT) for output in plan.outputs],
        **entry(plan, "crop_bytes", "whole_bytes", "recompute", "proven", "batch"),
        single_because=plan.single_because or None,
        tiles=[_tile(plan, tile) for tile in plan.tiles()],
    )


def _tile(plan: TilePlan, tile: Tile) -> dict[str, object]:
    return {
        "reads": [[interval(found) for found in tile.reads[axis.axis]] for axis in plan.axes],
        "keeps": [
            _ranges(slices, output.dims, shape)
            for slices, output, shape in zip(tile.keeps, plan.outputs, tile.shapes, strict=True)
        ],
        "writes": [
            _ranges(slices, output.dims, output.shape)
            for slices, output in zip(tile.writes, plan.outputs, strict=True)
        ],
    }


def _ranges(
    slices: Sequence[slice], dims: Sequence[int], shape: Sequence[int]
) -> list[list[int] | None]:
    return [interval(slices[dim].indices(shape[dim])[:2]) for dim in dims]


def stream_plan(plan: StreamPlan) -> dict[str, object]:
    """The plan of a streamed run, with an entry per value that is kept."""
    return document(
        **entry(plan, "band", "steps"),
        kept=[entry(kept, "name", "rows", "of", "nbytes") for kept in plan.kept],
        held_whole=[{"name": name, "why": why} for name, why in plan.held_whole],
        **entry(plan, "passes", "state_bytes", "peak_bytes", "kept_bytes", "work"),
    )


def run_certificate(found: RunCertificate) -> dict[str, object]:
    """How equal a run from pieces is, with an entry per output."""
    return document(**_run_certificate(found))


def _run_certificate(found: RunCertificate) -> dict[str, object]:
    return {
        **entry(found, "kind", "shapes"),
        "outputs": [entry(one, *_EQUALITY) for one in found.outputs],
        "double": [entry(one, *_EQUALITY) for one in found.double],
        "single_because": found.single_because or None,
    }


def job_plan(plan: JobPlan) -> dict[str, object]:
    """The plan of a job, with an entry per piece."""
    return document(**_job_plan(plan))


def job(report: JobReport) -> dict[str, object]:
    """A job, with an entry per piece."""
    certificate = report.certificate
    return document(
        model=report.model,
        source=_file(report.source),
        results=list(map(_file, report.results)),
        certificate=None if certificate is None else _run_certificate(certificate),
        done=report.done,
        compared=[
            {
                **entry(one, "cache", "cost"),
                "taken": one.cache == report.plan.cache,
                "plan": None if one.plan is None else entry(one.plan, *_TAKES),
                "why_not": one.why_not or None,
            }
            for one in report.compared
        ],
        **_job_plan(report.plan),
    )


def _file(file: JobFile) -> dict[str, object]:
    about = None if file.about is None else _calibration(file.about)
    found = {"path": str(file.path), "axes": file.axes, "calibration": about}
    return {**found, "lost": list(file.lost)}


def _calibration(about: Calibration) -> dict[str, object]:
    steps = [
        {"axis": letter, **entry(one, "size", "unit", "origin")}
        for letter, one in about.steps.items()
    ]
    place = None if about.place is None else entry(about.place, "x", "y", "areas")
    rest = entry(about, "channels", "nodata", "style")
    affines = [entry(one, "name", "axes", "columns", "origin", "code") for one in about.affines]
    return {
        "steps": steps,
        **rest,
        "place": place,
        "affines": affines,
        "attributes": as_data(about.attributes),
    }


def _job_plan(plan: JobPlan) -> dict[str, object]:
    return {
        **entry(plan, "engine", "cache", "along", "step", "shape"),
        "outputs": [
            {**entry(output, "name", "shape", "dim"), "dtype": str(output.dtype)}
            for output in plan.outputs
        ],
        "axes": [entry(axis, *_AXIS) for axis in plan.axes],
        **entry(
            plan, "work", "reread", "peak_bytes", "kept_bytes", "moved_bytes", "notes", "batch"
        ),
        "pieces": [
            {
                "number": piece.number,
                "reads": list(map(interval, piece.reads)),
                "writes": [list(map(interval, box)) for box in piece.writes],
            }
            for piece in plan.pieces
        ],
    }


def checked(found: Checked) -> dict[str, object]:
    """A result held against its journal."""
    return document(path=str(found.path), **entry(found, "pieces", "faults"))


def many(found: ManyReport) -> dict[str, object]:
    """What became of many inputs, an entry for each."""
    return document(
        **entry(found, "model"),
        files=[
            {"source": str(one.source), "out": str(one.out), **entry(one, "state", "why")}
            for one in found.files
        ],
    )


def description(checks: Sequence[AxisCheck], *, model: str, source: str) -> dict[str, object]:
    """What a description declares beside what the network needs, an entry per output and axis."""
    return document(model=model, source=source, axes=[entry(one, *_CHECK) for one in checks])


_AXIS = ("axis", "size", "tile", "grid", "halo", "border")
_OUTPUT = ("name", "shape", "dtype", "dims", "scales")
_TAKES = ("step", "work", "reread", "peak_bytes", "kept_bytes", "moved_bytes")
_EQUALITY = ("name", "kind", "error", "scale", "floor", "why")
_CHECK = ("output", "axis", "halo", "needed", "good", "step", "grid", "wrong")
