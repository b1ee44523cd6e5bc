"""What compressed chunks unpack to, bounded before memory is taken for it.

A kilobyte may unpack to gigabytes, whatever the array declares that it is a chunk of.  Streams are
unpacked as far as the limit goes; of other formats the header says how much will come.  The
streams are Python's own: ``imagecodecs`` takes an LZMA stream that is cut short for a whole one,
and gives the beginning of one that is too long.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import imagecodecs

from fieldwise.tile.files.checks import MAX_CHUNK

if TYPE_CHECKING:
    Stream = zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor

Config = Mapping[str, Any]
"""A codec as ``numcodecs`` writes it: its 'id' and its settings."""


def unpacked_limit(nbytes: int) -> int:
    """How many bytes a chunk of ``nbytes`` may be on its way through the codecs.

    Filters store a byte as up to eight.
    """
    return min(8 * nbytes, MAX_CHUNK) + _ROOM


def unpacked(config: Config, data: Any, limit: int) -> bytes | None:
    """What a codec makes of data, at most ``limit`` bytes; None: the codec may unpack it itself.

    Raises ValueError where it would be more, or cannot be unpacked.

    >>> unpacked({"id": "zlib"}, zlib.compress(bytes(100)), 100) == bytes(100)
    True
    >>> unpacked({"id": "zlib"}, zlib.compress(bytes(100)), 99)
    Traceback (most recent call last):
    ValueError: it unpacks to more than 99 bytes
    """
    packed = memoryview(data).cast("B")
    name = config["id"]
    if name == "zstd":
        return _zstd(packed, limit)
    if name in _OPENED:
        return _streamed(lambda: _OPENED[name](config), packed, limit, single=name == "zlib")
    if name in _CLAIMED and _CLAIMED[name](packed, limit) > limit:
        raise too_much(limit)
    return None


def too_much(limit: int) -> ValueError:
    """The error for what would be more than the limit."""
    return ValueError(f"it unpacks to more than {limit} bytes")


# -------------------------------------------------------------------- streams


def _lzma(config: Config) -> lzma.LZMADecompressor:
    form, filters = config.get("format", lzma.FORMAT_XZ), config.get("filters")
    if form != lzma.FORMAT_RAW:
        return lzma.LZMADecompressor(form, memlimit=MAX_CHUNK)
    if any(one.get("dict_size", 0) > MAX_CHUNK for one in filters or ()):
        raise ValueError(f"its dictionary is larger than {MAX_CHUNK} bytes")
    return lzma.LZMADecompressor(form, filters=filters)


_OPENED: Mapping[str, Callable[[Config], Stream]] = {
    "zlib": lambda _: zlib.decompressobj(),
    "gzip": lambda _: zlib.decompressobj(wbits=31),
    "bz2": lambda _: bz2.BZ2Decompressor(),
    "lzma": _lzma,
}


def _streamed(
    opened: Callable[[], Stream], packed: memoryview, limit: int, *, single: bool
) -> bytes:
    """One stream after the other, as the codecs read them; what follows and is none is passed over.

    single: only the first
    """
    found, left = list[bytes](), limit
    rest: bytes | memoryview = packed
    for _ in range(_STREAMS):
        stream = opened()
        try:
            found.append(stream.decompress(rest, left + 1))
        except (zlib.error, lzma.LZMAError, OSError) as error:
            if found:
                break
            raise ValueError(str(error)) from error
        left -= len(found[-1])
        if left < 0:
            raise too_much(limit)
        if not stream.eof:
            raise ValueError("it ends within what is compressed")
        rest = stream.unused_data
        if not rest or single:
            break
    else:
        raise ValueError(f"it consists of more than {_STREAMS} streams")
    return b"".join(found)


# -------------------------------------------------------------------- what headers claim


def _number(packed: memoryview, at: int, width: int) -> int:
    if at + width > len(packed):
        raise ValueError("it ends within a header")
    return int.from_bytes(packed[at : at + width], "little")


def _zstd(packed: memoryview, limit: int) -> bytes:
    """What frames of Zstandard give, one after the other."""
    try:
        return bytes(imagecodecs.zstd_decode(packed, out=limit))  # type: ignore[arg-type]
    except imagecodecs.ZstdError as error:
        if "too small" in str(error):
            raise too_much(limit) from error
        raise ValueError(f"it is no whole frame of Zstandard ({error})") from error


_CLAIMED: Mapping[str, Callable[[memoryview, int], int]] = {
    "blosc": lambda packed, _: _number(packed, 4, 4),
    "lz4": lambda packed, _: _number(packed, 0, 4),
}
UNPACKING = frozenset({*_OPENED, *_CLAIMED, "zstd"})
"""The codecs that are bounded here, by the names that zarr and ``numcodecs`` give them."""
_ROOM = 4096
_STREAMS = 64
