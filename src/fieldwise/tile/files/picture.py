"""Pictures, PNG, JPEG, WebP and BMP: read as a whole, by pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldwise.errors import UsageError
from fieldwise.tile.files.whole import WholeSource

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_TYPES = {"1": "bool", "I;16": "uint16", "I": "int32", "F": "float32"}
_CHANNELS = {"LA": 2, "RGB": 3, "YCbCr": 3, "RGBA": 4, "CMYK": 4}
_ORIENTATION = 0x0112


def open_source(path: Path) -> WholeSource:
    """A picture as rows, columns and channels; colours in place of the numbers of a palette."""
    with _opened(path) as picture:
        mode, notes = picture.mode, list[str]()
        if mode in ("P", "PA"):
            mode = "RGBA" if "transparency" in picture.info or mode == "PA" else "RGB"
            notes.append("has a palette, and its colours are read")
        if picture.getexif().get(_ORIENTATION, 1) != 1:
            notes.append("says that it is to be turned or mirrored, and is read as it is stored")
        if getattr(picture, "n_frames", 1) > 1:
            notes.append(f"holds {picture.n_frames} pictures, of which the first is read")  # type: ignore[attr-defined]
        if mode not in _TYPES and mode not in _CHANNELS and mode != "L":
            raise UsageError(f"{str(path)!r} is of pillow's mode {mode}; convert it to RGB first.")
        shape = (picture.height, picture.width, *([_CHANNELS[mode]] if mode in _CHANNELS else []))

    def decode() -> NDArray[np.generic]:
        with _opened(path) as again:
            return np.asarray(again if again.mode == mode else again.convert(mode))

    dtype = np.dtype(_TYPES.get(mode, "uint8"))
    axes = "YXC" if len(shape) > len("YX") else "YX"
    note = f"{str(path)!r} {' and '.join(notes)}" if notes else None
    return WholeSource(path, shape, dtype, axes, decode, note)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=_FORMATS) as picture:
            yield picture
