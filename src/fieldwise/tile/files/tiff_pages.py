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

from fieldwise.tile.files import pictures
from fieldwise.tile.files.unpacking import packbits, too_much, unpacked, unpacked_limit


def bound_tiles(page: Any) -> None:
    """Make a page unpack its tiles, or strips, only as far as they are of their size.

    What is more raises ValueError when it is read.
    """
    limit = unpacked_limit(prod(page.chunks) * page.dtype.itemsize)
    if page.compression in _STATED:
        _bound_pictures(page, limit)
        return
    unpack = _UNPACK.get(page.compression)
    if unpack is None or tifffile.TIFF.DECOMPRESSORS[page.compression].__module__ != _OWN:
        return
    plain = copy.copy(page)
    plain.compression, plain.fillorder = tifffile.COMPRESSION.NONE, 1
    vars(plain).pop("decode", None)

    def decode(data: bytes | None, *place: object, **options: object) -> object:
        if data is not None:
            packed = data if page.fillorder == 1 else data.translate(_MIRRORED)
            data = unpack(packed, limit)
        return plain.decode(data, *place, **options)

    page.decode = decode


def _bound_pictures(page: Any, limit: int) -> None:
    """Refuse tiles that are pictures of their own and state that they are larger."""
    stated, unpack = _STATED[page.compression], page.decode

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
