"""Many files: which inputs a folder or a pattern names, and where the result of each goes."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldwise.errors import UsageError
from fieldwise.reports import Report
from fieldwise.tile.files.detect import format_of, format_to_write, split_name
from fieldwise.written import counted

FileState = Literal["written", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one input.

    state: 'written'; 'skipped', since it was done before; or 'failed', see ``why``
    """

    source: Path
    out: Path
    state: FileState
    why: str | None = None

    def __str__(self) -> str:
        return f"{self.source}: {self.state if self.why is None else self.why}"


@dataclass(frozen=True, slots=True)
class ManyReport(Report):
    """What became of many inputs, a row for each; model: as it was named."""

    model: str
    files: tuple[FileOutcome, ...]

    @property
    def rows(self) -> tuple[FileOutcome, ...]:
        """One per input."""
        return self.files

    @property
    def failed(self) -> tuple[FileOutcome, ...]:
        """Those without a result."""
        return tuple(one for one in self.files if one.state == "failed")

    def __str__(self) -> str:
        counts = [
            f"{number} {word}"
            for state, word in _WORDS.items()
            if (number := sum(one.state == state for one in self.files))
        ]
        lines = [f"failed  {one}" for one in self.failed]
        return "\n".join([*lines, f"{counted(len(self.files), 'file')}: {', '.join(counts)}"])


_WORDS = {"written": "written", "skipped": "done before", "failed": "failed"}


def files_named(source: Path, out: Path) -> list[tuple[Path, Path]] | None:
    """Inputs, in the order of their names, and where the result of each goes.

    source: a folder of files, or a pattern such as '*.tif'; None is given for a single input
    out:    a folder, where a result has the name of its input; or a name with {stem}, the name of
            the input without its suffix, in it

    Raises UsageError where there are none, and where results would have one place.
    """
    found = _inputs(source)
    if found is None:
        if "{stem}" in str(out):
            raise UsageError(
                f"{str(out)!r} names results of several inputs, and IN is a single one."
            )
        return None
    if not found:
        raise UsageError(f"{str(source)!r} names no file that can be read; check the path.")
    if "{stem}" not in str(out) and out.exists() and not out.is_dir():
        raise UsageError(
            f"{str(out)!r} is a file, and {counted(len(found), 'result')} go to a folder; name "
            "one, or write {stem} in its name."
        )
    pairs = [(one, _result(one, out)) for one in found]
    inputs, taken = {one.resolve() for one in found}, dict[Path, Path]()
    for one, place in pairs:
        real = place.resolve()
        if real in taken:
            raise UsageError(
                f"{str(taken[real])!r} and {str(one)!r} would both be written as {str(place)!r}; "
                "name fewer inputs."
            )
        if real == one.resolve():
            raise UsageError(f"The result {str(place)!r} is the input itself; name another OUT.")
        if real in inputs:
            raise UsageError(
                f"The result of {str(one)!r} would be {str(place)!r}, which is an input too; name "
                "another folder for OUT, or fewer inputs."
            )
        taken[real] = one
    return pairs


def _inputs(source: Path) -> list[Path] | None:
    if split_name(source)[0].is_file() or _is_array(source):
        return None
    if source.is_dir():
        return sorted(one for one in source.iterdir() if _is_readable(one))
    if not glob.has_magic(str(source)):
        return None
    return sorted(one for one in map(Path, glob.glob(str(source))) if _is_readable(one))


def _is_array(folder: Path) -> bool:
    """Whether a folder is part of a zarr hierarchy."""
    marks = ("zarr.json", ".zarray", ".zgroup")
    return folder.suffix.lower() == ".zarr" or any((folder / mark).exists() for mark in marks)


def _is_readable(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix == ".journal":
        return False
    if path.is_dir():
        return _is_array(path)
    try:
        form, _ = format_of(path)
    except UsageError:
        return False
    return form.module != "bare"


def _result(source: Path, out: Path) -> Path:
    if "{stem}" in str(out):
        return Path(str(out).replace("{stem}", source.stem))
    try:
        format_to_write(source)
    except UsageError as error:
        raise UsageError(
            f"{str(source)!r} has a suffix in which no result is written; write OUT as "
            f"{str(out / '{stem}.tif')!r}."
        ) from error
    return out / source.name
