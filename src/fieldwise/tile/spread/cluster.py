"""A job on a dask.distributed cluster: workers compute pieces, one place takes and records them."""

from __future__ import annotations

import pickle
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import Any

from distributed import Client, Future, as_completed

from fieldwise.errors import FieldwiseError, UsageError
from fieldwise.tile.bands.pass_run import PassSection
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.fingerprint import differences
from fieldwise.tile.jobs.job import Job
from fieldwise.tile.jobs.journal import Journal
from fieldwise.tile.jobs.masked import MaskedWork
from fieldwise.tile.jobs.run import Advance
from fieldwise.tile.jobs.shares import Share, prepared_by, prepared_from
from fieldwise.tile.jobs.streams import StreamWork
from fieldwise.tile.spread.failures import (
    WorkersDiedError,
    failures,
    no_worker,
    scheduler_gone,
)
from fieldwise.tile.spread.staging import PROBE, Staged, Staging, remove_abandoned, staging

Teller = Callable[[str], None]
"""Is told what a user should know while a job runs."""

PATIENCE = 60.0
"""Seconds that a cluster may be without any worker."""
_PAUSE = 0.05
_TRIES = 3
"""How often workers may die over planning a job."""
_SILENCE = 2.0
"""Seconds without a finished piece after which it is asked whether there are workers."""


def check_cluster(job: Job, client: Client, *, tell: Teller = lambda _: None) -> None:
    """Raise UsageError where the cluster cannot carry out a job; nothing of a result is touched.

    Each worker that is connected, or the first one to come, plans the job again: it must have the
    modules, make the same model, and see the same input and the folder of the results.  What of the
    workers' environments may change the last bits is told.
    """
    _check_kind(job)
    with failures(client), staging(job.request.out, PROBE) as place:
        found = _environments(client, pickle.dumps(job), place, tell)
    odd = Counter(filter(None, (differences(job.environment, one) for one in found)))
    for what, number in odd.items():
        tell(
            f"{number} of {len(found)} workers compute elsewhere than this machine ({what}): the "
            "last bits may differ"
        )


def run_on_cluster(
    job: Job,
    journal: Journal,
    client: Client,
    *,
    advance: Advance = lambda _: None,
    tell: Teller = lambda _: None,
) -> None:
    """Compute what is missing on the workers of a cluster.

    All machines must see the same files under the same names.  Workers put pieces aside (see
    staging); a piece is taken over and recorded by this process, once it has read it back.  A piece
    that was on a worker that died is computed by another one.  However this ends, nothing that a
    worker is still at gets into the result.

    Passes over the input are shared out in sections, and what they find is saved beside the result;
    layers that are run on whole operands are run by this process.

    Raises UsageError where the result is not zarr, where a machine sees other files, and where the
    cluster fails.
    """
    _check_kind(job)
    check_input = job.watch()
    results = job.begin(journal)
    with failures(client), staging(job.request.out) as place:
        remove_abandoned(job.request.out, place)
        packed, missing = pickle.dumps(job), len(journal.done) < len(job.plan.pieces)
        saved = _passed(job, packed, journal.passes, client, place, tell) if missing else None
        futures = {
            client.submit(_computed, packed, saved, pieces, place, pure=False): pieces
            for pieces in job.plan.waiting(journal.done)
        }
        try:
            for future in _finished(client, futures, tell):
                computed: list[Staged] = future.result()
                for staged in computed:
                    place.take(job, staged, results)
                    check_input()
                    journal.record(staged.done)
                    advance(_nbytes(job, staged.done.piece))
        finally:
            _cancel(client, futures)
    job.results.finish()
    journal.clear()
    job.check_input(journal)


def _check_kind(job: Job) -> None:
    inner = job.work.work if isinstance(job.work, MaskedWork) else None
    if isinstance(inner, StreamWork) and inner.passes:
        raise UsageError(
            "Workers share no passes of a job with --mask or --nodata; leave out these, or "
            "--dask and --devices."
        )
    if job.plan.in_order:
        raise UsageError(
            "With --cache both each strip needs what the one before has kept, so workers have "
            "nothing to share; use --cache rows, or leave out --dask and --devices."
        )
    if any(".zarr" not in (part.suffix for part in (f.path, *f.path.parents)) for f in job.files):
        raise UsageError("Several machines write one result only if it is zarr; name OUT.zarr.")


def _passed(
    job: Job, packed: bytes, saved: Checkpoint, client: Client, place: Staging, tell: Teller
) -> Checkpoint | None:
    """Go through the passes that are missing; where what they found is saved, None without any."""
    if not isinstance(job.work, StreamWork) or not job.work.passes:
        return None

    def sharing(number: int, sections: int) -> Iterator[PassSection]:
        futures = {
            client.submit(_shared, packed, saved, number, one, place, pure=False): one
            for one in range(sections)
        }
        waiting, taken = dict[int, tuple[str, Share]](), 0
        try:
            for future in _finished(client, futures, tell):
                waiting[futures[future]] = future.result()
                while taken in waiting:
                    yield from place.take_share(*waiting.pop(taken))
                    taken += 1
        finally:
            _cancel(client, futures)

    prepared_by(job.work, job.request.view(), saved, sharing)
    return saved


def _workers(client: Client, tell: Teller) -> list[str]:
    """The addresses of the workers, of which there is at least one."""
    begun, told = time.monotonic(), False
    while not (addresses := list(client.nthreads())):
        waited = time.monotonic() - begun
        if waited > PATIENCE:
            raise no_worker(client, PATIENCE)
        if waited > _SILENCE and not told:
            tell(f"waiting for a worker, at most {PATIENCE:.0f} s")
            told = True
        time.sleep(_PAUSE)
    return addresses


def _finished(
    client: Client, futures: dict[Future[Any], Any], tell: Teller
) -> Iterator[Future[Any]]:
    """The futures as they end.  Raises UsageError where there are no workers for too long."""
    ready = as_completed(futures)
    looked = time.monotonic()
    while not ready.is_empty():
        batch = ready.next_batch(block=False)
        yield from batch
        if batch:
            looked = time.monotonic()
        elif client.status != "running":
            raise scheduler_gone(str(getattr(client.scheduler, "address", "")))
        elif time.monotonic() - looked > _SILENCE:
            _workers(client, tell)
            looked = time.monotonic()
        else:
            time.sleep(_PAUSE)


def _cancel(client: Client, futures: dict[Future[Any], Any]) -> None:
    """Let workers drop what they have not begun; what they are at ends in a folder that is gone."""
    if client.status == "running":
        with suppress(Exception):
            client.cancel(list(futures), force=True)


def _environments(
    client: Client, packed: bytes, place: Staging, tell: Teller
) -> list[dict[str, str]]:
    """What each worker says of itself, once it has planned the job.

    Raises UsageError where one cannot take part, WorkersDiedError where they die over it.
    """
    for _ in range(_TRIES):
        _workers(client, tell)
        told = client.run(_prepared, packed, place, on_error="return")
        for address, one in told.items():
            if isinstance(one, FieldwiseError):
                raise UsageError(
                    f"The worker at {address} cannot take part: {one}  It needs the same packages, "
                    "files and modules of your own (on its PYTHONPATH) as this machine."
                ) from one
            if isinstance(one, Exception) and not isinstance(one, OSError):
                raise one
        if told and not any(isinstance(one, OSError) for one in told.values()):
            return list(told.values())
        time.sleep(_SILENCE)
    raise WorkersDiedError


# -------------------------------------------------------------------- what a worker does


def _prepared(packed: bytes, place: Staging) -> dict[str, str]:
    place.check_seen()
    return _job(packed).environment


def _computed(
    packed: bytes, saved: Checkpoint | None, pieces: Sequence[int], place: Staging
) -> list[Staged]:
    return place.compute(_job(packed, saved), pieces)


def _shared(
    packed: bytes, saved: Checkpoint, finished: int, section: int, place: Staging
) -> tuple[str, Share]:
    return place.share(_job(packed), saved, finished, section)


def _job(packed: bytes, saved: Checkpoint | None = None) -> Job:
    """The last job of this process, planned once; with what is saved of its passes, if any."""
    with _LOCK:
        if packed not in _JOBS:
            _JOBS.clear()
            _JOBS[packed] = pickle.loads(packed)
        job = _JOBS[packed]
        if saved is None or not isinstance(job.work, StreamWork):
            return job
        key = packed + saved.run.encode()
        if key not in _JOBS:
            work = prepared_from(job.work, job.request.view(), saved)
            _JOBS[key] = replace(job, work=work)
        return _JOBS[key]


def _nbytes(job: Job, number: int) -> int:
    boxes = zip(job.plan.pieces[number].writes, job.plan.outputs, strict=True)
    return sum(prod(hi - lo for lo, hi in box) * out.dtype.itemsize for box, out in boxes)


_LOCK = threading.Lock()
_JOBS: dict[bytes, Job] = {}
