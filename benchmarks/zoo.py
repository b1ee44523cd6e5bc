"""Every architecture that timm and torchvision list: is its field exact, and how far is it known?

    python benchmarks/zoo.py                      all of them, about half an hour on two cores
    python benchmarks/zoo.py 'timm:resnet*'       those whose spec matches a glob
    python benchmarks/zoo.py --update 'timm:...'  the same, and their rows are replaced

Each is built on the meta device (or, where the model computes with constants, without drawing its
weights), captured at its usual input size and analysed in closed form; its translation equivariance
is proven as it is and with periodic boundaries.  A whole run writes docs/zoo.md (totals and what is
not exact) and docs/zoo.csv (a line per architecture).
"""

from __future__ import annotations

import csv
import multiprocessing
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from fnmatch import fnmatchcase
from math import lcm
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
WORKERS = 2
SECONDS = 120
PER_WORKER = 12


@dataclass(frozen=True, slots=True)
class Result:
    """One architecture.

    status: 'exact' (bounded fields at every layer), 'full' (exact, the whole input from some
            layer on), 'opaque' (some op reads data-dependent positions) or 'failed'
    first:  for 'full' and 'opaque' the first value concerned; for 'failed' the error
    local:  largest extent through local paths alone, and its stride, along the last axis
    circular:  period at which all outputs move, or stay, along the last axis with periodic
               boundaries; empty where that is broken
    broken_by: the first node that breaks it then, and why
    interior:  of the model as it is: the last value with positions out of reach of the edges along
               that axis, and those positions
    """

    spec: str
    status: str
    first: str = ""
    why: str = ""
    values: int = 0
    products: int = 0
    sized: int = 0
    misaligned: int = 0
    local: str = ""
    circular: str = ""
    broken_by: str = ""
    interior: str = ""
    build_and_capture_ms: float = 0.0
    closed_ms: float = 0.0


def specs() -> list[str]:
    """All architectures of both zoos."""
    import timm
    from torchvision import models

    return [f"torchvision:{name}" for name in models.list_models()] + [
        f"timm:{name}" for name in timm.list_models()
    ]


def analyse(spec: str) -> Result:
    """Build, capture and analyse one architecture; every exception is a failure with its text."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(SECONDS)
    try:
        return analyse_here(spec)
    except (Exception, _TooSlow) as error:  # noqa: BLE001 - a benchmark counts whatever goes wrong
        text = " ".join(str(error).split())
        return Result(spec, "failed", f"{type(error).__name__}: {text[:200]}")
    finally:
        signal.alarm(0)


class _TooSlow(BaseException):
    """No ordinary exception: nothing on the way may take it for the model's own failure."""


def _give_up(*_: object) -> None:
    raise _TooSlow(f"no answer after {SECONDS} s")


def analyse_here(spec: str) -> Result:
    """The same without a limit of time; what goes wrong is raised."""
    import torch

    from fieldwise.capture.specs import load_model
    from fieldwise.capture.torch import capture
    from fieldwise.field import receptive_fields

    torch.set_num_threads(1)
    start = time.perf_counter()
    try:
        with torch.device("meta"):
            model = load_model(spec)
        graph = capture(model.source, model.example())
        report = receptive_fields(graph, ignore_global=True)
        valueless = any("meta device" in (row.why or "") for row in report.rows)
    except Exception:  # noqa: BLE001  some models compute with their constants
        valueless = True
    if valueless:
        model = load_model(spec, weights=False)
        start = time.perf_counter()
        graph = capture(model.source, model.example())
    captured = time.perf_counter()
    report = receptive_fields(graph, ignore_global=True)
    rows = report.rows
    closed = time.perf_counter()
    inexact = next((row for row in rows if not row.exact), None)
    full = next((row for row in rows if any(axis.full for axis in row.axes)), None)
    status = "opaque" if inexact else "full" if full else "exact"
    first = inexact or full
    circular, broken_by = _circular(model)
    return Result(
        spec=spec,
        status=status,
        first=first.name if first else "",
        why=(inexact.why or "") if inexact else "",
        values=len(rows),
        products=max(row.products for row in rows),
        sized=sum(row.at_this_size for row in rows),
        misaligned=sum(row.misaligned is not None for row in rows),
        local=_local(rows),
        circular=circular,
        broken_by=broken_by,
        interior=_interior(graph),
        build_and_capture_ms=round(1000 * (captured - start), 1),
        closed_ms=round(1000 * (closed - captured), 1),
    )


def _local(rows: Sequence[Any]) -> str:
    found = [
        (row.local[-1].extent, row.local[-1].stride)
        for row in rows
        if row.local and row.local[-1].extent is not None
    ]
    if not found:
        return ""
    extent, stride = max(found, key=lambda pair: (pair[0], pair[1] or 0))
    return f"{extent}/{'' if stride is None else stride}"


def _circular(model: Any) -> tuple[str, str]:
    """The period of all outputs with periodic boundaries, and else what breaks it."""
    from fieldwise.errors import UsageError
    from fieldwise.shift import certify
    from fieldwise.shift.repair import periodic_copy

    example = model.example()
    try:
        periodic = periodic_copy(model.source, example)
    except UsageError as error:
        return "", f"not made periodic: {error}"
    found = [output.axes[-1] for output in certify(periodic, example).outputs]
    for axis in found:
        if not axis.circular.holds:
            breaker = axis.broken_by[0]
            return "", f"{breaker.node}: {breaker.why}"
    return str(lcm(*(axis.circular.period for axis in found))), ""


def _interior(graph: Any) -> str:
    from fieldwise.shift import certify

    found = ""
    for certificate in certify(graph).by_value.values():
        inside = certificate.axes[-1].interior
        if inside.range is not None and inside.moves:
            start, stop = inside.range
            length = certificate.shape[inside.moves[0].dim]
            found = f"{certificate.name} {start}–{stop - 1} of {length}"
    return found


def run(chosen: Sequence[str]) -> Iterator[Result]:
    """The results as they come, from fresh processes so that memory is given back."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(WORKERS, maxtasksperchild=PER_WORKER) as pool:
        for number, result in enumerate(pool.imap_unordered(analyse, chosen), 1):
            told = f"{result.spec} {result.status} {result.first} {result.why}"
            print(f"{number}/{len(chosen)} {told}", flush=True)
            yield result


def write(results: Sequence[Result]) -> None:
    """docs/zoo.csv and docs/zoo.md."""
    DOCS.mkdir(exist_ok=True)
    with (DOCS / "zoo.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Result)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(result) for result in results)
    (DOCS / "zoo.md").write_text(markdown(results), encoding="utf-8")


def markdown(results: Sequence[Result]) -> str:
    """Totals, and the architectures that are opaque or failed, with the op or the error."""
    totals = Counter(result.status for result in results)
    lines = [
        "# The zoo",
        "",
        f"`python benchmarks/zoo.py` on {date.today()}, {_versions()}: "
        f"{len(results)} architectures.",
        "",
        "| status | architectures | meaning |",
        "| --- | --- | --- |",
        f"| exact | {totals['exact']} | every layer's field is exact and bounded |",
        f"| full | {totals['full']} | exact; from some layer on the whole input (global ops) |",
        f"| opaque | {totals['opaque']} | some op reads positions that depend on the data |",
        f"| failed | {totals['failed']} | not captured or not analysed |",
        "",
        f"Rows without a form independent of the input size: {sum(r.sized for r in results)} of "
        f"{sum(r.values for r in results)} "
        f"(in {sum(r.sized > 0 for r in results)} architectures). "
        f"Branches of different strides meet in {sum(r.misaligned > 0 for r in results)}. "
        f"Most products in one field: {max(r.products for r in results)}.",
        "",
        f"With periodic boundaries {sum(r.circular != '' for r in results)} are proven to be "
        "equivariant, at the period in the column `circular`. The others are broken by:",
        "",
        "| why | architectures |",
        "| --- | --- |",
        *(f"| {why} | {count} |" for why, count in _reasons(results)),
        "",
    ]
    for status, title in (("opaque", "Opaque"), ("failed", "Failed")):
        chosen = [result for result in results if result.status == status]
        if chosen:
            lines += [f"## {title}", "", "| architecture | where | why |", "| --- | --- | --- |"]
            lines += [f"| {r.spec} | {r.first} | {r.why} |" for r in chosen] + [""]
    return "\n".join(lines)


def _reasons(results: Sequence[Result]) -> list[tuple[str, int]]:
    """Why equivariance is broken, without the names of nodes and constants."""
    whys = (r.broken_by.split(": ", 1)[1] for r in results if r.broken_by)
    return Counter(re.sub(r"'[^']*'|\d+", "…", why) for why in whys).most_common()


def _versions() -> str:
    from importlib.metadata import version

    packages = ("fieldwise", "torch", "torchvision", "timm")
    return ", ".join(f"{package} {version(package)}" for package in packages)


def kept() -> dict[str, Result]:
    """The rows that docs/zoo.csv has, by spec."""
    with (DOCS / "zoo.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            Result(**{f.name: _KINDS[str(f.type)](row[f.name]) for f in fields(Result)})
            for row in csv.DictReader(file)
        ]
    return {row.spec: row for row in rows}


_KINDS: dict[str, Any] = {"str": str, "int": int, "float": float}


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; a partial run prints its totals and writes nothing unless asked to."""
    globs = [argument for argument in arguments if argument != "--update"]
    chosen = [s for s in specs() if not globs or any(fnmatchcase(s, glob) for glob in globs)]
    results = {result.spec: result for result in run(chosen)}
    print(Counter(result.status for result in results.values()))
    if not globs or "--update" in arguments:
        rows = (kept() if globs else {}) | results
        write([rows[spec] for spec in sorted(rows)])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
