"""What goes wrong with a cluster, in a sentence with the remedy: it is never the model's fault."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

from distributed import Client, KilledWorker
from distributed.comm.core import CommClosedError

from fieldwise.errors import UsageError, said_by

_GONE = (CancelledError, asyncio.CancelledError, CommClosedError)


class WorkersDiedError(Exception):
    """One worker after another is gone in the middle of the same work."""


@contextmanager
def failures(client: Client) -> Iterator[None]:
    """Turn what dask raises when machines fail into UsageError; other errors pass."""
    address = _address(client)
    try:
        yield
    except (KilledWorker, WorkersDiedError) as error:
        raise UsageError(
            "One worker after another died over the same work, most likely of too little memory: "
            "give each more and --resume, or begin again with a smaller --memory and --overwrite."
        ) from error
    except _GONE as error:
        raise scheduler_gone(address) from error
    except ImportError as error:
        raise UsageError(
            f"A worker cannot import what the job needs ({said_by(error)}): install the same "
            "packages there as here, and put modules of your own on the workers' PYTHONPATH."
        ) from error
    except MemoryError as error:
        raise UsageError(
            "A worker has run out of memory: give each more and --resume, or begin again with a "
            "smaller --memory and --overwrite."
        ) from error
    except OSError as error:
        if client.status == "running":
            raise
        raise scheduler_gone(address) from error


def scheduler_gone(address: str) -> UsageError:
    """The error for a scheduler that does not answer any more."""
    return UsageError(
        f"The dask scheduler at {address} is gone; start it again with its workers, and --resume "
        "goes on from what is recorded."
    )


def no_worker(client: Client, seconds: float) -> UsageError:
    """The error for a cluster without workers."""
    address = _address(client)
    return UsageError(
        f"No worker was connected to the dask scheduler at {address} for {seconds:.0f} s; start "
        f"some with dask worker {address}, and --resume."
    )


def _address(client: Client) -> str:
    scheduler = client.scheduler
    return str(getattr(scheduler, "address", None) or "its address")
