"""Numbers without a header, as memory maps are: the name says what they are."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import numpy as np

from fieldwise.errors import UsageError
from fieldwise.tile.files.checks import check_kind
from fieldwise.tile.files.detect import split_name
from fieldwise.tile.files.in_place import PlacedSource
from fieldwise.tile.files.raw import RawArray

_FORM = re.compile(r"([<>]?[a-z]\w*):(\d+(?:x\d+)*)(?::(\d+))?")


def open_source(path: Path) -> PlacedSource:
    """Numbers in row-major order, named ``FILE:TYPE:SHAPE`` or ``FILE:TYPE:SHAPE:OFFSET``.

    Types are numpy's, as uint16 or >u2; an offset is in bytes.

    Raises UsageError for names of another form, and where the file has another size.
    """
    file, inner = split_name(path)
    match = _FORM.fullmatch(inner)
    try:
        dtype = np.dtype(match[1]) if match else None
    except TypeError:
        dtype = None
    if match is None or dtype is None:
        raise UsageError(
            f"{str(path)!r} does not say what its numbers are; write for example "
            f"{file.name}:uint16:1024x1024, with a third number where they begin behind a header."
        )
    check_kind(path, dtype)
    shape, offset = tuple(map(int, match[2].split("x"))), int(match[3] or 0)
    found, wanted = file.stat().st_size, offset + prod(shape) * dtype.itemsize
    if found != wanted and (match[3] is None or found < wanted):
        raise UsageError(
            f"{str(file)!r} has {found} bytes, and {match[2]} of {match[1]} are {wanted}; say "
            f"another shape, or where they begin: {file.name}:{match[1]}:{match[2]}:512."
        )
    return PlacedSource(path, RawArray(shape, dtype, offset))
