"""Columns that strips keep for the next one, in files that are written and read row by row.

A strip reads the files of the one before and appends to its own; those of two strips are there at
a time.  What a finished strip has kept is believed as far as it is as long as it was, with the same
checksums; what an unfinished one has, up to where its saved state stands.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import BinaryIO

import torch
from torch import Tensor

from fieldwise.tile.bands.program import Streamed
from fieldwise.tile.files.disk import replacing, writing

Ends = tuple[tuple[int, int], ...]
"""Per file of a strip: how many rows it has, and the checksum of these."""


@dataclass(frozen=True, slots=True)
class ColumnFile:
    """Columns of one value as something to read rows from (see ``Readable``)."""

    path: Path
    kind: Streamed

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows."""
        return self.kind.shape

    def __getitem__(self, index: tuple[slice, ...]) -> Tensor:
        lo, hi, _ = index[self.kind.dim].indices(self.shape[self.kind.dim])
        nbytes = self.kind.row_bytes
        rows = bytearray((hi - lo) * nbytes)
        with self.path.open("rb") as file:
            file.seek(lo * nbytes)
            file.readinto(rows)
        shape, dim = self.shape, self.kind.dim
        if not rows:
            return torch.empty(self.kind.band(hi - lo), dtype=self.kind.dtype)
        flat = torch.frombuffer(rows, dtype=self.kind.dtype)
        return flat.view(hi - lo, *shape[:dim], *shape[dim + 1 :]).movedim(0, dim)


class KeptColumns:
    """The files of a folder: per strip one for every value of which it keeps columns.

    run: which run of a job they belong to; what another one has left is not taken
    """

    def __init__(self, folder: Path, run: str = "") -> None:
        self.folder, self.run = folder, run
        self._files: list[tuple[BinaryIO, Streamed]] = []
        self._ends: list[tuple[int, int]] = []

    def has(self, strip: int, kinds: Sequence[Streamed]) -> bool:
        """Whether all that a strip has kept is there as it was."""
        try:
            noted = json.loads(self._note(strip).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        if not isinstance(noted, dict) or noted.get("run") != self.run:
            return False
        ends = tuple((kind.rows or 0, value) for kind, value in zip(kinds, noted["sums"]))  # noqa: B905
        return len(ends) == len(kinds) and self._are(strip, kinds, ends)

    def arrays(self, strip: int, kinds: Sequence[Streamed]) -> list[ColumnFile]:
        """What a strip has kept, to be read."""
        return [ColumnFile(self._path(strip, n), kind) for n, kind in enumerate(kinds)]

    def begin(self, strip: int, kinds: Sequence[Streamed], ends: Ends | None = None) -> bool:
        """Make files for a strip, or go on with those that are there up to ``ends``.

        Those of strips that are not read any more are removed.  Returns False, and makes nothing,
        where the rows that should be there are not.
        """
        self.close()
        if ends is not None and not self._are(strip, kinds, ends):
            return False
        self._remove({strip - 1, strip})
        self._ends = list(ends or [(0, 0)] * len(kinds))
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for number, (kind, (rows, _)) in enumerate(zip(kinds, self._ends, strict=True)):
                file = self._path(strip, number).open("wb" if ends is None else "r+b")
                file.truncate(rows * kind.row_bytes)
                file.seek(rows * kind.row_bytes)
                self._files.append((file, kind))
        return True

    def append(self, number: int, lo: int, rows: Tensor) -> None:
        """The next rows of a value, from row ``lo`` on."""
        file, kind = self._files[number]
        end, checksum = self._ends[number]
        if lo != end:
            raise RuntimeError(f"Rows of '{kind.name}' from {lo} on were kept behind {end}.")
        plain = rows.detach().cpu().movedim(kind.dim, 0).reshape(-1).contiguous()
        data = plain.view(torch.uint8).numpy().data
        with writing(self.folder):
            file.write(data)
        self._ends[number] = end + rows.shape[kind.dim], zlib.crc32(data, checksum)

    @property
    def ends(self) -> Ends:
        """Of the strip that is being written."""
        return tuple(self._ends)

    def sync(self) -> None:
        """Return when all that was appended is on disk."""
        with writing(self.folder):
            for file, _ in self._files:
                file.flush()
                os.fsync(file.fileno())

    def finish(self, strip: int) -> None:
        """Note that a strip has kept all its columns."""
        self.sync()
        noted: Mapping[str, object] = {"run": self.run, "sums": [value for _, value in self._ends]}
        with writing(self.folder), replacing(self._note(strip)) as file:
            file.write(json.dumps(noted).encode())
        self.close()

    def close(self) -> None:
        """Let the files go that are being written."""
        for file, _ in self._files:
            file.close()
        self._files, self._ends = [], []

    def clear(self) -> None:
        """Remove everything."""
        self.close()
        rmtree(self.folder, ignore_errors=True)

    def _are(self, strip: int, kinds: Sequence[Streamed], ends: Ends) -> bool:
        """Whether these rows of a strip are there as they were."""
        return len(ends) == len(kinds) and all(
            _checksum(self._path(strip, number), rows * kind.row_bytes) == value
            for number, (kind, (rows, value)) in enumerate(zip(kinds, ends, strict=True))
        )

    def _remove(self, but: set[int]) -> None:
        for path in [*self.folder.glob("*.columns"), *self.folder.glob("*.json")]:
            if path.name.split(".")[0] not in map(str, but):
                path.unlink(missing_ok=True)

    def _path(self, strip: int, number: int) -> Path:
        return self.folder / f"{strip}.{number}.columns"

    def _note(self, strip: int) -> Path:
        return self.folder / f"{strip}.json"


def _checksum(path: Path, nbytes: int) -> int | None:
    """Of the first bytes of a file; None where it has fewer."""
    found = 0
    try:
        with path.open("rb") as file:
            while nbytes and (block := file.read(min(nbytes, _AT_ONCE))):
                found, nbytes = zlib.crc32(block, found), nbytes - len(block)
    except OSError:
        return None
    return None if nbytes else found


_AT_ONCE = 1 << 22
