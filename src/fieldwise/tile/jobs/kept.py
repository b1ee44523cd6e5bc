"""Values that a job keeps between its passes, in files beside the result."""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Mapping
from math import prod
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
from torch import Tensor

from fieldwise.graph.ir import Shape
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.program import Streamed
from fieldwise.tile.bands.store import Store
from fieldwise.tile.files.disk import reserve, writing

Manifest = Mapping[str, tuple[str, Shape, tuple[int, int], str, int]]
"""By name: its file, its shape with rows apart, the place of the axis, dtype, and a checksum."""


class FileStore(Store):
    """Values in the files of a folder, in which rows follow one another."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._files: dict[str, str] = {}
        self._checked: dict[str, int] = {}

    def room_for(self, kind: Streamed) -> None:
        """Make room for rows of a value of which this is the shape."""
        self.axes[kind.name], self.values[kind.name] = kind.axis, self.room(kind)

    def room(self, kind: Streamed) -> Tensor:
        """See Store."""
        number = 1 + max((int(Path(file).stem) for file in self._files.values()), default=-1)
        self._files[kind.name] = f"{number}.rows"
        return self._mapped(kind)

    def keep(self, names: Collection[str]) -> None:
        """See Store."""
        super().keep(names)
        for name in [name for name in self._files if name not in names]:
            file = self._files.pop(name)
            self._checked.pop(file, None)
            (self.folder / file).unlink(missing_ok=True)

    def manifest(self, names: Collection[str]) -> Manifest:
        """See Store: of values that are complete, once they are on disk."""
        found = {}
        for name, file in self._files.items():
            if name in names:
                value, axis = self.values[name], self.axes[name]
                dtype = str(value.dtype).rpartition(".")[2]
                if file not in self._checked:
                    self._checked[file] = self._checksum(file)
                place = (axis.dim, axis.lead)
                found[name] = (file, tuple(value.shape), place, dtype, self._checked[file])
        return found

    def adopt(self, manifest: Mapping[str, Any]) -> bool:
        """See Store."""
        for name, (file, shape, (dim, lead), dtype, checksum) in manifest.items():
            rows_dim = dim + (lead > 1)
            kind = Streamed(name, shape, getattr(torch, dtype), rows_dim, None, 0, lead)
            path = self.folder / file
            whole = path.is_file() and path.stat().st_size == _nbytes(kind)
            if not whole or self._checksum(file) != checksum:
                self._clear()
                return False
            self._files[name], self.axes[name] = file, AxisPlace(dim, lead)
            self.values[name] = self._mapped(kind)
        if not manifest:
            self._clear()
        return True

    def _clear(self) -> None:
        self.keep(())
        rmtree(self.folder, ignore_errors=True)

    def _mapped(self, kind: Streamed) -> Tensor:
        """A file as a tensor, which has its room on disk."""
        path = self.folder / self._files[kind.name]
        with writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as handle:
                reserve(handle, _nbytes(kind))
        return _tensor(path, kind, shared=True)

    def _checksum(self, file: str) -> int:
        """Of what is on disk when this returns."""
        found = 0
        with (self.folder / file).open("rb") as handle:
            os.fsync(handle.fileno())
            while block := handle.read(_AT_ONCE):
                found = zlib.crc32(block, found)
        return found


class ForeignStore(FileStore):
    """What another process keeps in its files, which are only read."""

    def _mapped(self, kind: Streamed) -> Tensor:
        return _tensor(self.folder / self._files[kind.name], kind, shared=False)

    def _clear(self) -> None:
        self.values.clear()


def _tensor(path: Path, kind: Streamed, *, shared: bool) -> Tensor:
    """A file as a tensor; what is written to one that is not shared stays in memory."""
    flat = torch.from_file(str(path), shared=shared, size=prod(kind.shape), dtype=kind.dtype)
    shape, dim = kind.shape, kind.dim
    return flat.view([shape[dim], *shape[:dim], *shape[dim + 1 :]]).movedim(0, dim)


def _nbytes(kind: Streamed) -> int:
    """Of its file; one of nothing cannot be mapped."""
    return max(prod(kind.shape) * kind.dtype.itemsize, 1)


_AT_ONCE = 1 << 22
