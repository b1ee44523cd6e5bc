"""Where and in what a model runs: devices by name, and what memory they have; types by name."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import nn

from fieldwise.errors import UsageError, said_by
from fieldwise.written import shown


def find_device(name: str) -> torch.device:
    """The device with this name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises UsageError for a name that is none, and for a device that is not here or cannot be used.

    >>> find_device("cpu")
    device(type='cpu')
    >>> find_device("gpu")
    Traceback (most recent call last):
    fieldwise.errors.UsageError: 'gpu' is no device; name cpu, cuda, cuda:1 or mps.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"{shown(name)} is no device; name cpu, cuda, cuda:1 or mps.") from error
    if device.type == "meta":
        raise UsageError("The meta device holds no values; name cpu, cuda, cuda:1 or mps.")
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise UsageError(
            f"The device {shown(name)} cannot be used here ({said_by(error)}); leave --device out "
            "to compute on the processor."
        ) from error
    return device


def described(device: torch.device) -> str:
    """A device for people, with the name of the card."""
    if device.type != "cuda":
        return str(device)
    return f"{device} {torch.cuda.get_device_name(device)}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says so, of a card or of the processor, which has no type for it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def usable_bytes(device: torch.device) -> int:
    """What a job may take of the memory that is free now: of four fifths the power of two below.

    So a run that is resumed is most often planned as before.  Raises UsageError where it is not
    known what is free.
    """
    free = free_bytes(device)
    if not free:
        raise UsageError(
            f"What memory {device} has free is not known here; give an amount, --memory 4GiB."
        )
    return 1 << (free * 4 // 5).bit_length() - 1


def free_bytes(device: torch.device) -> int | None:
    """The memory that can be had without anything being given up; None where that is not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _free_here() if device.type == "cpu" else None


def cast(module: nn.Module, dtype: str) -> nn.Module:
    """The module itself, with its weights in a type, ``bfloat16`` for example."""
    return module.to(getattr(torch, dtype))


def under_autocast(device: torch.device, dtype: str) -> AbstractContextManager[object]:
    """In which what is safe is computed in a type, ``bfloat16`` for example, on this device."""
    return torch.autocast(device.type, getattr(torch, dtype))


def total_bytes(device: torch.device) -> int | None:
    """The memory that a card has; None of other devices, and where that is not known."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return torch.mps.recommended_max_memory() if device.type == "mps" else None


def _free_here() -> int | None:
    """Linux says what is available; elsewhere what is unused has to do."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
