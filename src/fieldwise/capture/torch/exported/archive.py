"""The members of a .pt2 archive: only those that are asked for, and none larger than it says.

What a member unpacks to stands in the archive's directory and is held against a limit before
anything is read.  A directory may lie: no more is unpacked than it says, and less is an error.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from fieldwise.capture.torch.exported.refusal import UnreadableError, malformed, too_large
from fieldwise.errors import said_by

_DIRECTORY = 4 << 20  # bytes: some 35,000 members
_CHUNK = 1 << 20
_WRITE = "write one with torch.export.save(torch.export.export(model, inputs), path)."
_ENCRYPTED = 0x1
_ORDER = "byteorder"
_BROKEN = (BadZipFile, OSError, EOFError, ValueError, struct.error, zlib.error, RuntimeError)


class Archive:
    """An open .pt2 archive; ``limit`` is how many bytes may be unpacked beyond its own size.

    Raises UnreadableError for what is no archive, or no exported program of this format.
    """

    def __init__(self, file: Path | BinaryIO, limit: int) -> None:
        try:
            opened = file.open("rb") if isinstance(file, Path) else file
            self._file = _Guarded(opened)
            self._size = opened.seek(0, io.SEEK_END)
            self._zip = ZipFile(self._file)
        except _BROKEN as error:
            raise UnreadableError(f"is not an exported program ({error}); {_WRITE}") from error
        self._file.opened()
        self._left = self._size + limit
        self._members: dict[str, list[ZipInfo]] = {}
        for info in self._zip.infolist():
            self._members.setdefault(info.filename.partition("/")[2], []).append(info)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def check(self, name: str) -> None:
        """Raise UnreadableError where a member is missing, doubled or packed unusually."""
        self._member(name)

    def check_byteorder(self) -> None:
        """Raise UnreadableError where numbers are not written as they are on this machine."""
        if _ORDER in self._members and self.read(_ORDER, 16).strip() != sys.byteorder.encode():
            raise UnreadableError(
                "was written on a machine with another byte order; export it again on this one."
            )

    def read(self, name: str, limit: int | None = None) -> bytearray:
        """The content of a member, by its name without the leading folder.

        limit: of its size; None where the total alone is limited

        Raises UnreadableError for a member that is missing, doubled, locked or damaged, and for one
        that unpacks to more than is allowed.
        """
        info = self._member(name)
        if limit is not None and info.file_size > limit:
            raise too_large(
                f"{name} takes {info.file_size:,} bytes, and {limit:,} are allowed",
                "export a smaller model, or name a package.module:factory.",
            )
        self.charge(info.file_size)
        try:
            return self._unpacked(info)
        except _BROKEN as error:
            raise malformed(f"{name}: {said_by(error)}") from error

    def charge(self, nbytes: int) -> None:
        """Count what the file unpacks to.  Raises UnreadableError where that is too much."""
        self._left -= nbytes
        if self._left < 0:
            raise too_large(
                f"it unpacks to far more than its own {self._size:,} bytes",
                "raise --max-constant if you trust it.",
            )

    def _member(self, name: str) -> ZipInfo:
        found = self._members.get(name, [])
        if not found:
            raise UnreadableError(
                f"is not an exported program of this format ({name} is missing); {_WRITE}"
            )
        if len(found) > 1:
            raise malformed(f"{name} is there {len(found)} times")
        (info,) = found
        if info.flag_bits & _ENCRYPTED or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise malformed(f"{name} is packed in a way that torch does not write")
        if info.compress_type == ZIP_STORED and info.compress_size != info.file_size:
            raise malformed(f"{name} has two sizes")
        if info.compress_size > self._size:
            raise malformed(f"{name} is larger than the file")
        return info

    def _unpacked(self, info: ZipInfo) -> bytearray:
        """At most as many bytes as the directory says, and one try for one more."""
        content = bytearray(info.file_size)
        view, filled = memoryview(content), 0
        with self._zip.open(info) as member:
            while filled < len(content):
                part = member.read(min(len(content) - filled, _CHUNK))
                if not part:
                    raise EOFError("it is shorter than the directory says")
                view[filled : filled + len(part)] = part
                filled += len(part)
            member.read(1)  # checks the sum of what was read
        return content


class _Guarded(io.BufferedIOBase):
    """A file of which, while the directory is read, no more is read at once than it may take."""

    def __init__(self, file: BinaryIO) -> None:
        self._inner = file
        self._most: int | None = _DIRECTORY

    def opened(self) -> None:
        """The directory has been read."""
        self._most = None

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = -1 if size is None else size
        if self._most is None:
            return self._inner.read(wanted)
        content = self._inner.read(self._most + 1 if wanted < 0 else min(wanted, self._most + 1))
        if len(content) > self._most:
            raise BadZipFile("its directory is too long")
        return content

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._inner.close()
        super().close()
