"""A job: a request planned, and carried out piece by piece under a journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

from fieldwise.capture.torch.capture import record
from fieldwise.capture.torch.devices import described, is_out_of_memory
from fieldwise.capture.torch.example import meta_tensor
from fieldwise.errors import CaptureError, OutOfMemoryError, UsageError
from fieldwise.tile.amounts import check_bytes, enough_text, size_text
from fieldwise.tile.bands.choosing import BAND, TooLittleError, nearest
from fieldwise.tile.certificate import RunCertificate
from fieldwise.tile.choices import Cache
from fieldwise.tile.errors import OffGridError, StreamError, TileError
from fieldwise.tile.files import (
    AxisLayout,
    FileView,
    ModelView,
    NewFile,
    calibration_of,
)
from fieldwise.tile.jobs.caching import CachePlan, cheapest
from fieldwise.tile.jobs.cuts import Cut
from fieldwise.tile.jobs.engines import work_for
from fieldwise.tile.jobs.fingerprint import Identity, environment, identity_of
from fieldwise.tile.jobs.journal import Journal, has_journal, journal_path
from fieldwise.tile.jobs.masked import Marks, masked
from fieldwise.tile.jobs.records import Done
from fieldwise.tile.jobs.report import JobFile, JobReport
from fieldwise.tile.jobs.request import FIRST_SPATIAL, Request
from fieldwise.tile.jobs.result_files import grids_of, results_for
from fieldwise.tile.jobs.results import Results
from fieldwise.tile.jobs.run import Advance, run_job, write_pieces
from fieldwise.tile.jobs.tiles import work_of_crops
from fieldwise.tile.jobs.trust import distrust
from fieldwise.tile.jobs.watching import check_input, watch
from fieldwise.tile.jobs.work import CACHES, JobPlan, Work


@dataclass(frozen=True)
class Job:
    """All that it takes to carry out a request; made by ``plan_job``.

    chosen_from: what there was to choose from, where memory was too little for the usual way

    Pickled as the request: another process plans it again, and refuses where it is not the same.
    """

    request: Request
    work: Work
    results: Results
    identity: Identity
    chosen_from: tuple[CachePlan, ...] = field(default=(), compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        return _planned_again, (self.request, self.identity)

    @property
    def plan(self) -> JobPlan:
        """What it will do."""
        return self.work.plan

    @property
    def counted_plan(self) -> JobPlan:
        """The plan, with its operations; those of crops are counted when they are asked for."""
        if self.plan.work is not None:
            return self.plan
        model = self.request.model
        return replace(self.plan, work=work_of_crops(model.call.model, model.dtype, self.plan))

    @property
    def cut(self) -> Cut:
        """How it is cut into pieces."""
        return Cut.of(self.plan, piece=self.request.piece)

    @property
    def files(self) -> tuple[NewFile, ...]:
        """Where its outputs go."""
        return self.results.files

    @property
    def layouts(self) -> tuple[AxisLayout, ...]:
        """How the axes of the files stand for the outputs' dimensions."""
        return self.results.layouts

    @property
    def grains(self) -> tuple[int, ...]:
        """Per output, the rows that its file takes at a time."""
        return self.results.grains

    @property
    def environment(self) -> dict[str, str]:
        """Where it would be computed in this process."""
        return environment(self.request.model.call.device)

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
                self.results.check_nothing_is_there(resume=resume)

        pieces = len(self.plan.pieces)
        return Journal.begin(
            path, self.identity, self.environment, pieces=pieces, cut=self.cut, check=check
        )

    def _gone_on(self, path: Path) -> Journal:
        """The journal of an earlier run, which says only what is still on disk."""
        journal = Journal.go_on(path, self.identity, self.environment, cut=self.cut)
        try:
            if journal.begun or (journal.files and all(file.exists for file in self.files)):
                targets = self.results.reopen_checked(journal.files)
                distrust(journal, self.plan, targets, self.grains)
        except BaseException:
            journal.close()
            raise
        return journal

    def run(self, journal: Journal, *, advance: Advance = lambda _: None) -> None:
        """Compute what is missing.

        Raises UsageError where the input changes meanwhile, and OutOfMemoryError.
        """
        check = self.watch()
        targets = self.begin(journal)
        view = self.request.view()
        missing = len(journal.done) < len(self.plan.pieces)
        with self.request.model.running(), self._enough_memory():
            work = self.work.prepared(view, journal.passes) if missing else self.work
            run_job(work, view, targets, journal, grains=self.grains, advance=advance, check=check)
        self.results.finish()
        journal.clear()
        self.check_input(journal)

    def verify(self) -> RunCertificate:
        """Compare pieces with the whole on a corner of the input; nothing is written.

        Compared is what classes, thresholds and whole numbers are made of, since a difference in
        the last bit could turn into one class or another: see ``Ending``.

        Raises MismatchError where they differ by more than the arithmetic explains.
        """
        continuous = self.request.model.before_steps()
        if continuous is not self.request.model:
            out = self.request.out.with_suffix(".npy")
            asked = replace(self.request, model=continuous, out=out, mask=None, nodata=None)
            return plan_job(replace(asked, compression=None, chunks=None)).verify()
        with self.request.model.running():
            return self.work.verify(self.request.view())

    def compared(self) -> tuple[CachePlan, ...]:
        """Full recompute, rows cached, rows and columns cached: this job, planned each way."""
        if self.chosen_from:
            return self.chosen_from
        with self.request.model.running():
            return _compared(_jobs(self.request, {self.plan.cache: self}, self), self.request)

    def report(
        self,
        model: str,
        certificate: RunCertificate | None = None,
        compared: tuple[CachePlan, ...] = (),
    ) -> JobReport:
        """What it will do, of a model that is called so; nothing of it is done yet.

        certificate: what ``verify`` has found; compared: what ``compared`` has
        """
        given, layout = self.request.source, self.request.layout
        source = JobFile(given.path, layout.axes, calibration_of(given, layout.axes))
        results = tuple(JobFile(file.path, file.axes, file.about, file.lost) for file in self.files)
        compared = compared or self.chosen_from
        return JobReport(model, source, results, self.plan, certificate, compared=compared)

    def write(self, pieces: Sequence[int], folders: Iterable[Path]) -> Iterator[Done]:
        """Compute pieces of one batch, each into new files, named and shaped as the results.

        folders: where the files of each go

        A piece is on disk once what it wrote is yielded.
        """
        targets = (self.results.within(folder).create()[0] for folder in folders)
        with self.request.model.running(), self._enough_memory():
            yield from write_pieces(
                self.work,
                [self.plan.pieces[number] for number in pieces],
                self.request.view(),
                targets,
                grains=self.grains,
            )

    def in_less_memory(self) -> Job:
        """The same job in half of the memory: with half as many crops per call, or smaller pieces.

        Raises UsageError where that is not enough.
        """
        asked = self.request.asked or self.request
        if self.plan.batch > 1:
            tiles = asked.tile or tuple(axis.tile for axis in self.plan.axes)
            return plan_job(replace(asked, tile=tiles, batch=self.plan.batch // 2))
        tile = asked.tile if isinstance(asked.tile, int) else None
        return plan_job(replace(asked, tile=tile, memory=self._half()))

    def _less(self) -> str:
        if self.plan.batch > 1:
            return f"--batch {self.plan.batch // 2}"
        return f"--memory {enough_text(self._half())}"

    def _half(self) -> int:
        peak = self.plan.peak_bytes
        return min(self.request.memory or peak, peak) // 2

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        """Raise OutOfMemoryError where what is done inside takes more than there is."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"{described(self.request.model.call.device)} has too little memory for this plan, "
                f"which holds {size_text(self.plan.peak_bytes)} at once, beside what its kernels "
                f"take; give less, for example {self._less()}."
            ) from error

    def begin(self, journal: Journal) -> list[FileView]:
        """Where the outputs go: new files, or those that an earlier run has left, tidied up."""
        if journal.begun:
            self.results.tidy()
            missing = len(journal.done) < len(self.plan.pieces)
            return self.results.reopen(writable=missing)
        targets, records = self.results.create()
        journal.note_files(records)
        return targets

    def watch(self) -> Callable[[], None]:
        """A check that the input stays as it is (see ``watching.watch``)."""
        return watch(self.request.source, self.identity.input)

    def check_input(self, journal: Journal) -> None:
        """Raise UsageError, and void the journal, where the input is not what was planned for."""
        check_input(self.request.source, self.identity.input, journal)


def plan_job(request: Request) -> Job:
    """Plan a job; nothing is computed and nothing is written yet.

    Where no axis is asked for, it is the first along which bands are wide enough and little is held
    at once; else the one that takes the fewest steps, of these the one that holds least.

    Raises StreamError or TileError where the engine cannot give what the whole input gives, and
    UsageError for too little memory and for files that cannot hold the results.
    """
    check_bytes(request.memory)
    with request.model.running():
        try:
            return _as_wanted(_planned_as_asked(request))
        except OffGridError:
            raise
        except (StreamError, TileError, TooLittleError) as error:
            option = _option(request, error)
            raise (error.with_option(option) if option else error) from error.__cause__


def _option(asked: Request, error: StreamError | TileError | TooLittleError) -> str:
    """What does a job that was refused, which is tried; empty: nothing."""
    ways = dict[str, Request]()
    if isinstance(error, TooLittleError):
        if asked.engine != "halo" and not asked.is_free:
            crops = replace(asked.without_cuts().keeping("none"), global_ops="refuse")
            ways["It fits in crops: --engine halo."] = crops
    else:
        ways |= {
            f"Along axis {along} it can be streamed: --axis {along}.": replace(asked, along=along)
            for along in range(FIRST_SPATIAL, asked.layout.rank)
            if asked.along not in (None, along)
        }
        if asked.engine == "halo":
            ways["It can be streamed: --engine stream."] = replace(
                asked, engine="stream", cache=None, tile=None
            )
    for told, way in ways.items():
        with suppress(StreamError, UsageError):
            _planned_as_asked(way)
            return told
    return ""


def _planned_as_asked(request: Request) -> Job:
    """A job, along the axis that is best where none is asked for (see ``plan_job``)."""
    crops: Ways = {}
    if request.engine == "halo":
        return _planned_with(replace(request, along=FIRST_SPATIAL))
    if request.along is not None:
        return _planned(request, crops)
    shape = request.shape
    found, errors = list[tuple[tuple[int, int], Job]](), list[StreamError | UsageError]()
    for along in range(FIRST_SPATIAL, len(shape)):
        try:
            job = _planned(replace(request, along=along), crops)
        except (StreamError, UsageError) as error:
            errors.append(error)
            continue
        strips = prod(len(axis.pieces) for axis in job.plan.axes)
        steps = -(-shape[along] // job.plan.step) * strips
        found.append(((steps, job.plan.peak_bytes), job))
        wide = request.band is not None or job.plan.step >= min(BAND, shape[along])
        wide = wide and (strips == 1 or request.strip is not None)
        if wide and job.plan.peak_bytes <= _LITTLE:
            return job
    if not found:
        raise nearest(errors)
    return min(found, key=lambda one: one[0])[1]


_LITTLE = 1 << 30
"""Bytes at once for which no other axis is looked at."""


Ways = dict[Cache, "Job | Exception"]
"""A job for each way to cache, or what is raised in place of one."""


def _planned(request: Request, crops: Ways) -> Job:
    """A job along the axis that is asked for; the cheapest way where memory is too little.

    crops: that without a cache, once it was planned; it follows no axis
    """
    try:
        return _planned_with(request)
    except TooLittleError as error:
        if not request.is_free or request.engine == "halo":
            raise
        found = _jobs(request, crops)
        crops.update((cache, one) for cache, one in found.items() if cache == "none")
        choices = _compared(found, request)
        best = cheapest(choices)
        if best is None:
            tried = (one for one in found.values() if isinstance(one, UsageError))
            raise nearest([error, *tried]) from None
        job = found[best.cache]
        assert isinstance(job, Job)
        return replace(job, chosen_from=choices)


def _jobs(request: Request, known: Ways, own: Job | None = None) -> Ways:
    """A job for each way to cache.

    known: those that are there already; own: the one that others are compared with
    """
    along = request.along if own is None or own.plan.cache == "none" else own.plan.along
    request = replace(request, along=FIRST_SPATIAL if along is None else along)
    found: Ways = {}
    for cache in CACHES:
        if cache in known:
            found[cache] = known[cache]
        elif cache != "none" or request.may_be_crops or own is not None:
            asked = request.keeping(cache)
            try:
                found[cache] = _planned_with(asked if own is None else asked.without_cuts())
            except (CaptureError, StreamError, TileError, UsageError) as error:
                found[cache] = error
    return found


def _compared(found: Ways, request: Request) -> tuple[CachePlan, ...]:
    """What the ways take."""
    model = request.model
    shape = request.shape
    graph = record(model.call.model, meta_tensor(shape, model.dtype))
    return tuple(
        CachePlan.of(cache, one.counted_plan if isinstance(one, Job) else one, graph)
        for cache, one in found.items()
    )


def _planned_with(request: Request) -> Job:
    """A job along the axis that is asked for, by the engine that is asked for."""
    work = work_for(request)
    results = results_for(request, work.plan.outputs)
    return Job(request, work, results, identity_of(request, work, results.files))


def _as_wanted(job: Job) -> Job:
    """The same, where only a part of the results is wanted."""
    asked, layout = job.request, job.request.layout
    if not asked.is_masked:
        return job
    images = layout.model_shape(asked.source.shape)[0]
    if asked.nodata is not None and images > 1:
        raise UsageError(
            f"--nodata looks for missing data in one image, and IN has {images}; leave it "
            "out, or give a --mask, which holds for all of them."
        )
    grids = grids_of(asked, job.results)
    marks = Marks(ModelView(asked.source, layout), asked.mask, asked.nodata)
    return replace(job, work=masked(job.work, marks, asked.fill, grids, layout, job.layouts))


def _planned_again(request: Request, identity: Identity) -> Job:
    job = plan_job(request)
    if job.identity != identity:
        raise UsageError(
            "This machine sees another model or input than the one that planned the job; give all "
            "machines the same files."
        )
    return job
