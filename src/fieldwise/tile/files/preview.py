"""A picture of any image file that can be read, small enough for a page: PNG, in 8 bits."""

from __future__ import annotations

import io
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.tile.files.calibration import axis_letter
from fieldwise.tile.files.formats import open_source
from fieldwise.tile.files.protocol import Source

_SIDE, _LARGEST = 2048, 1 << 30
_COLOURS, _FEW = (3, 4), (1, 2, 3, 4)
_BETWEEN = (1, 99.8)


def preview(path: Path) -> tuple[bytes, str]:
    """A PNG of an image file, at most 2048 pixels a side, and in words what was made of it.

    Of several times, planes or channels the first is shown, unless three or four are colours.  What
    is not 8 bits is stretched: its percentiles 1 and 99.8 are black and white.

    Raises UsageError for a file that cannot be read, that is no image, or that is too large.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise UsageError(
            f"Showing {str(path)!r} needs Pillow; install it with pip install 'fieldwise[files]'."
        ) from error
    pixels, said = _pixels(open_source(path)), list[str]()
    every = max(1, -(-max(pixels.shape[:2]) // _SIDE))
    if every > 1:
        pixels = pixels[::every, ::every]
        said.append(f"one pixel in {every} x {every}")
    if pixels.dtype != np.uint8:
        low, high = _ends(path, pixels)
        said.append(f"{low:g} to {high:g} as black to white, percentiles 1 and 99.8")
        scaled = (pixels.astype(np.float64) - low) / (high - low if high > low else 1)
        pixels = (np.nan_to_num(scaled).clip(0, 1) * 255).round().astype(np.uint8)
    to = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(to, format="PNG")
    return to.getvalue(), "; ".join(said)


def _pixels(source: Source) -> NDArray[np.generic]:
    """Rows and columns, or these and colours."""
    size = "x".join(map(str, source.shape))
    axes = _axes(source)
    if "Y" not in axes or "X" not in axes or 0 in source.shape:
        raise UsageError(f"{str(source.path)!r} is {size}, which is no image.")
    colours = axes.find("C")
    as_colours = colours >= 0 and source.shape[colours] in _COLOURS
    keep = "YXC" if as_colours else "YX"
    index = [slice(0, n if axes[d] in keep else 1) for d, n in enumerate(source.shape)]
    nbytes = prod(one.stop for one in index) * source.dtype.itemsize
    if nbytes > _LARGEST:
        raise UsageError(
            f"{str(source.path)!r} is {size}, too large for a page; show a smaller image."
        )
    found = source[tuple(index)]
    order = [axes.index(letter) for letter in keep]
    rest = [dim for dim in range(found.ndim) if dim not in order]
    sides = [found.shape[dim] for dim in order]
    return found.transpose([*order, *rest]).reshape(sides)


def _axes(source: Source) -> str:
    """What its axes are, by what it says, else by which is as short as channels are."""
    if source.axes is not None and len(source.axes) == len(source.shape):
        letters = [{"S": "C"}.get(one, axis_letter(one)) for one in source.axes.upper()]
        return "".join(letters)
    shape = source.shape
    if len(shape) == len("CYX") and shape[-1] in _FEW:
        return "YXC"
    return {2: "YX", 3: "CYX"}.get(len(shape), "")


def _ends(path: Path, pixels: NDArray[np.generic]) -> tuple[float, float]:
    finite = pixels[np.isfinite(pixels)].astype(np.float64)
    if not finite.size:
        raise UsageError(f"{str(path)!r} holds no number that could be shown.")
    low, high = np.percentile(finite, _BETWEEN)
    return float(low), float(high)
