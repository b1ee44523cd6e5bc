"""Arrays on disk, whatever their format: opened, made, opened again."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fieldwise.errors import FieldwiseError, UsageError, said_by
from fieldwise.graph.ir import Shape
from fieldwise.tile.files.calibration import Calibration
from fieldwise.tile.files.detect import FileFormat, format_of, format_to_write
from fieldwise.tile.files.disk import writing
from fieldwise.tile.files.grain import Steps
from fieldwise.tile.files.protocol import Sink, Source


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that will be written: what makes two of them the same.

    axes:  letters of its dimensions; grain: see protocol.Sink
    about: what it says of its samples beside their values
    lost:  what of the input's calibration it does not say, and why, in sentences
    pyramid: whether it has smaller levels too, where its format has such
    compression: of its blocks, by the names of --compression; None: as is usual for the format
    """

    path: Path
    shape: Shape
    dtype: np.dtype[np.generic]
    axes: str
    grain: Shape
    about: Calibration | None = None
    lost: tuple[str, ...] = ()
    pyramid: bool = False
    compression: str | None = None

    @classmethod
    def of(
        cls,
        path: Path,
        shape: Shape,
        dtype: np.dtype[np.generic],
        axes: str,
        steps: Steps | None = None,
        *,
        compression: str | None = None,
        side: int | None = None,
    ) -> NewFile:
        """With a grain that is usual for such a file and fits these steps.

        side: the longest side of a chunk or a tile, in place of what is usual

        Raises UsageError where the format cannot hold such an array, or not like that.
        """
        steps = (None,) * len(shape) if steps is None else steps
        module = _written(path)
        if hasattr(module, "check_type"):
            module.check_type(dtype, shape, axes)
        if not hasattr(module, "check_compression"):
            for option, given in (("--compression", compression), ("--chunks", side)):
                if given is not None:
                    raise UsageError(
                        f"{option} is of .tif and .zarr; {str(path)!r} lies in one piece."
                    )
        elif compression is not None:
            module.check_compression(compression)
        grain = module.grain_of(shape, axes, steps, *([] if side is None else [side]))
        lost = getattr(module, "UNSAID", ())
        return cls(path, shape, dtype, axes, grain, lost=lost, compression=compression)

    def saying(self, about: Calibration, lost: tuple[str, ...] = ()) -> NewFile:
        """The same file with what its format can hold of a calibration.

        lost: what is missing already
        """
        module = _written(self.path)
        if about.affines and not getattr(module, "KEEPS_AFFINES", False):
            maps = next(Calibration(affines=about.affines).parts())
            about, lost = replace(about, affines=()), (*lost, f"{maps}: name the result .nii")
        if not about:
            return replace(self, lost=(*lost, *self.lost))
        if not hasattr(module, "kept_about"):
            said = tuple(f"{part}: a {self.path.suffix} file holds none" for part in about.parts())
            return replace(self, lost=(*lost, *said))
        kept, more = module.kept_about(replace(self, about=about))
        return replace(self, about=kept or None, lost=(*lost, *more))

    @property
    def exists(self) -> bool:
        """Whether something is there already, also of a result that is not whole yet."""
        there = self.path.exists() or self.path.is_symlink()
        return there or (self._is_staged and self._stage.exists)

    @property
    def _is_staged(self) -> bool:
        return format_to_write(self.path).staged

    @property
    def _stage(self) -> NewFile:
        """The file in which a result is collected that can only be written as a whole."""
        return replace(self, path=self.path.with_name(f".{self.path.name}.part.npy"))

    def finish(self) -> None:
        """Write what can only be written once all of it is there: a file as a whole, levels.

        Raises UsageError where the disk does not take it.
        """
        module = _written(self.path)
        if self._is_staged and self._stage.exists:
            with writing(self.path):
                module.finish(self, self._stage.path)
                self._stage.path.unlink()
        elif not self._is_staged and hasattr(module, "fill_levels"):
            with writing(self.path):
                module.fill_levels(self)

    def create(self) -> Sink:
        """Make the file, in place of any that was there.

        Raises UsageError where it cannot be made: no such folder, no space, no permission, or a
        folder that is no array.
        """
        module = _written(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._clear()
            return self._stage.create() if self._is_staged else module.create(self)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "make room, and use --resume" if full else "choose another place"
            raise UsageError(
                f"Cannot write {str(self.path)!r}: {error.strerror or error}; {remedy}."
            ) from error

    def reopen(self, *, writable: bool = True) -> Sink:
        """The file as ``create`` has made it.

        Raises UsageError where it is another by now, or where it is to be written and has another
        name too (a hard link), since what is written would change that one as well.
        """
        if not self.exists:
            raise UsageError(
                f"{str(self.path)!r} is gone although its journal says that some of it is done; "
                "use --overwrite to begin again."
            )
        if self._is_staged and self._stage.exists:
            return self._stage.reopen(writable=writable)
        if self._is_staged:
            if writable:
                raise self.not_begun("it is written as a whole and damaged")
            return self._finished()
        if self.path.is_symlink():
            raise self.not_begun("it is a symbolic link")
        if writable and self.path.is_file() and self.path.stat().st_nlink > 1:
            raise UsageError(
                f"{str(self.path)!r} has another name too (a hard link), and going on would change "
                "that one as well; copy it here, or use --overwrite to begin again."
            )
        try:
            source = _opened(self.path)
        except UsageError as error:
            raise self.not_begun("it cannot be read") from error
        if (_squeezed(source.shape), source.dtype) != (_squeezed(self.shape), self.dtype):
            raise self.not_begun("its shape or type differs")
        return _written(self.path).reopen(self, writable=writable)

    def _finished(self) -> Sink:
        """A result that was written as a whole, to be read back."""
        try:
            sink: Sink = _written(self.path).reopen(self)
        except (OSError, ValueError) as error:
            raise self.not_begun("it cannot be read") from error
        return sink

    def not_begun(self, why: str) -> UsageError:
        """The error for a file that ``create`` did not make."""
        return UsageError(
            f"{str(self.path)!r} is not what this job has begun ({why}); use --overwrite to begin "
            "again."
        )

    def tidy(self) -> None:
        """Remove what a killed process has left of chunks that it was about to write.

        No other process may be writing.
        """
        if self.path.is_dir():
            for left in self.path.rglob("*.partial"):
                left.unlink()

    def _clear(self) -> None:
        """Make way, in such an order that a process killed here can be followed by another."""
        if self.path.is_symlink() or not self.path.is_dir():
            self.path.unlink(missing_ok=True)
            return
        if any(self.path.iterdir()) and not _is_zarr_array(self.path):
            raise UsageError(
                f"{str(self.path)!r} is a folder and no zarr array, so it is left alone; remove it "
                "or name another file."
            )
        old = self.path.with_name(f".{self.path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        self.path.rename(old)
        shutil.rmtree(old)


def open_source(path: Path, *, level: int | None = None) -> Source:
    """An array on disk, to be read piece by piece; ``file.h5:/name`` is one of several in a file.

    level: which one of an image of several levels (OME-Zarr); by default the largest

    Raises UsageError where there is none, or where it cannot be read; nothing is ever unpickled.
    """
    return _opened(path, level, read=True)


def axes_to_write(path: Path, axes: str) -> str:
    """The order in which a file of this name has a result's axes, as a rule that which is given."""
    module = _written(path)
    found: str = module.order_of(axes) if hasattr(module, "order_of") else axes
    return found


def side_multiple(path: Path) -> int:
    """Positions of which the sides of its blocks are multiples in a file of this name."""
    found: int = getattr(_written(path), "MULTIPLE", 1)
    return found


def _opened(path: Path, level: int | None = None, *, read: bool = False) -> Source:
    """The same; read: whether its first block is tried too, where that may be packed."""
    form, otherwise = format_of(path)
    module = _module(form, path)
    try:
        if level is not None and not hasattr(module, "level_path"):
            raise UsageError(
                f"--level names a level of an OME-Zarr image, and {str(path)!r} is none."
            )
        path = path if level is None else module.level_path(path, level)
        source: Source = module.open_source(path)
        if read and hasattr(module, "try_first"):
            module.try_first(source)
    except FieldwiseError:
        raise
    except Exception as error:
        raise UsageError(
            f"{str(path)!r} cannot be read as {form.name}: {said_by(error)}; "
            "is it whole, and is its suffix right?"
        ) from error
    return source if otherwise is None else _noted(source, f"{str(path)!r} {otherwise}")


def _noted(source: Any, note: str) -> Source:
    """The same source with one note more."""
    both = note if source.note is None else f"{note}; {source.note}"
    noted: Source = replace(source, note=both)
    return noted


def _written(path: Path) -> ModuleType:
    return _module(format_to_write(path), path)


def _module(form: FileFormat, path: Path) -> ModuleType:
    try:
        return import_module(f"fieldwise.tile.files.{form.module}")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{str(path)!r} needs {error.name}; install it with pip install "
            f"'fieldwise[{form.extra}]'."
        ) from error


def _is_zarr_array(folder: Path) -> bool:
    if (folder / ".zarray").is_file():
        return True
    try:
        about = json.loads((folder / "zarr.json").read_bytes())
        if about["node_type"] == "array":
            return True
        return folder.name.endswith(".ome.zarr") and "multiscales" in about["attributes"]["ome"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _squeezed(shape: Shape) -> Shape:
    """Without dimensions of one index, which a TIFF file does not keep."""
    return tuple(n for n in shape if n != 1)
