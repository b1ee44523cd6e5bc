"""Values that are kept between passes in files: of a job beside the result, of a run in a folder.

What is read or written of them is mapped, and no longer held by the process once that is done.
"""

from __future__ import annotations

import mmap as mmap_module
import os
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from mmap import mmap
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

import torch
from torch import Tensor

from fieldwise.graph.ir import Shape
from fieldwise.graph.tensors import dtype_name
from fieldwise.tile.arrays import Readable
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.program import Streamed
from fieldwise.tile.bands.store import Store
from fieldwise.tile.files.disk import reserve, writing

Manifest = Mapping[str, tuple[str, Shape, tuple[int, int], str, int]]
"""By name: its file, its shape with rows apart, the place of the axis, dtype, and a checksum."""


@dataclass(frozen=True, slots=True)
class FileRows:
    """A mapped file as something to read from: parts of it are copies (see ``Readable``)."""

    rows: Tensor
    mapping: mmap

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""
        return tuple(self.rows.shape)

    def __getitem__(self, index: tuple[slice, ...]) -> Tensor:
        """A part."""
        found = self.rows[index].clone()
        _let_go(self.mapping)
        return found


class FileStore(Store):
    """Values in the files of a folder, in which rows follow one another."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._mappings: dict[str, mmap] = {}
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

    @property
    def arrays(self) -> Mapping[str, Readable]:
        """See Store."""
        return {name: FileRows(rows, self._mappings[name]) for name, rows in self.values.items()}

    def write(self, name: str, lo: int, rows: Tensor) -> None:
        """See Store."""
        super().write(name, lo, rows)
        _let_go(self._mappings[name])

    def keep(self, names: Collection[str]) -> None:
        """See Store."""
        super().keep(names)
        for name in [name for name in self._mappings if name not in names]:
            del self._mappings[name]
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
                dtype = dtype_name(value.dtype)
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
        with path.open("r+b") as handle:
            mapping = self._mappings[kind.name] = mmap(handle.fileno(), _nbytes(kind))
        return _tensor(mapping, kind)

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
        with (self.folder / self._files[kind.name]).open("rb") as handle:
            mapping = mmap(handle.fileno(), _nbytes(kind), access=mmap_module.ACCESS_COPY)
        self._mappings[kind.name] = mapping
        return _tensor(mapping, kind)

    def _clear(self) -> None:
        self.values.clear()


def _tensor(mapping: mmap, kind: Streamed) -> Tensor:
    """A mapped file as a tensor."""
    nbytes = prod(kind.shape) * kind.dtype.itemsize
    flat = torch.frombuffer(mapping, dtype=torch.uint8)[:nbytes].view(kind.dtype)
    shape, dim = kind.shape, kind.dim
    return flat.view([shape[dim], *shape[:dim], *shape[dim + 1 :]]).movedim(0, dim)


class ScratchStore(FileStore):
    """Values of one run, in a folder of its own within another that goes with it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Path(mkdtemp(prefix="fieldwise-", dir=folder)))
        finalize(self, rmtree, self.folder, ignore_errors=True)


def _let_go(mapping: mmap) -> None:
    """Hold no memory for what is on disk, where the system can be told so."""
    if hasattr(mapping, "madvise"):
        mapping.madvise(_NOT_NEEDED)


_NOT_NEEDED = getattr(mmap_module, "MADV_DONTNEED", 0)


def _nbytes(kind: Streamed) -> int:
    """Of its file; one of nothing cannot be mapped."""
    return max(prod(kind.shape) * kind.dtype.itemsize, 1)


_AT_ONCE = 1 << 22
