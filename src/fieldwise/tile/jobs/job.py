"""A job from its parts: a model, an input on disk, where the results go, and the journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from fieldwise.errors import UsageError
from fieldwise.tile.arrays import numpy_dtype
from fieldwise.tile.io import (
    BlockRows,
    FileView,
    Layout,
    ModelView,
    NewFile,
    Scaled,
    Sink,
    Source,
    open_source,
)
from fieldwise.tile.io.disk import stamp
from fieldwise.tile.jobs.crops import crop_work
from fieldwise.tile.jobs.fingerprint import (
    Identity,
    digest_of_code,
    digest_of_data,
    digest_of_plan,
    digest_of_state,
)
from fieldwise.tile.jobs.journal import Journal, has_journal, journal_path
from fieldwise.tile.jobs.models import JobModel
from fieldwise.tile.jobs.paths import result_paths
from fieldwise.tile.jobs.records import Done, FileRecord
from fieldwise.tile.jobs.run import Advance, run_job, write_piece
from fieldwise.tile.jobs.streaming import stream_work
from fieldwise.tile.jobs.trust import distrust
from fieldwise.tile.jobs.work import JobPlan, Output, Work
from fieldwise.tile.stream.streamed import GlobalOps
from fieldwise.tile.verify import Certificate

EngineName = Literal["stream", "halo"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for.

    source: what is read; layout: how its axes stand for the model's dimensions
    out:    where the result goes (several: names with the outputs' names in them)
    along:  the model's dimension that bands follow ('stream')
    band:   input rows per step ('stream'); tile: input samples from tile to tile ('halo')
    piece:  input rows per piece, at least ('stream'); by default what is read twice is little
    memory: bytes for rows and weights
    scale:  the input is multiplied by it once it has the model's type
    global_ops: whether layers that need the whole axis may have passes of their own ('stream')
    """

    model: JobModel
    source: Source
    layout: Layout
    out: Path
    engine: EngineName = "stream"
    along: int = 2
    band: int | None = None
    tile: int | None = None
    piece: int | None = None
    memory: int | None = None
    scale: float = 1.0
    global_ops: GlobalOps = "refuse"

    def __reduce__(self) -> Any:
        """Another process may work in another folder, so paths are absolute."""
        asked = {one.name: getattr(self, one.name) for one in fields(self)}
        source, out = (Path(os.path.abspath(path)) for path in (self.source.path, self.out))
        return _request_again, (source, {**asked, "source": None, "out": out})


def _request_again(source: Path, asked: dict[str, Any]) -> Request:
    return Request(**{**asked, "source": open_source(source)})


@dataclass(frozen=True)
class Job:
    """All that it takes to carry out a request; made by ``plan_job``.

    Pickled as the request: another process plans it again, and refuses where it is not the same.
    """

    request: Request
    work: Work
    files: tuple[NewFile, ...]
    layouts: tuple[Layout, ...]
    identity: Identity

    def __reduce__(self) -> Any:
        return _planned_again, (self.request, self.identity)

    @property
    def plan(self) -> JobPlan:
        """What it will do."""
        return self.work.plan

    def open(self, *, resume: bool = False, overwrite: bool = False) -> Journal:
        """The journal to work with, once it is clear that nothing is overwritten by mistake.

        resume: go on where an earlier run of the same job has stopped, if there was one

        Raises UsageError where results are there that this job may not touch.
        """
        path = journal_path(self.request.out)
        if resume and has_journal(path):
            return self._gone_on(path)

        def check() -> None:
            if not overwrite:
                self._check_nothing_is_there(resume=resume)

        return Journal.begin(path, self.identity, pieces=len(self.plan.pieces), check=check)

    def _check_nothing_is_there(self, *, resume: bool) -> None:
        there = [file.path for file in self.files if file.exists]
        if there:
            remedy = (
                "nothing tells what of it is done, since it has no journal; use --overwrite"
                if resume
                else "use --resume to go on, or --overwrite"
            )
            raise UsageError(f"{str(there[0])!r} exists; {remedy}, or name another file.")

    def _gone_on(self, path: Path) -> Journal:
        """The journal of an earlier run, which says only what is still on disk."""
        journal = Journal.go_on(path, self.identity)
        try:
            if journal.begun or (journal.files and all(file.exists for file in self.files)):
                sinks = [file.reopen(writable=False) for file in self.files]
                self._check_frames(sinks, journal.files)
                distrust(journal, self.plan, self._targets(sinks), self.grains)
        except BaseException:
            journal.close()
            raise
        return journal

    def _check_frames(self, sinks: Sequence[Sink], before: Sequence[FileRecord]) -> None:
        """Raise UsageError where the files are not stored as they were made."""
        now = self._records(sinks)
        for number, file in enumerate(self.files):
            if list(before[number : number + 1]) != [now[number]]:
                raise file.not_begun("its header is another")

    def run(self, journal: Journal, *, advance: Advance = lambda _: None) -> None:
        """Compute what is missing.  Raises UsageError where the input changes meanwhile."""
        check = self.watch()
        targets = self.begin(journal)
        view = self._view()
        missing = len(journal.done) < len(self.plan.pieces)
        work = self.work.prepared(view, journal.passes) if missing else self.work
        run_job(work, view, targets, journal, grains=self.grains, advance=advance, check=check)
        journal.clear()
        self.check_input(journal)

    def verify(self) -> Certificate:
        """Compare pieces with the whole on a corner of the input; nothing is written.

        Raises MismatchError where they differ by more than the arithmetic explains.
        """
        return self.work.verify(self._view())

    def write(self, piece: int, folder: Path) -> Done:
        """Compute one piece into new files in a folder, which are named and shaped as the results.

        On disk when this returns, and what it wrote.
        """
        piece_files = [replace(file, path=folder / file.path.name) for file in self.files]
        targets = self._targets([file.create() for file in piece_files])
        return write_piece(
            self.work, self.plan.pieces[piece], self._view(), targets, grains=self.grains
        )

    def begin(self, journal: Journal) -> list[FileView]:
        """Where the outputs go: new files, or those that an earlier run has left, tidied up."""
        if journal.begun:
            for file in self.files:
                file.tidy()
            missing = len(journal.done) < len(self.plan.pieces)
            return self._targets([file.reopen(writable=missing) for file in self.files])
        sinks = [file.create() for file in self.files]
        journal.note_files(self._records(sinks))
        return self._targets(sinks)

    def _records(self, sinks: Sequence[Sink]) -> list[FileRecord]:
        parts = zip(self.plan.outputs, self.files, self.layouts, sinks, strict=True)
        return [
            FileRecord.of(output.name, output.dim, file, layout, sink.frame())
            for output, file, layout, sink in parts
        ]

    def _targets(self, sinks: Iterable[Sink]) -> list[FileView]:
        return [FileView(*pair) for pair in zip(sinks, self.layouts, strict=True)]

    def watch(self) -> Callable[[], None]:
        """A check that the input is still the file that it is now, which costs next to nothing.

        Raises UsageError, as that check does, where the input is not what was planned for.
        """
        path = self.request.source.path
        before = stamp(path)
        if self.request.source.identity() != self.identity.input:
            raise UsageError(_CHANGED)

        def check() -> None:
            if stamp(path) != before:
                raise UsageError(_CHANGED)

        return check

    def check_input(self, journal: Journal) -> None:
        """Raise UsageError where the input is not what it was when the job was planned.

        Then nothing of the journal is to be built upon, and it says so.
        """
        if self.request.source.identity() != self.identity.input:
            journal.void("The input has changed while it was read, so the result is a mixture")
            raise UsageError(_CHANGED)

    @property
    def grains(self) -> tuple[int, ...]:
        """Per output, the rows that its file takes at a time."""
        parts = zip(self.files, self.layouts, self.plan.outputs, strict=True)
        return tuple(_rows_of(file.grain, layout, out) for file, layout, out in parts)

    def _view(self) -> Scaled:
        asked = self.request
        source = asked.source
        if asked.engine == "stream":
            source = _by_blocks(asked)
        view = ModelView(source, asked.layout)
        return Scaled(view, numpy_dtype(asked.model.dtype), asked.scale)


def plan_job(request: Request) -> Job:
    """Plan a job; nothing is computed and nothing is written yet.

    Raises StreamError or TileError where the engine cannot give what the whole input gives, and
    UsageError for too little memory and for files that cannot hold the results.
    """
    asked, layout = request, request.layout
    shape = layout.model_shape(asked.source.shape)

    def placed(output: Output) -> Layout:
        return layout.of_result(output.shape, follows=(asked.along, output.dim), batch=shape[0])

    def file(path: Path, output: Output) -> NewFile:
        place = placed(output)
        steps = [output.steps[dim] for dim in place.dims]
        return NewFile.of(path, place.file_shape(output.shape), output.dtype, place.axes, steps)

    module, dtype = asked.model.module, asked.model.dtype
    work: Work
    if asked.engine == "halo":
        work = crop_work(module, shape, dtype=dtype, tile=asked.tile, memory=asked.memory)
    else:
        work = stream_work(
            module,
            shape,
            dtype=dtype,
            axis=asked.along,
            band=asked.band,
            memory=asked.memory,
            section=asked.piece,
            grains=lambda output: _rows_of(file(asked.out, output).grain, placed(output), output),
            beside=_by_blocks(asked).nbytes,
            global_ops=asked.global_ops,
        )
    outputs = work.plan.outputs
    paths = result_paths(asked.out, [output.name for output in outputs])
    files = tuple(map(file, paths, outputs))
    identity = Identity(
        model=digest_of_state(module),
        code=digest_of_code(work.nodes),
        input=asked.source.identity(),
        plan=digest_of_plan(work.plan),
        settings=digest_of_data(_settings(asked, files)),
    )
    return Job(asked, work, files, tuple(map(placed, outputs)), identity)


_CHANGED = (
    "The input has changed while it was read, so the result is a mixture; run the job again with "
    "--overwrite."
)


def _planned_again(request: Request, identity: Identity) -> Job:
    job = plan_job(request)
    if job.identity != identity:
        raise UsageError(
            "This machine sees another model or input than the one that planned the job; give all "
            "machines the same files."
        )
    return job


def _settings(asked: Request, files: Sequence[NewFile]) -> Any:
    formats = [[file.grain, file.axes, file.path.suffix] for file in files]
    return [asked.layout.axes, str(asked.model.dtype), asked.scale, formats]


def _by_blocks(asked: Request) -> BlockRows:
    return BlockRows(asked.source, asked.layout.dims.index(asked.along))


def _rows_of(grain: tuple[int, ...], layout: Layout, output: Output) -> int:
    """The grain along the dimension that pieces follow."""
    return grain[layout.dims.index(output.dim)] if output.dim in layout.dims else 1
