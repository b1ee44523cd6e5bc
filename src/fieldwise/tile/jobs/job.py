"""A job from its parts: a model, an input on disk, where the results go, and the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fieldwise.errors import UsageError
from fieldwise.tile.io import BlockRows, FileView, Layout, ModelView, NewFile, Sink, Source
from fieldwise.tile.jobs.fingerprint import (
    Identity,
    digest_of_code,
    digest_of_data,
    digest_of_plan,
    digest_of_state,
)
from fieldwise.tile.jobs.journal import Journal, journal_path
from fieldwise.tile.jobs.models import JobModel
from fieldwise.tile.jobs.run import Advance, run_job
from fieldwise.tile.jobs.streaming import StreamWork, stream_work
from fieldwise.tile.jobs.work import JobPlan, Output


@dataclass(frozen=True, slots=True)
class Job:
    """All that it takes to carry out a plan; made by ``stream_job``."""

    work: StreamWork
    source: Source
    layout: Layout
    out: Path
    files: tuple[NewFile, ...]
    layouts: tuple[Layout, ...]
    identity: Identity

    @property
    def plan(self) -> JobPlan:
        """What it will do."""
        return self.work.plan

    def open(self, *, resume: bool = False, overwrite: bool = False) -> Journal:
        """The journal to work with, once it is clear that nothing is overwritten by mistake.

        resume: go on where an earlier run of the same job has stopped, if there was one

        Raises UsageError where results are there that this job may not touch.
        """
        path = journal_path(self.out)
        there = [file.path for file in self.files if file.path.exists()]
        if overwrite:
            return Journal.begin(path, self.identity)
        if resume and path.exists():
            return Journal.go_on(path, self.identity)
        if there:
            remedy = (
                "nothing tells what of it is done, since it has no journal; use --overwrite"
                if resume
                else "use --resume to go on, or --overwrite"
            )
            raise UsageError(f"{str(there[0])!r} exists; {remedy}, or name another file.")
        self.out.parent.mkdir(parents=True, exist_ok=True)
        return Journal.begin(path, self.identity)

    def run(self, journal: Journal, *, advance: Advance = lambda _: None) -> None:
        """Compute what is missing.  Raises UsageError where the input changes meanwhile."""
        make: Callable[[NewFile], Sink] = NewFile.reopen if journal.done else NewFile.create
        targets = [
            FileView(make(file), layout)
            for file, layout in zip(self.files, self.layouts, strict=True)
        ]
        view = ModelView(_by_blocks(self.source, self.layout, self.plan.along), self.layout)
        run_job(self.work, view, targets, journal, grains=self.grains, advance=advance)
        if self.source.identity() != self.identity.input:
            raise UsageError(
                "The input has changed while it was read, so the result is a mixture; run the job "
                "again with --overwrite."
            )

    @property
    def grains(self) -> tuple[int, ...]:
        """Per output, the rows that its file takes at a time."""
        pairs = zip(self.files, self.layouts, self.plan.outputs, strict=True)
        return tuple(_rows_of(file.grain, layout, out) for file, layout, out in pairs)


def stream_job(
    model: JobModel,
    source: Source,
    out: Path,
    *,
    layout: Layout,
    along: int = 2,
    band: int | None = None,
    memory: int | None = None,
    scale: float = 1.0,
) -> Job:
    """Plan a job of the streaming engine: read ``source``, write ``out``; nothing runs yet.

    layout: how the source's axes stand for the model's dimensions
    Other arguments and what is raised: see streaming.stream_work.
    """

    def grain(output: Output) -> int:
        placed = layout.of_result(output.shape)
        return _rows_of(_file(out, output, placed).grain, placed, output)

    work = stream_work(
        model.module,
        layout.model_shape(source.shape),
        dtype=model.dtype,
        axis=along,
        band=band,
        memory=memory,
        grains=grain,
        scale=scale,
        beside=_by_blocks(source, layout, along).nbytes,
    )
    layouts = tuple(layout.of_result(output.shape) for output in work.plan.outputs)
    paths = _paths(out, [output.name for output in work.plan.outputs])
    files = tuple(
        _file(path, output, placed)
        for path, output, placed in zip(paths, work.plan.outputs, layouts, strict=True)
    )
    formats = [[file.grain, file.axes, file.path.suffix] for file in files]
    settings = [layout.axes, str(model.dtype), scale, formats]
    identity = Identity(
        model=digest_of_state(model.module),
        code=digest_of_code(work.program),
        input=source.identity(),
        plan=digest_of_plan(work.plan),
        settings=digest_of_data(settings),
    )
    return Job(work, source, layout, out, files, layouts, identity)


def _by_blocks(source: Source, layout: Layout, along: int) -> BlockRows:
    return BlockRows(source, layout.dims.index(along))


def _file(out: Path, output: Output, layout: Layout) -> NewFile:
    return NewFile.of(out, layout.file_shape(output.shape), output.dtype, layout.axes)


def _paths(out: Path, names: Sequence[str]) -> list[Path]:
    """One file per output: ``out`` itself, or several with the outputs' names in theirs.

    >>> [path.name for path in _paths(Path("cells.npy"), ["mask", "edge"])]
    ['cells.mask.npy', 'cells.edge.npy']
    """
    if len(names) == 1:
        return [out]
    return [out.with_name(f"{out.stem}.{name.replace('/', '_')}{out.suffix}") for name in names]


def _rows_of(grain: tuple[int, ...], layout: Layout, output: Output) -> int:
    """The grain along the dimension that pieces follow."""
    return grain[layout.dims.index(output.dim)] if output.dim in layout.dims else 1
