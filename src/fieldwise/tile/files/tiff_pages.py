"""Pages of a TIFF file whose tiles unpack to no more than their size.

Of most compressions ``imagecodecs`` is given the size of a tile and unpacks no further; a tile that
is a picture of its own is given as much memory as its header asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import tifffile

from fieldwise.tile.files import pictures
from fieldwise.tile.files.unpacking import too_much, unpacked_limit


def bound_tiles(page: Any) -> None:
    """Make a page refuse tiles, or strips, that are pictures and state that they are larger.

    Such a one raises ValueError when it is read.
    """
    stated, unpack = _STATED.get(page.compression), page.decode
    if stated is None:
        return
    limit = unpacked_limit(prod(page.chunks) * page.dtype.itemsize)

    def decode(data: bytes | None, *place: object, **options: object) -> object:
        if data is not None and prod(stated(data)) * page.dtype.itemsize > limit:
            raise too_much(limit)
        return unpack(data, *place, **options)

    page.decode = decode


_STATED: Mapping[int, Callable[[bytes], pictures.Stated]] = {
    tifffile.COMPRESSION.OJPEG: pictures.jpeg,
    tifffile.COMPRESSION.JPEG: pictures.jpeg,
    tifffile.COMPRESSION.ALT_JPEG: pictures.jpeg,
    tifffile.COMPRESSION.JPEG_LOSSY: pictures.jpeg,
    tifffile.COMPRESSION.PNG: pictures.png,
    tifffile.COMPRESSION.WEBP: pictures.webp,
    tifffile.COMPRESSION.JPEGXL: pictures.jpeg_xl,
    tifffile.COMPRESSION.JPEGXL_DNG: pictures.jpeg_xl,
    tifffile.COMPRESSION.JPEG2000: pictures.jpeg_2000,
    tifffile.COMPRESSION.JPEG_2000_LOSSY: pictures.jpeg_2000,
    tifffile.COMPRESSION.APERIO_JP2000_RGB: pictures.jpeg_2000,
    tifffile.COMPRESSION.APERIO_JP2000_YCBC: pictures.jpeg_2000,
}
