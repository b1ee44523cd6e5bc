"""``plan_tiles``: from a network and the size of an image to a proven plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import index
from typing import Any

from fieldwise.capture.models import as_module
from fieldwise.collecting import uncollected
from fieldwise.errors import CaptureError, FieldwiseError, Reason, UsageError
from fieldwise.graph.graph import Graph
from fieldwise.graph.spatial import Axes
from fieldwise.tile.crops.batches import BatchSize, check_batch, in_batches
from fieldwise.tile.crops.cut import Segments, cuts_alike, needed, owned, segments
from fieldwise.tile.crops.grid import Geometry, geometry
from fieldwise.tile.crops.parts import AxisPlan, AxisTile, OutputPlan
from fieldwise.tile.crops.plan import TilePlan
from fieldwise.tile.crops.prove import TiledAxis, prove
from fieldwise.tile.crops.sizes import Sizes
from fieldwise.tile.errors import OffGridError, TileError, drawn_reasons, fault
from fieldwise.written import counted


def plan_tiles(
    model: object,
    size: object = None,
    *,
    tile: int | Sequence[int],
    axes: Axes | None = None,
    batch: BatchSize = 1,
) -> TilePlan:
    """The plan by which tiles give exactly what the whole image gives.

    model: in eval mode, as for ``receptive_fields``; it is captured at the size of the image and
           of the crops, on the meta device, so that nothing is computed
    size:  the shape of the large input, or a (meta) tensor, or a tuple or dict of tensors
    tile:  input samples from tile to tile, a multiple of the grid; one for all axes, or one each
    axes:  of the inputs, along which tiles are cut; by default all from 2 on
    batch: crops of one shape that one call computes, at most: a number, or 'auto' (see ``tiled``)

    Raises TileError where a layer sees the whole image, where branches of different strides meet,
    where the network fails at this size, for a tile off the grid, and where no crop, or none in a
    batch, is proven.

    >>> import torch
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2)).eval()
    >>> print(plan_tiles(net, (1, 3, 1000, 700), tile=128))
    48 crops; at most 1.1 MiB at once (45.4 MiB for the whole image); 1.06 times the image is read
      axis 2: 8 tiles of 128 of 1000; grid 2, halo 1 before and 1 after, clipped
      axis 3: 6 tiles of 128 of 700; grid 2, halo 1 before and 1 after, clipped
      output output: 1x8x500x350, 1/2 x 1/2 positions per input sample
    """
    check_batch(batch)
    with _faults_as_refusals():
        sizes = Sizes.of(*as_module(model, size, values=False), axes)
        return in_batches(_planned(sizes, tile), sizes, batch)


def plan_at(sizes: Sizes, tile: int | Sequence[int]) -> TilePlan:
    """The same for a model that may be planned with other tiles too, which capture less again."""
    with _faults_as_refusals():
        return _planned(sizes, tile)


@contextmanager
def _faults_as_refusals() -> Iterator[None]:
    """Raise TileError where fieldwise fails inside."""
    try:
        yield
    except (FieldwiseError, MemoryError):
        raise
    except Exception as error:
        raise TileError("No tiling was planned", [Reason("", "plan", fault(error))]) from error


def _planned(sizes: Sizes, tile: int | Sequence[int]) -> TilePlan:
    whole = sizes.whole()
    if any(0 in whole.shape(name) for name in whole.inputs):
        return _in_one_crop(whole, sizes)
    for name, output in zip(whole.output_names, whole.outputs, strict=True):
        if 0 in whole.shape(output):
            raise TileError(f"The output '{name}' is empty at this size; give a larger image.")
    if whole.drawn:
        what = "Tiles cannot give what the whole image gives"
        raise TileError(what, drawn_reasons(whole), "Or run the model on the whole image.")
    with uncollected():
        found = geometry(whole, sizes.axes)
        tiles = tiles_on_grid(tile, found, sizes.image)
        steps = [_axis(whole, found, place, tiles[place], sizes.image[place]) for place in
                 range(len(tiles))]  # fmt: skip
        prove(whole, sizes.at, found, steps)
    return _plan(whole, sizes, found, tiles, steps)


def _in_one_crop(whole: Graph, sizes: Sizes) -> TilePlan:
    """The plan for inputs without elements (a batch of 0): there is nothing to cut.

    Where the outputs lie is looked up for inputs with elements.
    """
    try:
        found = geometry(sizes.with_elements().whole(), sizes.axes)
    except CaptureError as error:
        raise TileError(
            "The input has no elements, and the network does not run where it has some, so there "
            "is nothing to tile; run it on the whole input."
        ) from error
    steps = []
    for place, size in enumerate(sizes.image):
        lengths = [
            (0, whole.shape(output)[dims[place]])
            for output, dims in zip(whole.outputs, found.dims, strict=True)
        ]
        nowhere = (0,) * len(lengths)
        steps.append(
            TiledAxis(size, found.grid[place], [tuple(lengths)], [((0, size),)], {0: nowhere})
        )
    return _plan(whole, sizes, found, sizes.image, steps)


def _axis(whole: Graph, found: Geometry, place: int, tile: int, size: int) -> TiledAxis:
    lengths = [
        whole.shape(output)[dims[place]]
        for output, dims in zip(whole.outputs, found.dims, strict=True)
    ]
    stretches = owned(found, place, lengths, tile, size)
    grid = found.grid[place]

    def cut(number: int) -> Segments:
        return segments(needed(whole, found, place, stretches[number]), grid, size)

    steps = [int(tile * scales[place]) for scales in found.scales]
    return TiledAxis(size, grid, stretches, cuts_alike(cut, stretches, steps, tile, size))


def tiles_on_grid(
    tile: int | Sequence[int], found: Geometry, image: Sequence[int]
) -> tuple[int, ...]:
    """One tile per axis, on the grid.

    Raises TileError with the nearest good sizes, UsageError for what is no tile.
    """
    tiles = tile_sizes(tile, len(image))
    for one, axis, grid, by, size in zip(
        tiles, found.axes, found.grid, found.grid_by, image, strict=True
    ):
        if one % grid and one < size:
            raise _off_grid(one, axis, grid, by, size)
    return tuple(
        min(one, -(-size // grid) * grid)
        for one, grid, size in zip(tiles, found.grid, image, strict=True)
    )


def tile_sizes(tile: Any, count: int) -> tuple[int, ...]:
    """One tile for each of so many axes.  Raises UsageError for what is no size."""
    if tile is None:
        raise UsageError("Give the size of a tile; suggest_tile finds one for a memory budget.")
    try:
        tiles = (index(tile),) * count if not hasattr(tile, "__len__") else tuple(map(index, tile))
    except TypeError:
        raise UsageError(
            f"A tile is a number of samples, or one for each axis; got {tile!r}."
        ) from None
    if len(tiles) != count:
        axes = counted(count, "axis is", "axes are")
        given = counted(len(tiles), "tile size was", "tile sizes were")
        raise UsageError(f"{axes} tiled and {given} given.")
    if min(tiles, default=1) < 1:
        raise UsageError(f"A tile has at least one sample, got {min(tiles)}.")
    return tiles


def _off_grid(tile: int, axis: int, grid: int, by: str, size: int) -> TileError:
    below, above = tile // grid * grid, -(-tile // grid) * grid
    if not below and 2 * above >= size:
        return TileError(
            f"No tile of axis {axis} is much smaller than the image's {size}: '{by}' repeats "
            f"every {grid} samples only, at this size."
        )
    good = f"{below} or {above}" if below else f"{above}"
    return OffGridError(
        f"A tile of {tile} along axis {axis} is not a multiple of the stride {grid} of '{by}'; "
        f"use {good}."
    )


def _plan(
    whole: Graph, sizes: Sizes, found: Geometry, tiles: Sequence[int], steps: Sequence[TiledAxis]
) -> TilePlan:
    axes = tuple(
        AxisPlan(
            axis,
            step.size,
            tile,
            step.grid,
            halo,
            _border(step),
            _pieces(sizes, found, steps, place),
        )
        for place, (axis, tile, halo, step) in enumerate(
            zip(found.axes, tiles, found.halos, steps, strict=True)
        )
    )
    outputs = tuple(
        OutputPlan(name, whole.shape(value), whole.values[value].dtype, dims, scales)
        for name, value, dims, scales in zip(
            whole.output_names, whole.outputs, found.dims, found.scales, strict=True
        )
    )
    largest = tuple(max(piece.length for piece in axis.pieces) for axis in axes)
    read = 1.0
    for axis in axes:
        read *= sum(piece.length for piece in axis.pieces) / (axis.size or 1)
    shapes = tuple(whole.shape(name) for name in whole.inputs)
    crop, at_once = _crop_bytes(sizes, largest), sizes.peak_bytes(sizes.image)
    return TilePlan(
        shapes, axes, outputs, crop, at_once, read,
        structure=whole.structure, draws=whole.draws, writes=whole.writes,
    )  # fmt: skip


def _crop_bytes(sizes: Sizes, largest: tuple[int, ...]) -> int:
    """The memory of the longest crop; of the whole where no crop is as long along all axes."""
    try:
        return sizes.peak_bytes(largest)
    except CaptureError:
        return sizes.peak_bytes(sizes.image)


def _border(step: TiledAxis) -> str:
    return "wrapped" if any(len(cut) > 1 for cut in step.cuts) else "clipped"


def _pieces(
    sizes: Sizes, found: Geometry, steps: Sequence[TiledAxis], place: int
) -> tuple[AxisTile, ...]:
    step = steps[place]
    pieces = []
    for number, (cut, stretch) in enumerate(zip(step.cuts, step.owned, strict=True)):
        keeps = tuple(step.kept(number, step.found[number]))
        lengths = [axis.length(number if axis is step else 0) for axis in steps]
        crop = sizes.at(tuple(lengths))
        dims = (dims[place] for dims in found.dims)
        gives = (crop.shape(output)[dim] for output, dim in zip(crop.outputs, dims, strict=True))
        pieces.append(AxisTile(cut, keeps, stretch, tuple(gives)))
    return tuple(pieces)
