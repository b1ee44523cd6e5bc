"""What compressed chunks unpack to, bounded before memory is taken for it.

A kilobyte may unpack to gigabytes, whatever the array declares that it is a chunk of.  Streams are
unpacked as far as the limit goes; of other formats the header says how much will come.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

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


def packbits(data: bytes, limit: int) -> bytes:
    """What a TIFF file's PackBits give: stretches of bytes as they are, or of one repeated.

    Raises ValueError where it would be more than ``limit`` bytes.

    >>> list(packbits(bytes([1, 7, 8, 254, 9]), 5))
    [7, 8, 9, 9, 9]
    """
    packed, found, at = memoryview(data), bytearray(), 0
    while at < len(packed):
        count = packed[at]
        if count < 128:
            found += packed[at + 1 : at + 2 + count]
            at += 2 + count
        elif count > 128:
            found += bytes(packed[at + 1 : at + 2]) * (257 - count)
            at += 2
        else:
            at += 1
        if len(found) > limit:
            raise too_much(limit)
    return bytes(found)


# -------------------------------------------------------------------- what headers claim


def _number(packed: memoryview, at: int, width: int) -> int:
    if at + width > len(packed):
        raise ValueError("it ends within a header")
    return int.from_bytes(packed[at : at + width], "little")


def _zstd(packed: memoryview, limit: int) -> int:
    """What frames of Zstandard (RFC 8878) say, or the most that their blocks can hold."""
    at = total = unsaid = blocks = 0
    while at < len(packed) and total <= limit:
        magic = _number(packed, at, 4)
        if magic & ~15 == _SKIPPED:
            at += 8 + _number(packed, at + 4, 4)
            blocks = _counted(blocks)
            continue
        if magic != _FRAME:
            raise ValueError("it is no frame of Zstandard")
        content, window, checked, at = _frame_header(packed, at + 4)
        most, last = 0, False
        while not last:
            header = _number(packed, at, 3)
            last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            at += 3 + (1 if kind == _REPEATED else size)
            most += min(window, _BLOCK) if kind == _COMPRESSED else size
            blocks = _counted(blocks)
        at += 4 * checked
        total += content or 0
        unsaid += most if content is None else 0
    return total + (unsaid if unsaid > _HARMLESS else 0)


def _counted(blocks: int) -> int:
    """One block more.  Raises ValueError where there are too many to look at."""
    if blocks == _BLOCKS:
        raise ValueError(f"it consists of more than {_BLOCKS} blocks")
    return blocks + 1


def _frame_header(packed: memoryview, at: int) -> tuple[int | None, int, bool, int]:
    """Of a frame: its content, where it says so; window; whether a checksum ends it; its blocks."""
    flags = _number(packed, at, 1)
    single, at = bool(flags & 32), at + 1
    window = 0
    if not single:
        form = _number(packed, at, 1)
        window = (8 + (form & 7)) << (7 + (form >> 3))
        at += 1
    at += (0, 1, 2, 4)[flags & 3]
    width = (int(single), 2, 4, 8)[flags >> 6]
    content = _number(packed, at, width) + (256 if width == 2 else 0) if width else None
    return content, content or 0 if single else window, bool(flags & 4), at + width


_FRAME, _SKIPPED = 0xFD2FB528, 0x184D2A50
_REPEATED, _COMPRESSED, _BLOCK = 1, 2, 1 << 17
_CLAIMED: Mapping[str, Callable[[memoryview, int], int]] = {
    "zstd": _zstd,
    "blosc": lambda packed, _: _number(packed, 4, 4),
    "lz4": lambda packed, _: _number(packed, 0, 4),
}
UNPACKING = frozenset({*_OPENED, *_CLAIMED})
"""The codecs that are bounded here, by the names that zarr and ``numcodecs`` give them."""
_ROOM = 4096
_STREAMS = 64
_BLOCKS = 1 << 18
_HARMLESS = 1 << 24
"""What frames may hold together that do not say how much they hold."""
