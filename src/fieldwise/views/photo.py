"""A photo below a drawing: read, resized to the input, darkened where nothing is seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldwise.errors import UsageError, said_by
from fieldwise.resizing import has_range, resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Photo = NDArray[np.float64]
else:
    Photo = object

_TINT, _SHADE = 0.35, 0.4
"""How much of the drawing's colour lies over what is seen, and of the photo is left elsewhere."""


def photo_of(image: object, shape: Sequence[int]) -> Photo:
    """Colours from 0 to 1, as (height, width, 3), at the size of the input.

    image: a file, or an array (height, width) or (height, width, 3) of numbers from 0 to 1 or
           of bytes

    Raises UsageError for what is no picture, and where the input is none.
    """
    if len(shape) != 2:
        raise UsageError(f"An image lies below a field over two axes, not over {len(shape)}.")
    try:
        from PIL import Image
    except ImportError as error:
        raise UsageError(
            "Showing an image needs Pillow; install it with pip install pillow."
        ) from error
    try:
        if isinstance(image, (str, Path)):
            with Image.open(image) as opened:
                if not has_range(opened):
                    raise ValueError("its numbers have no range that is known")
                found = resized(opened, (shape[0], shape[1]), 3)
        else:
            found = resized(Image.fromarray(_bytes(image)), (shape[0], shape[1]), 3)
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        raise UsageError(
            f"This is no image ({said_by(error)}); give a file, or an array (height, width, 3)."
        ) from error
    return np.asarray(found, dtype=np.float64)


def laid_over(picture: Any, seen: Any, image: Photo, window: Sequence[int]) -> Any:
    """The drawing with the photo where the input is: tinted where seen, darkened elsewhere."""
    top, bottom, left, right = window
    height, width = image.shape[:2]
    rows = slice(max(0, -top), max(0, min(bottom, height) - top))
    columns = slice(max(0, -left), max(0, min(right, width) - left))
    cut = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    here, tinted = seen[rows, columns, None], picture[rows, columns]
    picture = picture.copy()
    picture[rows, columns] = np.where(
        here, _TINT * tinted + (1 - _TINT) * cut, _SHADE * cut + (1 - _SHADE) * 0.9
    )
    return picture


def _bytes(image: object) -> Any:
    values = np.asarray(image)
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind != "f":
        raise TypeError(f"an array of {values.dtype}")
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)
