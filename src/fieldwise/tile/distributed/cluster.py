"""A job on a dask.distributed cluster: workers compute pieces and write them, one place records."""

from __future__ import annotations

import pickle
import threading
from math import prod
from typing import Any

from distributed import Client, as_completed

from fieldwise.errors import UsageError
from fieldwise.tile.jobs.job import Job
from fieldwise.tile.jobs.journal import Journal
from fieldwise.tile.jobs.run import Advance


def run_on_cluster(
    job: Job, journal: Journal, client: Client, *, advance: Advance = lambda _: None
) -> None:
    """Compute what is missing on the workers of a cluster.

    All machines must see the same files.  A piece that was on a worker that died is computed by
    another one; it is recorded once its chunks are on disk.

    Raises UsageError where the result is not zarr, the only format of which several machines can
    write parts at a time, for ``global_ops='multipass'``, and where a machine sees other files.
    """
    if any(".zarr" not in (part.suffix for part in (f.path, *f.path.parents)) for f in job.files):
        raise UsageError("Several machines write one result only if it is zarr; name OUT.zarr.")
    if job.request.global_ops == "multipass":
        raise UsageError(
            "Passes over the whole input are not shared between machines; run the job on one "
            "machine, or leave --global-ops out."
        )
    job.begin(journal)
    packed = pickle.dumps(job)
    futures = {
        client.submit(_write, packed, piece.number, pure=False): piece.number
        for piece in job.plan.pieces
        if piece.number not in journal.done
    }
    for future in as_completed(futures):
        future.result()
        number = futures[future]
        journal.record(number)
        advance(_nbytes(job, number))
    journal.clear()
    job.check_input()


def _write(packed: bytes, piece: int) -> None:
    with _LOCK:
        if packed not in _JOBS:
            _JOBS.clear()
            _JOBS[packed] = pickle.loads(packed)
        job = _JOBS[packed]
    job.write(piece)


def _nbytes(job: Job, number: int) -> int:
    boxes = zip(job.plan.pieces[number].writes, job.plan.outputs, strict=True)
    return sum(prod(hi - lo for lo, hi in box) * out.dtype.itemsize for box, out in boxes)


_LOCK = threading.Lock()
_JOBS: dict[bytes, Any] = {}
"""The last job of this process, planned once."""
