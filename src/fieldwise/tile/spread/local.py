"""Workers on this machine: a process for each device, which sees no other."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from distributed import Client, Nanny, Scheduler, SpecCluster

from fieldwise.capture.torch.devices import find_device
from fieldwise.errors import UsageError

_HERE = "127.0.0.1"
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def find_devices(text: str) -> list[torch.device]:
    """The devices with these names, separated by commas; one may stand there several times.

    Raises UsageError for none, for one that is not here, and for several kinds.

    >>> find_devices("cpu,cpu")
    [device(type='cpu'), device(type='cpu')]
    """
    devices = [find_device(name.strip()) for name in text.split(",")]
    kinds = dict.fromkeys(device.type for device in devices)
    if len(kinds) > 1:
        raise UsageError(
            f"--devices {text} are of several kinds ({' and '.join(kinds)}), whose last bits "
            "differ; name devices of one kind."
        )
    return devices


def environment_of(
    device: torch.device, count: int, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables of a worker that computes on a device, one of so many.

    A worker on a card finds that card alone, as its first; those on the processor share its cores.

    >>> environment_of(torch.device("cuda:1"), 2, {"CUDA_VISIBLE_DEVICES": "4,7"})
    {'CUDA_VISIBLE_DEVICES': '7'}
    """
    if device.type == "cuda":
        number = device.index or 0
        visible = environment.get(_VISIBLE)
        return {_VISIBLE: str(number) if not visible else visible.split(",")[number].strip()}
    if device.type == "cpu":
        return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    return {}


@contextmanager
def local_workers(devices: Sequence[torch.device], *, verbose: bool = True) -> Iterator[Client]:
    """A client of a cluster of this machine, with a worker of one thread for each device.

    verbose: whether workers log what they do; warnings and errors they always do
    """
    workers = {
        number: {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "host": _HERE,
                "memory_limit": 0,
                "dashboard": False,
                "env": environment_of(device, len(devices)),
                "silence_logs": None if verbose else logging.WARNING,
            },
        }
        for number, device in enumerate(devices)
    }
    scheduler = {"cls": Scheduler, "options": {"host": _HERE, "port": 0, "dashboard": False}}
    with (
        SpecCluster(workers=workers, scheduler=scheduler, asynchronous=False) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(len(devices))
        yield client
