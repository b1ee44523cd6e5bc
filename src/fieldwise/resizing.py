"""Pictures as Pillow opens them, resized: numbers from 0 to 1, of 8 bits and of 16 alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MODES = {1: "L", 3: "RGB"}
"""Pillow's names, by the number of channels."""


def has_range(picture: Any) -> bool:
    """Whether black and white of a picture of Pillow are known; of other than 8 and 16 bits not."""
    return picture.mode not in ("I", "F")


def resized(picture: Any, size: tuple[int, int], channels: int) -> NDArray[np.float32]:
    """A picture of Pillow that ``has_range``, resized (bicubic), as (height, width, channels).

    size: height and width; channels: 1 for grey, or 3
    """
    from PIL import Image

    height, width = size
    if picture.mode.startswith("I;16"):  # Pillow would cut what lies above 255
        floats = Image.fromarray(np.asarray(picture, dtype=np.float32) * np.float32(1 / 65535))
        values = np.asarray(floats.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)
    else:
        sized = picture.convert(_MODES[channels]).resize((width, height), Image.Resampling.BICUBIC)
        values = np.asarray(sized, dtype=np.float32) / 255
    return np.broadcast_to(values.reshape(height, width, -1), (height, width, channels))
