"""A job of ``fieldwise tile``, carried out on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from fieldwise.cli.cluster import client_on_devices, connected_client
from fieldwise.cli.console import warn
from fieldwise.cli.outcome import INTERRUPTED
from fieldwise.cli.progress import progress
from fieldwise.cli.tile_options import (
    RunOptions,
)

if TYPE_CHECKING:
    from distributed import Client

    from fieldwise.tile.jobs import Job, Journal


def run(job: Job, journal: Journal, client: Client | None, *, label: str = "") -> None:
    """Compute what is missing; on the workers of a cluster, where there is one.

    label: what stands before the bar
    """
    from fieldwise.cli.tile_progress import bar

    for warning in (journal.warning, journal.spoilt):
        if warning is not None:
            warn(warning)
    try:
        with bar(job.plan, journal.done, label) as advance:
            if client is None:
                job.run(journal, advance=advance)
            else:
                from fieldwise.tile.spread import run_on_cluster

                run_on_cluster(job, journal, client, advance=advance, tell=warn)
    except KeyboardInterrupt:
        done, number = len(journal.done), len(job.plan.pieces)
        remedy = "--resume goes on from there" if journal.helps else "--resume begins again"
        dropped = "" if client is None else "; what workers are still at is dropped"
        what = f"{done} of {number} pieces are on disk, and {remedy}{dropped}"
        typer.echo(f"Interrupted; {what}.", err=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def connected(running: RunOptions, job: Job, *, debug: bool) -> Iterator[Client | None]:
    """A client of a dask scheduler, once it is clear that its workers can carry out the job.

    Nothing of the results is touched.  None where one process does it all.
    """
    if not running.is_shared:
        yield None
        return
    if running.devices is not None:
        workers = client_on_devices(running.devices, debug=debug)
    else:
        assert running.cluster is not None
        workers = connected_client(running.cluster, debug=debug)
    with workers as client:
        from fieldwise.tile.spread import check_cluster

        with progress("asking the workers"):
            check_cluster(job, client, tell=warn)
        yield client
