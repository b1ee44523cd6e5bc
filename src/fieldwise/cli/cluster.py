"""The client of a dask cluster: one at an address, or workers on the devices of this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fieldwise.errors import UsageError

if TYPE_CHECKING:
    import torch
    from distributed import Client

CONNECT = "20s"


@contextmanager
def connected_client(address: str, *, debug: bool) -> Iterator[Client]:
    """A client of the scheduler at this address; what dask logs is kept quiet unless debug.

    Raises UsageError where dask is not installed, and where there is no scheduler.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise _no_dask(error) from error
    with quiet(not debug):
        try:
            client = Client(address, timeout=CONNECT)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"There is no dask scheduler at {address!r}; start one with dask scheduler."
            ) from error
        with client:
            yield client


@contextmanager
def client_on_devices(names: str, *, debug: bool) -> Iterator[Client]:
    """A client of workers on these devices of this machine, a process for each.

    debug: whether all that dask logs is shown, here and by the workers

    Raises UsageError where dask is not installed, and for devices that cannot be used.
    """
    devices = devices_named(names)
    from fieldwise.tile.spread.local import local_workers

    with quiet(not debug), local_workers(devices, verbose=debug) as client:
        yield client


def devices_named(names: str) -> list[torch.device]:
    """The devices of this machine with these names; see ``find_devices``."""
    try:
        from fieldwise.tile.spread.local import find_devices
    except ImportError as error:
        raise _no_dask(error) from error
    return find_devices(names)


def _no_dask(error: ImportError) -> UsageError:
    return UsageError(
        f"This needs dask.distributed ({error}); install it with pip install 'fieldwise[tile]'."
    )


@contextmanager
def quiet(wanted: bool) -> Iterator[None]:
    """Without what libraries log, up to errors: what goes wrong is told in a sentence."""
    before = logging.root.manager.disable
    if wanted:
        logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
