"""What a process grows by while a job runs, over what the plan of the job promises.

    python benchmarks/memory.py

Every run has a process of its own: the job is planned, a small one is run for what is set up once,
the peak of the resident memory is set back, the job is run.  Ways take turns; memory is the
largest growth of the rounds over the plan's bytes without weights, which are there before, and CPU
time, of one thread, a ratio of medians.  Linux alone tells such peaks.  A whole run writes the
table of docs/tile_benchmark.md between its marks.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from marks import write_between
from tile import PAGE, version_line

from fieldwise.cli.system_memory import give_back_freed, take_large_pages

ROUNDS = 3
SETTLED = 512

CASES: Mapping[str, tuple[str, int, Mapping[str, object]]] = {
    "bands of 64 rows": ("U-Net", 1024, {"band": 64}),
    "bands of 256 rows": ("U-Net", 2048, {"band": 256}),
    "strips of 512 columns, rows kept": ("U-Net", 2048, {"band": 64, "strip": 512}),
    "strips of 512 columns, both kept": (
        "U-Net",
        2048,
        {"band": 64, "strip": 512, "cache": "both"},
    ),
    "crops of 512": ("U-Net", 2048, {"engine": "halo", "tile": 512}),
    "bands of 64 rows of 2048": ("ResNet-50", 2048, {"band": 64}),
    "bands of 256 rows of 2048": ("ResNet-50", 2048, {"band": 256}),
}
"""Per way, the network, the height and width of the image, and what is asked of the job."""

SPECS = {"U-Net": "tile:UNet", "ResNet-50": "tile:trunk"}


def run_here(case: str, folder: Path, *, give_back: bool) -> dict[str, float]:
    """Bytes that the plan promises, bytes of growth and CPU seconds."""
    from fieldwise.tile.files import AxisLayout, open_source
    from fieldwise.tile.jobs import Request, job_model, plan_job

    torch.set_num_threads(1)
    network, size, asked = CASES[case]

    def planned(size: int):
        path = folder / f"{size}.npy"
        source = open_source(path)
        model = job_model(SPECS[network], f"1x3x{size}x{size}")
        out = folder / f"out-{size}.npy"
        return plan_job(Request(model, source, AxisLayout.of("CHW", rank=4), out, **asked))

    def done(job) -> float:
        start = time.process_time()
        with job.open(overwrite=True) as journal:
            job.run(journal)
        return time.process_time() - start

    done(planned(SETTLED))
    job = planned(size)
    module = job.request.model.call.model
    weights = sum(one.nbytes for one in (*module.parameters(), *module.buffers()))
    if give_back and not give_back_freed():
        raise SystemExit("Freed memory is given back by glibc alone.")
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    cpu = done(job)
    grown = _status("VmHWM") - before
    return {"promised": job.plan.peak_bytes - weights, "grown": grown, "cpu": cpu}


def _status(key: str) -> int:
    (kib,) = re.findall(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(kib) * 1024


def run(case: str, folder: Path, way: str) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", case, str(folder), way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(case: str, folder: Path, rounds: int) -> str:
    """A row of the table."""
    found: dict[str, list[dict[str, float]]] = {"kept": [], "back": []}
    for _ in range(rounds):
        for way, results in found.items():
            results.append(run(case, folder, way))
    promised = found["kept"][0]["promised"]
    kept, back = (max(one["grown"] for one in ones) / promised for ones in found.values())
    cpu = [statistics.median(one["cpu"] for one in ones) for ones in found.values()]
    network, size, _ = CASES[case]
    numbers = f"{promised / 2**20:.0f} | {kept:.2f} | {back:.2f} | {cpu[1] / cpu[0]:.2f}"
    line = f"| {network} | {size}² | {case} | {numbers} |"
    print(line, flush=True)
    return line


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=None)
    parser.add_argument("--one", nargs=3, default=None)
    given = parser.parse_args(arguments)
    if given.one is not None:
        case, folder, way = given.one
        print(json.dumps(run_here(case, Path(folder), give_back=way == "back")))
        return 0
    take_large_pages()
    with TemporaryDirectory() as name:
        folder = Path(name)
        for size in {SETTLED, *(size for _, size, _ in CASES.values())}:
            noise = np.random.default_rng(0).standard_normal((3, size, size), dtype=np.float32)
            np.save(folder / f"{size}.npy", noise)
        lines = [row(case, folder, given.rounds) for case in given.cases or CASES]
    if given.cases is None:
        write_between(PAGE, "memory", section(lines, given.rounds))
    return 0


def section(lines: Sequence[str], rounds: int) -> str:
    """The table, and what it says."""
    head = [
        "## What a process grows by",
        "",
        f"`python benchmarks/memory.py` on {version_line()}, CPU, 1 thread; {rounds} rounds, "
        "taken in turns. The plan's bytes are those without the model's weights, which are there "
        "before; growth is the largest of the rounds, over the plan's. Beside it the same where "
        "glibc gives back at once what is freed, as `fieldwise tile` has it do where the plan "
        "takes most of `--memory`, and the CPU time of that over the time without. Both with large "
        "pages, for which the command has torch ask.",
        "",
        "| network | image | way | plan, MiB | grown | freed memory given back | CPU time |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
