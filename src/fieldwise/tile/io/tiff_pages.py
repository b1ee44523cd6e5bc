"""Pages of a TIFF file whose tiles unpack to no more than their size.

With ``imagecodecs`` installed, tifffile says itself how large a tile may become; the decoders that
it has of its own do not ask.
"""

from __future__ import annotations

import copy
import lzma
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import tifffile

from fieldwise.tile.io.unpacking import packbits, unpacked, unpacked_limit


def bound_tiles(page: Any) -> None:
    """Make a page unpack its tiles, or strips, only as far as they are of their size.

    What is more raises ValueError when it is read.
    """
    unpack = _UNPACK.get(page.compression)
    if unpack is None or tifffile.TIFF.DECOMPRESSORS[page.compression].__module__ != _OWN:
        return
    plain = copy.copy(page)
    plain.compression, plain.fillorder = tifffile.COMPRESSION.NONE, 1
    vars(plain).pop("decode", None)
    limit = unpacked_limit(prod(page.chunks) * page.dtype.itemsize)

    def decode(data: bytes | None, *place: Any, **options: Any) -> Any:
        if data is not None:
            packed = data if page.fillorder == 1 else data.translate(_MIRRORED)
            data = unpack(packed, limit)
        return plain.decode(data, *place, **options)

    page.decode = decode


_OWN = "tifffile._imagecodecs"
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_DEFLATED = {"id": "zlib"}
_XZ = {"id": "lzma", "format": lzma.FORMAT_AUTO}
_UNPACK: Mapping[int, Callable[[bytes, int], bytes | None]] = {
    tifffile.COMPRESSION.ADOBE_DEFLATE: lambda data, limit: unpacked(_DEFLATED, data, limit),
    tifffile.COMPRESSION.DEFLATE: lambda data, limit: unpacked(_DEFLATED, data, limit),
    tifffile.COMPRESSION.LZMA: lambda data, limit: unpacked(_XZ, data, limit),
    tifffile.COMPRESSION.PACKBITS: packbits,
}
