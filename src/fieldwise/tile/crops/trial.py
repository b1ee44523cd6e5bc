"""Whether a model can be tiled at all, asked before an image is there.

One crop from the middle of an image that is just large enough is held against it.  Where that
proves nothing, an image of a few tiles is planned as if it were to be run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fieldwise.errors import CaptureError
from fieldwise.graph.ir import Shape
from fieldwise.tile.crops.compare import compare
from fieldwise.tile.crops.grid import Geometry, geometry
from fieldwise.tile.crops.planner import tiles_on_grid
from fieldwise.tile.crops.sizes import Sizes
from fieldwise.tile.errors import TileError


def has_inner_crop(sizes: Sizes, tiles: Sequence[int]) -> bool:
    """Whether a crop that touches no border is proven to hold a part of every output.

    False where it is not known: what is in the way may be so at these sizes only.
    """
    try:
        image = sizes.at(sizes.image)
        if image.drawn:
            return False
        found = geometry(image, sizes.axes)
        tiles_on_grid(tiles, found, _several(sizes.image, tiles))
        crop = tuple(_crop(sizes, found))
        whole = tuple(3 * size for size in crop)
        cuts = {axis: ((n, 2 * n),) for axis, n in zip(sizes.axes, crop, strict=True)}
        outputs = compare(sizes.at(crop), sizes.at(whole), cuts).outputs
    except (CaptureError, TileError):
        return False
    return not any(digit.empty for state in outputs for dim in state for digit in dim)


def several_tiles(sizes: Sizes, tiles: Sequence[int]) -> list[Shape]:
    """The shapes of inputs that hold some tiles, in multiples of the example's sizes."""
    return sizes.shapes(_several(sizes.image, tiles))


def _several(image: Sequence[int], tiles: Sequence[int]) -> tuple[int, ...]:
    return tuple(
        size * -(-_TILES * max(tile, size) // size) for size, tile in zip(image, tiles, strict=True)
    )


def _crop(sizes: Sizes, found: Geometry) -> Iterator[int]:
    """Per axis, two steps of the grid and what they see, but no less than the example."""
    for size, grid, halo in zip(sizes.image, found.grid, found.halos, strict=True):
        seen = sum(-(-side // grid) for side in halo)
        yield grid * max(2 + seen, -(-size // grid))


_TILES = 4
"""Along each axis, so that there are tiles of every sort."""
