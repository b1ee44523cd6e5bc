"""The folder of a zarr array, of which nothing is read that is too large to be part of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.storage import LocalStore

from fieldwise.tile.files.checks import MAX_CHUNK
from fieldwise.tile.files.unpacking import unpacked_limit

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


class Folder(LocalStore):
    """A folder.  Reading raises ValueError for a file that is too large."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """What is stored under a key, or None."""
        path = self.root / key
        nbytes = _asked(byte_range, path.stat().st_size) if path.is_file() else 0
        most = _ABOUT if path.name in _NAMES else unpacked_limit(MAX_CHUNK)
        if nbytes > most:
            raise ValueError(f"the file {path.name!r} is larger than {most} bytes")
        return await super().get(key, prototype, byte_range)


def _asked(part: ByteRequest | None, size: int) -> int:
    """How many bytes of a file of this size are asked for."""
    if isinstance(part, RangeByteRequest):
        return min(part.end, size) - part.start
    if isinstance(part, OffsetByteRequest):
        return size - part.offset
    return min(part.suffix, size) if isinstance(part, SuffixByteRequest) else size


_NAMES = frozenset({"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"})
_ABOUT = 1 << 22
"""Bytes of a file about an array or a group."""
