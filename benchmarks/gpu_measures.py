"""What benchmarks/gpu.py measures: times in turns, memory, the limits of a card, a profile."""

from __future__ import annotations

import copy
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from fieldwise.capture.torch.devices import is_out_of_memory
from fieldwise.version import __version__

Run = Callable[[], object]
LEAST_ROUNDS, MOST_ROUNDS = 3, 15


def seconds(run: Run, device: torch.device) -> float:
    """How long a call takes, until the device has done all of it."""
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    run()
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last) / 1000


def in_turns(runs: Mapping[str, Run], device: torch.device, until: float) -> dict[str, float]:
    """Medians of the times of calls that take turns, all warm.

    until: by ``time.monotonic``; past it, there are no more rounds than are needed for a median
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    failed: set[str] = set()
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and time.monotonic() > until:
            break
        for name, run in runs.items():
            if name in failed:
                continue
            try:
                times[name].append(seconds(run, device))
            except RuntimeError:  # what fitted alone need not fit beside the others
                failed.add(name)
                times[name] = []
    return {name: statistics.median(found) for name, found in times.items() if found}


WARM = 6
"""Calls after which what can be recorded is."""


def peak_bytes(run: Run, device: torch.device) -> int | None:
    """What a card holds at most while a call is repeated; None of a processor."""
    if device.type != "cuda":
        run()
        return None
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(WARM):
        run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)


def allocated(device: torch.device) -> int:
    """What a card holds now; 0 of a processor."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def fits(run: Run, device: torch.device) -> tuple[bool, int | None]:
    """Whether a call ends with the memory that there is, and what it holds at most."""
    try:
        return True, peak_bytes(run, device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return False, None


# ------------------------------------------------------------------------------ the limits


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device does at best, measured here: products of matrices, and copies.

    flops: operations per second, by type; bandwidth: bytes read and written per second
    """

    flops: Mapping[torch.dtype, float]
    bandwidth: float

    def of(self, work: Work, dtype: torch.dtype) -> tuple[float, float]:
        """The seconds that the operations, and the bytes, of some work take at least."""
        return work.flops / self.flops[dtype], work.bytes / self.bandwidth


def limits(device: torch.device, dtypes: Sequence[torch.dtype], *, small: bool) -> Limits:
    """Measured on the spot.  float32 as convolutions take it: as TF32, where torch allows that."""
    side, length = (256, 1 << 20) if small else (8192, 1 << 29)
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    products.fp32_precision = torch.backends.cudnn.conv.fp32_precision
    found = {}
    for dtype in dtypes:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        found[dtype] = 2 * side**3 / _best(lambda a=a, b=b: a @ b, device)
    products.fp32_precision = before
    x = torch.zeros(length, dtype=torch.float32, device=device)
    y = torch.empty_like(x)
    return Limits(found, 2 * x.nbytes / _best(lambda: y.copy_(x), device))


def _best(run: Run, device: torch.device) -> float:
    run()
    return min(seconds(run, device) for _ in range(5))


@dataclass(frozen=True, slots=True)
class Work:
    """Operations of a forward pass, and bytes that its ops read and write, one by one."""

    flops: int
    bytes: int


def work_of(model: nn.Module, x: Tensor) -> Work:
    """Counted on tensors without data."""
    twin, image = copy.deepcopy(model).to("meta"), x.to("meta")
    traffic = _Traffic()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        twin(image)
    with torch.no_grad(), traffic:
        twin(image)
    return Work(counter.get_total_flops(), traffic.bytes)


class _Traffic(TorchDispatchMode):
    """Sums up what each op that is no view reads and writes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        if not func.is_view:
            leaves = tree_leaves((args, kwargs, made))
            self.bytes += sum(x.nbytes for x in leaves if isinstance(x, Tensor))
        return made


# ------------------------------------------------------------------------------ a profile


@dataclass(frozen=True, slots=True)
class Profile:
    """Milliseconds and launches of a run, per step.

    wall:     from begin to end; host: of Python and torch on the processor
    launches: of kernels, replays of graphs counted as one; on a processor, ops
    kernels:  on the card; copies: those of them that copy, concatenate or fill
    """

    steps: int
    wall: float
    host: float
    launches: float
    kernels: float
    copies: float


KINDS = {
    "concatenations": ("cat",),
    "layouts": ("nchwto", "nhwcto"),
    "pools": ("pool",),
    "norms": ("norm", "bn_"),
    "convolutions": (
        "conv", "fprop", "dgrad", "gemm", "nvjet", "xmma", "cutlass", "cudnn", "winograd",
    ),
    "copies": ("copy", "memcpy", "fill", "memset", "clone", "pad", "_to"),
    "element by element": (
        "elementwise", "clamp", "relu", "add", "mul", "sigmoid", "silu", "gelu",
    ),
}  # fmt: skip
"""What kernels do, by a part of their names, the first that fits; ops of torch on a processor."""
_COPIES = ("concatenations", "copies", "layouts")


def kind_of(kernel: str) -> str:
    """Which of these a kernel is.

    >>> kind_of("void at::native::CatArrayBatchedCopy<...>"), kind_of("sm90_xmma_fprop_implicit")
    ('concatenations', 'convolutions')
    """
    name = kernel.lower().replace("aten::", "")
    found = (kind for kind, parts in KINDS.items() if any(part in name for part in parts))
    return next(found, "others")


def kernels_by_kind(run: Run, device: torch.device) -> dict[str, float]:
    """Seconds of a warm run by what kernels do; on a processor, of torch's ops."""
    for _ in range(WARM):
        run()
    events = _events(run, device)
    spent = Counter[str]()
    for name, time_spent in _work(events, device):
        spent[kind_of(name)] += time_spent / 1e6
    return {kind: spent[kind] for kind in (*KINDS, "others")}


def _events(run: Run, device: torch.device) -> EventList:
    on_card = device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    with profile(activities=kinds) as found:
        run()
        if on_card:
            torch.cuda.synchronize(device)
    return found.key_averages()


def _work(events: EventList, device: torch.device) -> list[tuple[str, float]]:
    """Names of kernels, or on a processor of ops, and their microseconds.

    On a card an op has the time of the kernels that it launched, beside those kernels themselves.
    """
    if device.type == "cuda":
        kernels = (event for event in events if event.device_type == DeviceType.CUDA)
        return [(event.key, event.self_device_time_total) for event in kernels]
    ops = (event for event in events if "aten::" in event.key)
    return [(event.key, event.self_cpu_time_total) for event in ops]


def profiled(run: Run, device: torch.device, steps: int) -> Profile:
    """A warm run, looked at by torch's profiler."""
    for _ in range(WARM):
        run()
    wall = seconds(run, device)
    events = _events(run, device)
    host = sum(event.self_cpu_time_total for event in events)
    if device.type == "cuda":
        launches = sum(event.count for event in events if "Launch" in event.key)
    else:
        launches = sum(event.count for event in events if event.key.startswith("aten::"))
    work = _work(events, device)
    kernels = sum(spent for _, spent in work)
    copies = sum(spent for name, spent in work if kind_of(name) in _COPIES)
    return Profile(
        steps,
        1000 * wall / steps,
        host / 1000 / steps,
        launches / steps,
        kernels / 1000 / steps,
        copies / 1000 / steps,
    )


def versions(device: torch.device) -> str:
    """The device and what ran on it, for people."""
    parts = [f"fieldwise {__version__}", f"torch {torch.__version__}"]
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        parts.insert(0, f"{card.name} ({card.total_memory >> 30} GiB)")
        parts += [f"CUDA {torch.version.cuda}", f"cuDNN {torch.backends.cudnn.version()}"]
    else:
        parts.insert(0, f"the processor, {torch.get_num_threads()} threads")
    return ", ".join(parts)


PAGE = Path(__file__).parents[1] / "docs" / "gpu.md"
