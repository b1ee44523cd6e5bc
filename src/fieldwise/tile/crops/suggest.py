"""``suggest_tile``: the largest tile whose crops fit a memory budget."""

from __future__ import annotations

from fieldwise.capture.models import as_module
from fieldwise.errors import CaptureError
from fieldwise.graph.spatial import Axes
from fieldwise.tile.amounts import check_bytes, size_text
from fieldwise.tile.crops.grid import Geometry, geometry
from fieldwise.tile.crops.sizes import Sizes
from fieldwise.tile.errors import BudgetError


def suggest_tile(
    model: object, size: object = None, *, memory: int, axes: Axes | None = None
) -> tuple[int, ...]:
    """The largest tile, alike along all axes, whose crops hold at most ``memory`` bytes at once.

    The fewer and larger the crops, the less is computed twice.  Counted is what ``TilePlan``'s
    ``crop_bytes`` counts, so no weights.

    Raises BudgetError where the least tile needs more, and TileError for what ``plan_tiles``
    refuses.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2)).eval()
    >>> suggest_tile(net, (1, 3, 4096, 4096), memory=64 << 20)
    (988, 988)
    """
    check_bytes(memory)
    sizes = Sizes.of(*as_module(model, size, values=False), axes)
    found = geometry(sizes.whole(), sizes.axes)

    def fits(steps: int) -> bool:
        try:
            return sizes.peak_bytes(_crop(sizes, found, steps)) <= memory
        except CaptureError:
            return False

    most = max(-(-n // grid) for n, grid in zip(sizes.image, found.grid, strict=True))
    if fits(most):
        return _tile(sizes, found, most)
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if not low:
        raise BudgetError(_too_little(sizes, found, memory), _tile(sizes, found, 1))
    return _tile(sizes, found, low)


def _tile(sizes: Sizes, found: Geometry, steps: int) -> tuple[int, ...]:
    """Tiles of so many steps of the grid, but no more than the image has."""
    return tuple(
        grid * min(steps, -(-n // grid)) for n, grid in zip(sizes.image, found.grid, strict=True)
    )


def _crop(sizes: Sizes, found: Geometry, steps: int) -> tuple[int, ...]:
    """The sizes of an inner crop: the tile and its halo, from grid point to grid point."""
    crop = []
    places = zip(_tile(sizes, found, steps), found.halos, found.grid, sizes.image, strict=True)
    for tile, halo, grid, size in places:
        length = tile + sum(-(-side // grid) * grid for side in halo)
        crop.append(min(size, length + (size - length) % grid))
    return tuple(crop)


def _too_little(sizes: Sizes, found: Geometry, memory: int) -> str:
    crop = _crop(sizes, found, 1)
    told = " x ".join(map(str, crop))
    try:
        least = size_text(sizes.peak_bytes(crop))
    except CaptureError:
        return f"The network does not run on a crop of {told}, the least there is."
    return (
        f"A budget of {size_text(memory)} is too small: the least crop, of {told}, needs {least}. "
        f"Give more, or stream the network."
    )
