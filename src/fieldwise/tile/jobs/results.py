"""The files of a job's outputs: made, opened again, and told apart from files of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fieldwise.errors import UsageError
from fieldwise.tile.files import AxisLayout, FileView, NewFile, Sink
from fieldwise.tile.jobs.records import FileRecord
from fieldwise.tile.jobs.work import Output


@dataclass(frozen=True, slots=True)
class Results:
    """Per output of a job its file, and how the axes of that stand for the output's dimensions."""

    outputs: tuple[Output, ...]
    files: tuple[NewFile, ...]
    layouts: tuple[AxisLayout, ...]

    @property
    def parts(
        self,
    ) -> tuple[tuple[Output, ...], tuple[NewFile, ...], tuple[AxisLayout, ...]]:
        """Its outputs, their files and layouts."""
        return self.outputs, self.files, self.layouts

    @property
    def grains(self) -> tuple[int, ...]:
        """Per output, the rows that its file takes at a time."""
        parts = zip(self.files, self.layouts, self.outputs, strict=True)
        return tuple(rows_of(file.grain, layout, out) for file, layout, out in parts)

    def check_nothing_is_there(self, *, resume: bool) -> None:
        """Raise UsageError where a file is there already.

        resume: whether a run that is to go on was asked for, of which there is no journal
        """
        there = [file.path for file in self.files if file.exists]
        if there:
            remedy = (
                "it has no journal, which would say what of it is done; use --overwrite"
                if resume
                else "use --resume to go on, or --overwrite"
            )
            raise UsageError(f"{str(there[0])!r} exists; {remedy}, or name another file.")

    def within(self, folder: Path) -> Results:
        """Of the same names and shapes, in a folder of their own."""
        files = (replace(file, path=folder / file.path.name) for file in self.files)
        return replace(self, files=tuple(files))

    def create(self) -> tuple[list[FileView], list[FileRecord]]:
        """New files, and what is noted of them."""
        sinks = [file.create() for file in self.files]
        return self._views(sinks), self._records(sinks)

    def reopen(self, *, writable: bool) -> list[FileView]:
        """The files as ``create`` has made them.  Raises UsageError where they are others."""
        return self._views([file.reopen(writable=writable) for file in self.files])

    def reopen_checked(self, before: Sequence[FileRecord]) -> list[FileView]:
        """The files, to read from.  Raises UsageError where they are not stored as was noted."""
        sinks = [file.reopen(writable=False) for file in self.files]
        now = self._records(sinks)
        for number, file in enumerate(self.files):
            if list(before[number : number + 1]) != [now[number]]:
                raise file.not_begun("its header is another")
        return self._views(sinks)

    def finish(self) -> None:
        """Write the files that can only be written as a whole, once all pieces are done."""
        for file in self.files:
            file.finish()

    def tidy(self) -> None:
        """Remove what a killed process has left beside them."""
        for file in self.files:
            file.tidy()

    def _records(self, sinks: Sequence[Sink]) -> list[FileRecord]:
        parts = zip(self.outputs, self.files, self.layouts, sinks, strict=True)
        return [
            FileRecord.of(output.name, output.dim, file, layout, sink.frame())
            for output, file, layout, sink in parts
        ]

    def _views(self, sinks: Iterable[Sink]) -> list[FileView]:
        return [FileView(*pair) for pair in zip(sinks, self.layouts, strict=True)]


def rows_of(grain: tuple[int, ...], layout: AxisLayout, output: Output) -> int:
    """The grain along the dimension that pieces follow."""
    return grain[layout.dims.index(output.dim)] if output.dim in layout.dims else 1
