"""PNG files: read as pictures are, written as a whole once all of a result is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fieldwise.errors import UsageError
from fieldwise.tile.files.disk import replacing
from fieldwise.tile.files.grain import Steps
from fieldwise.tile.files.in_place import any_grain
from fieldwise.tile.files.picture import open_source as open_source
from fieldwise.tile.files.protocol import PlannedFile
from fieldwise.tile.files.whole import (
    MAX_WHOLE,
    FinishedSink,
    channel_count,
    channels_back,
    channels_last,
)

_TYPES, _CHANNELS = ("uint8", "uint16"), (1, 3, 4)


def grain_of(shape: tuple[int, ...], axes: str, steps: Steps) -> tuple[int, ...]:  # noqa: ARG001
    """Any block can be written to the file in which it waits.

    Raises UsageError for what is no picture of one, three or four channels.
    """
    letters = axes.translate(str.maketrans("HWLS", "YXXC")).replace("C", "")
    if letters != "YX" or channel_count(shape, axes) not in _CHANNELS:
        size = "x".join(map(str, shape))
        raise UsageError(
            f"A PNG file holds a picture of 1, 3 or 4 channels, not {size} ({axes}); write .tif or "
            "zarr, or --out argmax for the class of every pixel."
        )
    if np.prod(shape) > MAX_WHOLE:
        raise UsageError("A PNG file is written as a whole, and this is too large; write .tif.")
    return any_grain(shape)


def finish(file: PlannedFile, waiting: Path) -> None:
    """Write what has been collected, which takes its memory.  Raises OSError."""
    values = channels_last(np.load(waiting, allow_pickle=False), file.axes)
    if "C" in file.axes and values.shape[-1] == 1:
        values = values[..., 0]
    with replacing(file.path) as handle:
        Image.fromarray(np.ascontiguousarray(values)).save(handle, format="PNG")


def check_type(dtype: np.dtype[np.generic], shape: tuple[int, ...], axes: str) -> None:
    """Raise UsageError for samples that a PNG file does not hold."""
    types = _TYPES if channel_count(shape, axes) == 1 else _TYPES[:1]
    if dtype.name not in types:
        raise UsageError(
            f"A PNG file holds {' or '.join(types)} here, not {dtype}; give --out-dtype uint8, or "
            "write .tif."
        )


def reopen(file: PlannedFile) -> FinishedSink:
    """A file that was finished, to be read back."""
    found = open_source(file.path).values
    if found.ndim < len(file.shape):
        found = found[..., None]
    found = channels_back(found, file.axes)
    if (found.shape, found.dtype) != (file.shape, file.dtype):
        raise file.not_begun("its shape or type differs")
    return FinishedSink(file.path, found)
