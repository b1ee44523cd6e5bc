"""Compressed TIFF files that are written tile by tile.

A new file holds empty tiles, so it is whole from the beginning.  A tile that is written goes to the
end of the file, and its place into the table of the page once it is there: a crash leaves a file
that reads as it did before, and a few bytes that nothing names.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from fieldwise.errors import said_by
from fieldwise.tile.files.disk import OwnFile
from fieldwise.tile.files.protocol import DamagedError
from fieldwise.tile.files.raw import write_at

CODECS: dict[str, tuple[int, Callable[..., Any], Callable[..., Any]]] = {
    "deflate": (
        int(tifffile.COMPRESSION.ADOBE_DEFLATE), imagecodecs.zlib_encode, imagecodecs.zlib_decode,
    ),
    "lzw": (int(tifffile.COMPRESSION.LZW), imagecodecs.lzw_encode, imagecodecs.lzw_decode),
    "zstd": (int(tifffile.COMPRESSION.ZSTD), imagecodecs.zstd_encode, imagecodecs.zstd_decode),
}  # fmt: skip
"""Per compression, its number in TIFF and what packs and unpacks a tile."""

_OFFSETS, _COUNTS = 324, 325
_CLASSIC_END = (1 << 32) - 1


def empty_tiles(compression: str, nbytes: int, count: int) -> Iterator[bytes]:
    """So many tiles of zeros of this size, packed."""
    packed = bytes(CODECS[compression][1](bytes(nbytes)))
    return iter([packed] * count)


@dataclass(frozen=True, slots=True)
class TileTable:
    """Where a file says where its tiles lie: for each, the place of its offset and of its length.

    width: bytes of a number there
    """

    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    width: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PackedTiffSink:
    """A TIFF file of compressed tiles to write to (see protocol.Sink).

    frame_of: a digest of what the pages say but for their tables
    """

    file: OwnFile
    dtype: np.dtype[np.generic]
    grain: tuple[int, ...]
    table: TileTable
    compression: str
    frame_of: str

    @property
    def path(self) -> Path:
        """See protocol.Sink."""
        return self.file.path

    def write(self, start: Sequence[int], block: NDArray[np.generic]) -> None:
        """See protocol.Sink."""
        encode = CODECS[self.compression][1]
        for tile, place in self._tiles(start, block.shape):
            part = block[place]
            whole = np.zeros(self.grain, self.dtype)
            whole[tuple(slice(n) for n in part.shape)] = part
            self._put(tile, bytes(encode(whole.tobytes())))

    def _put(self, tile: tuple[int, ...], packed: bytes) -> None:
        """Raises OSError where the file is full."""
        handle, table = self.file.handle, self.table
        end = os.fstat(handle).st_size
        if table.width[0] == 4 and end + len(packed) > _CLASSIC_END:
            raise OSError("it would be larger than 4 GiB, which its offsets do not reach")
        write_at(handle, packed, end)
        pairs = zip((table.offsets, table.counts), table.width, (end, len(packed)), strict=True)
        for places, width, number in pairs:
            write_at(handle, struct.pack("<I" if width == 4 else "<Q", number), int(places[tile]))

    def flush(self) -> None:
        """See protocol.Sink."""
        self.file.sync()

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.generic]:
        """See protocol.Sink."""
        block = np.empty([hi - lo for lo, hi in zip(start, stop, strict=True)], self.dtype)
        for tile, place in self._tiles(start, block.shape):
            part = block[place]
            part[...] = self._tile(tile)[tuple(slice(n) for n in part.shape)]
        return block

    def _tile(self, tile: tuple[int, ...]) -> NDArray[np.generic]:
        handle, decode = self.file.handle, CODECS[self.compression][2]
        nbytes = prod(self.grain) * self.dtype.itemsize
        pairs = zip((self.table.offsets, self.table.counts), self.table.width, strict=True)
        offset, count = (
            int.from_bytes(os.pread(handle, width, int(places[tile])), "little")
            for places, width in pairs
        )
        data = os.pread(handle, min(count, 2 * nbytes + 1024), offset)
        try:
            found = bytes(decode(data, out=nbytes))
            return np.frombuffer(found, self.dtype).reshape(self.grain)
        except (RuntimeError, ValueError) as error:
            raise DamagedError(f"the tile at byte {offset}: {said_by(error)}") from error

    def frame(self) -> str:
        """See protocol.Sink."""
        return self.frame_of

    def _tiles(
        self, start: Sequence[int], shape: Sequence[int]
    ) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """The tiles of a block: which of the file, and where in the block."""
        counts = [range(-(-n // g)) for n, g in zip(shape, self.grain, strict=True)]
        for place in product(*counts):
            at = [n * g for n, g in zip(place, self.grain, strict=True)]
            tile = tuple((s + n) // g for s, n, g in zip(start, at, self.grain, strict=True))
            yield tile, tuple(slice(n, n + g) for n, g in zip(at, self.grain, strict=True))


def table_of(pages: Sequence[Any], counts: Sequence[int]) -> TileTable | None:
    """The tables of all pages of a file, one after the other; None where there are other tiles."""
    found: dict[int, list[int]] = {_OFFSETS: [], _COUNTS: []}
    widths = {}
    for page in pages:
        for code, places in found.items():
            tag = page.tags[code]
            widths[code] = 4 if tag.dtype == tifffile.DATATYPE.LONG else 8
            places.extend(tag.valueoffset + n * widths[code] for n in range(tag.count))
    if len(found[_OFFSETS]) != prod(counts):
        return None
    offsets, lengths = (np.array(found[code], np.int64).reshape(counts) for code in found)
    return TileTable(offsets, lengths, (widths[_OFFSETS], widths[_COUNTS]))


def widen_counts(handle: BinaryIO) -> None:
    """Give the lengths of tiles 4 bytes each in a file that has 2: packed, a tile may be longer."""
    handle.seek(0)
    with tifffile.TiffFile(handle, mode="r+") as tiff:
        pages: Any = tiff.pages
        for page in pages:
            tag = page.tags[_COUNTS]
            if tag.dtype == tifffile.DATATYPE.SHORT:
                found = tag.value if isinstance(tag.value, tuple) else (tag.value,)
                tag.overwrite(found, dtype=int(tifffile.DATATYPE.LONG))


def frame_of(pages: Sequence[Any]) -> str:
    """A digest of what pages say but for where their tiles lie."""
    digest = hashlib.sha256()
    for page in pages:
        for tag in page.tags:
            if tag.code not in (_OFFSETS, _COUNTS):
                digest.update(f"{tag.code} {tag.dtype} {tag.count} {tag.value!r}\n".encode())
    return digest.hexdigest()
