"""What a journal says, as data and as lines of JSON: the job, its files, the finished pieces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fieldwise.tile.files import AxisLayout, NewFile
from fieldwise.tile.jobs.work import Box

VERSION = 4
"""Another one whenever digests of the same model, input or plan differ from those of before."""


@dataclass(frozen=True, slots=True)
class Wrote:
    """A part of one output that is on disk: where, and a digest of its values (see digests)."""

    box: Box
    digest: int


@dataclass(frozen=True, slots=True)
class Done:
    """A finished piece, and what it wrote of each output."""

    piece: int
    wrote: tuple[Wrote, ...]

    def plain(self) -> Mapping[str, object]:
        """For a line of JSON."""
        return {"piece": self.piece, "wrote": [[one.box, one.digest] for one in self.wrote]}


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of the results, as it was made.

    output:     the name of the model's output; dim: its dimension that pieces follow
    axes, dims, rank: see files.layout.AxisLayout; grain: see files.protocol.Sink
    frame:      see files.protocol.Sink: how its elements are stored
    """

    output: str
    dim: int
    shape: tuple[int, ...]
    dtype: str
    axes: str
    dims: tuple[int, ...]
    rank: int
    grain: tuple[int, ...]
    frame: str

    @classmethod
    def of(cls, output: str, dim: int, file: NewFile, layout: AxisLayout, frame: str) -> FileRecord:
        """The record of a file that was just made."""
        return cls(
            output, dim, file.shape, file.dtype.str, layout.axes, layout.dims, layout.rank,
            file.grain, frame,
        )  # fmt: skip

    def layout(self) -> AxisLayout:
        """How its axes stand for the output's dimensions."""
        samples = tuple(n for n, dim in zip(self.shape, self.dims, strict=True) if dim == 0)
        planes = samples if len(samples) > 1 else ()
        return AxisLayout(self.axes, self.dims, self.rank, planes)

    def file(self, path: Path) -> NewFile:
        """The file, at this place."""
        return NewFile(path, self.shape, np.dtype(self.dtype), self.axes, self.grain)


@dataclass(frozen=True, slots=True)
class Record:
    """All that a journal says.

    header: the job's identity, the environment that it was begun in, its run, and the number of
            its pieces
    files:  as last made; none where that has not come to pass
    void:   why nothing of it may be built upon; None where it may
    end:    where the last whole line ends
    """

    header: Mapping[str, Any]
    files: tuple[FileRecord, ...] = ()
    done: Mapping[int, Done] = field(default_factory=dict)
    void: str | None = None
    end: int = 0


def line(record: Mapping[str, object]) -> bytes:
    """A line of a journal."""
    return json.dumps(record).encode() + b"\n"


def files_line(files: tuple[FileRecord, ...]) -> bytes:
    """The line that says which files there are."""
    return line({"files": [asdict(one) for one in files]})


def parse(text: bytes) -> Record:
    """What a journal says; a last line that was cut short by a crash is dropped.

    Raises ValueError where it says nothing that this version could have written.
    """
    end = text.rfind(b"\n") + 1
    files: tuple[FileRecord, ...] = ()
    done: dict[int, Done] = {}
    void = None
    try:
        header, *records = [json.loads(one) for one in text[:end].splitlines()]
        if header["fieldwise job"] != VERSION or _count(header["pieces"]) < 1:
            raise ValueError("another version")
        kinds = {"run": str, "environment": dict, "settings": dict}
        if not all(isinstance(header[name], kind) for name, kind in kinds.items()):
            raise TypeError("no header")
        for record in records:
            if "files" in record:
                files = tuple(_file(one) for one in record["files"])
            elif "void" in record:
                void = str(record["void"])
            else:
                if not files:
                    raise ValueError("a piece of no file")
                one = _done(record, header["pieces"], files)
                done[one.piece] = one
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no journal of this version: {error}") from error
    return Record(header, files, done, void, end)


def _file(plain: Any) -> FileRecord:
    shape, grain, dims = (tuple(map(_count, plain[key])) for key in ("shape", "grain", "dims"))
    found = FileRecord(
        str(plain["output"]), _count(plain["dim"]), shape, str(plain["dtype"]), str(plain["axes"]),
        dims, _count(plain["rank"]), grain, str(plain["frame"]),
    )  # fmt: skip
    if np.dtype(found.dtype).kind not in "biuf" or 0 in grain or found.dim >= found.rank:
        raise ValueError("no file of a job")
    if not len(shape) == len(grain) == len(dims) == len(found.axes):
        raise ValueError("axes of different numbers")
    own = [dim for dim in dims if dim]
    if sorted({*own}) != sorted(own) or max(dims, default=0) >= found.rank:
        raise ValueError("axes that mean the same")
    return found


def _done(plain: Any, pieces: int, files: tuple[FileRecord, ...]) -> Done:
    number = _count(plain["piece"])
    wrote = tuple(Wrote(_box(box), _count(digest)) for box, digest in plain["wrote"])
    if number >= pieces or len(wrote) != len(files):
        raise ValueError("a piece of another job")
    for one, file in zip(wrote, files, strict=True):
        whole = file.layout().model_shape(file.shape)
        if len(one.box) != file.rank or any(
            not lo <= hi <= size for (lo, hi), size in zip(one.box, whole, strict=True)
        ):
            raise ValueError("a piece outside the result")
    return Done(number, wrote)


def _box(plain: Any) -> Box:
    return tuple((_count(lo), _count(hi)) for lo, hi in plain)


def _count(plain: object) -> int:
    if type(plain) is not int or plain < 0:
        raise TypeError(f"{plain!r} is no count")
    return plain
