"""Plans and certificates of tiled and streamed runs as plain data (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fieldwise.views.json import document, entry, interval

if TYPE_CHECKING:
    from fieldwise.tile import RunCertificate, StreamPlan, Tile, TilePlan


def tile_plan(plan: TilePlan) -> dict[str, Any]:
    """A plan of tiles, with an entry per crop."""
    return document(
        **entry(plan, "shapes"),
        axes=[entry(axis, *_AXIS) for axis in plan.axes],
        outputs=[entry(output, *_OUTPUT) for output in plan.outputs],
        **entry(plan, "crop_bytes", "whole_bytes", "recompute", "proven"),
        tiles=[_tile(plan, tile) for tile in plan.tiles()],
    )


def _tile(plan: TilePlan, tile: Tile) -> dict[str, Any]:
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


def stream_plan(plan: StreamPlan) -> dict[str, Any]:
    """The plan of a streamed run, with an entry per value that is kept."""
    return document(
        **entry(plan, "band", "steps"),
        kept=[entry(kept, "name", "rows", "of", "nbytes") for kept in plan.kept],
        held_whole=[{"name": name, "why": why} for name, why in plan.held_whole],
        **entry(plan, "passes", "state_bytes", "peak_bytes"),
    )


def run_certificate(found: RunCertificate) -> dict[str, Any]:
    """How equal a run from pieces is, with an entry per output."""
    return document(
        **entry(found, "kind", "shapes"),
        outputs=[entry(one, *_EQUALITY) for one in found.outputs],
        double=[entry(one, *_EQUALITY) for one in found.double],
        single_because=found.single_because or None,
    )


_AXIS = ("axis", "size", "tile", "grid", "halo", "border")
_OUTPUT = ("name", "shape", "dtype", "dims", "scales")
_EQUALITY = ("name", "kind", "error", "scale", "floor", "why")
