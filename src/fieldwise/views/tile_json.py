"""Plans and certificates of tiled and streamed runs as plain data (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fieldwise.views.json import document, interval, number

if TYPE_CHECKING:
    from fieldwise.tile import Equality, RunCertificate, StreamPlan, Tile, TilePlan


def tile_plan(plan: TilePlan) -> dict[str, Any]:
    """A plan of tiles, with an entry per crop."""
    return document(
        shapes=[list(shape) for shape in plan.shapes],
        axes=[
            {
                "axis": axis.axis,
                "size": axis.size,
                "tile": axis.tile,
                "grid": axis.grid,
                "halo": list(axis.halo),
                "border": axis.border,
            }
            for axis in plan.axes
        ],
        outputs=[
            {
                "name": output.name,
                "shape": list(output.shape),
                "dtype": output.dtype,
                "dims": list(output.dims),
                "scales": [number(scale) for scale in output.scales],
            }
            for output in plan.outputs
        ],
        crop_bytes=plan.crop_bytes,
        whole_bytes=plan.whole_bytes,
        recompute=plan.recompute,
        proven=plan.proven,
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
        band=plan.band,
        steps=plan.steps,
        kept=[
            {"name": kept.name, "rows": kept.rows, "of": kept.of, "nbytes": kept.nbytes}
            for kept in plan.kept
        ],
        held_whole=[{"name": name, "why": why} for name, why in plan.held_whole],
        passes=[list(layers) for layers in plan.passes],
        state_bytes=plan.state_bytes,
        peak_bytes=plan.peak_bytes,
    )


def run_certificate(found: RunCertificate) -> dict[str, Any]:
    """How equal a run from pieces is, with an entry per output."""
    return document(
        kind=found.kind,
        shapes=[list(shape) for shape in found.shapes],
        outputs=list(map(_equality, found.outputs)),
        double=list(map(_equality, found.double)),
        single_because=found.single_because or None,
    )


def _equality(one: Equality) -> dict[str, Any]:
    return {
        "name": one.name,
        "kind": one.kind,
        "error": number(one.error),
        "scale": number(one.scale),
        "floor": number(one.floor),
        "why": one.why,
    }
