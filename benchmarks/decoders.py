"""Decoders streamed: how far they look ahead, what they keep, and whether they equal the whole.

    python benchmarks/decoders.py                  all of them
    python benchmarks/decoders.py --only Wan LTX   those whose names hold one of these

The networks are those of transformers, diffusers, torchaudio, vocos, demucs, cellpose 3, MONAI and
dynamic_network_architectures, of small width and without weights; those whose package is missing
are left out.  The whole and the stream run in processes of their own, so that a peak is their
own; processor time is that of one thread, the median of the runs.  Errors are the largest over the
output, in standard deviations of the whole's.  TorchStream takes part where it is installed, on
what is one sequence.  A whole run writes docs/decoders.md.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from decoder_cases import CASES, Case, example, named
from torch import Tensor, nn

DOCS = Path(__file__).parents[1] / "docs"
RUNS = 3
SECONDS = 600
PACKAGES = (
    "torch", "transformers", "diffusers", "torchaudio", "vocos", "demucs", "cellpose", "monai",
    "dynamic_network_architectures", "torchstream-lib",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """One way to the result.

    seconds: of processor time, the median of the runs
    mebibytes: by which the process grew
    refused: why there is no result, or None
    """

    seconds: float = 0.0
    mebibytes: float = 0.0
    refused: str | None = None


# ------------------------------------------------------------------------------ in a process


def whole(case: Case, out: Path) -> Run:
    """The network on the whole input."""
    model = network(case)
    return measured(model, case, out)


def streamed(case: Case, out: Path) -> Run:
    """Band by band."""
    from fieldwise.tile import StreamError
    from fieldwise.tile import streamed as engine

    model = network(case)
    try:
        run = engine(model, case.shape, axis=case.axis, band=case.band, **case.options)
        return measured(run, case, out)
    except StreamError as error:
        return Run(refused=str(error))


def rival(case: Case, out: Path) -> Run:
    """TorchStream's parameters are solved for, which is what takes its time; then it streams."""
    from torchstream import SeqSpec, SlidingWindowStream, find_sliding_window_params

    model, x = network(case), example(case)
    with torch.no_grad():
        result = model(x)
    spec, made = (list(tensor.shape) for tensor in (x, result))
    spec[case.axis] = made[-1] = -1
    begun = time.process_time()
    try:
        found = find_sliding_window_params(
            trsfm=model, in_spec=SeqSpec(*spec), out_spec=SeqSpec(*made),
            max_in_out_seq_size=4 * max(x.shape[case.axis], result.shape[-1]),
        )  # fmt: skip
        seconds = time.process_time() - begun
        stream = SlidingWindowStream(model, found[0], SeqSpec(*spec), SeqSpec(*made))
        chunks = stream.forward_in_chunks_iter(x, chunk_size=case.band)
        torch.save(torch.cat([chunk.data[0] for chunk in chunks], -1), out)
    except Exception as error:  # noqa: BLE001 (whatever it says is what the table says)
        return Run(time.process_time() - begun, refused=f"{type(error).__name__}: {error}")
    return Run(seconds)


def facts(case: Case, _: Path) -> dict[str, Any]:
    """What ``fieldwise.latency`` says of it."""
    import fieldwise

    found = fieldwise.latency(network(case), case.shape, axis=case.axis, rate=case.rate)
    row = found.rows[0]
    return {
        "causal": row.causal,
        "all_past": row.all_past,
        "look_ahead": _number(row.look_ahead),
        "past": _number(row.past),
        "why": row.why,
        "state_bytes": found.state_bytes,
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def network(case: Case) -> nn.Module:
    """The network of a case, the same each time."""
    torch.manual_seed(0)
    return case.build().eval()


def measured(call: Callable[[Tensor], Tensor], case: Case, out: Path) -> Run:
    """Runs of it, and its result in a file; what libraries load at first use is loaded before."""
    x = example(case)
    with torch.no_grad():
        if case.warm:
            call(x.narrow(case.axis, 0, case.warm))
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        begun = time.process_time()
        result = call(x)
        seconds = [time.process_time() - begun]
        peak = _memory("VmHWM")
        for _ in range(RUNS - 1):
            begun = time.process_time()
            call(x)
            seconds.append(time.process_time() - begun)
    torch.save(result, out)
    return Run(statistics.median(seconds), max(peak - before, 0) / 2**20)


def _memory(kind: str) -> int:
    """Of this process, in bytes."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


WAYS: dict[str, Callable[[Case, Path], Any]] = {
    "whole": whole,
    "streamed": streamed,
    "rival": rival,
    "facts": facts,
}


# ------------------------------------------------------------------------------ all of them


def apart(way: str, case: Case, out: Path) -> Any:
    """What a way says, from a process of its own; None if it took too long or fell over."""
    command = [sys.executable, __file__, "--way", way, "--name", case.name, "--out", str(out)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def row(case: Case, folder: Path) -> dict[str, Any]:
    """All that the table says of a network."""
    found = {way: apart(way, case, folder / way) for way in ("whole", "streamed", "facts")}
    if find_spec("torchstream") and len(case.shape) == 3:
        found["rival"] = apart("rival", case, folder / "rival")
    found["error"] = error(folder / "whole", folder / "streamed")
    found["rival error"] = error(folder / "whole", folder / "rival")
    return {"name": case.name, **found}


def error(wanted: Path, given: Path) -> float | None:
    """The largest difference in standard deviations; infinite where shapes differ."""
    if not given.exists() or not wanted.exists():
        return None
    one, two = torch.load(wanted), torch.load(given)
    if one.shape != two.shape:
        return float("inf")
    return float((one - two).abs().max() / one.std())


def available(case: Case) -> bool:
    """Whether the package that carries it is there."""
    try:
        case.build()
    except ModuleNotFoundError as missing:
        print(f"{case.name}: {missing.name} is not installed", file=sys.stderr)
        return False
    return True


# ------------------------------------------------------------------------------ the page


HEAD = (
    "network", "causal", "looks ahead", "sees back", "state", "error", "CPU / whole",
    "MiB / whole", "TorchStream: solving, error",
)  # fmt: skip


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The page."""
    exact = sum(row["error"] is not None for row in rows)
    lines = [
        "# Decoders, streamed",
        "",
        f"{len(rows)} networks of small width, without weights: {exact} streamed, "
        f"{len(rows) - exact} refused.  {versions()}, {date.today():%d %B %Y}.",
        "",
        "*Looks ahead* and *sees back* are in input samples from a row's own position, *state* is "
        "what is kept between two chunks of a live stream, *error* the largest difference from "
        "the whole result in standard deviations of it; – is what has no bound or is not known.  "
        "CPU and memory are those of the stream over those of the whole, in processes of their "
        "own.  Regenerate with `python benchmarks/decoders.py`.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "| --- |" + " ---: |" * (len(HEAD) - 1),
        *("| " + " | ".join(cells(row)) + " |" for row in rows),
    ]
    refused = [row for row in rows if row["error"] is None]
    if refused:
        lines += ["", "## Refused", ""]
        lines += [f"- **{row['name']}**: {reason(row)}" for row in refused]
    return "\n".join(lines) + "\n"


def run_again(page: str, rows: Sequence[dict[str, Any]]) -> str:
    """The page with these lines anew, where they are those of networks that are streamed."""
    lines = page.splitlines()
    for row in rows:
        assert row["error"] is not None, f"{row['name']} is refused; run all"
        line = "| " + " | ".join(cells(row)) + " |"
        lines = [line if one.startswith(f"| {row['name']} |") else one for one in lines]
        lines = [one for one in lines if not one.startswith(f"- **{row['name']}**")]
    table = [one for one in lines if one.startswith("| ")][2:]
    refused = sum(" refused |" in one for one in table)
    lines[2] = re.sub(
        r"^\d+ networks (.*): \d+ streamed, \d+ refused",
        rf"{len(table)} networks \1: {len(table) - refused} streamed, {refused} refused",
        lines[2],
    )
    return "\n".join(lines) + "\n"


def cells(row: dict[str, Any]) -> list[str]:
    """One line of the table."""
    facts, whole, run = (row[way] or {} for way in ("facts", "whole", "streamed"))
    past = "all" if facts.get("all_past") else _shown(facts.get("past"))
    kept = facts.get("state_bytes")
    streamed = row["error"] is not None
    return [
        row["name"],
        _causal(facts),
        _shown(facts.get("look_ahead")),
        past,
        "–" if kept is None else f"{kept / 1024:.1f} KiB",
        f"{row['error']:.1e}" if streamed else "refused",
        f"{run['seconds'] / whole['seconds']:.2f}" if streamed else "–",
        f"{run['mebibytes']:.0f} / {whole['mebibytes']:.0f}" if streamed else "–",
        _rival(row),
    ]


def _causal(facts: dict[str, Any]) -> str:
    """Whether rows see nothing ahead, where that is known."""
    if facts.get("causal"):
        return "yes"
    return "–" if facts.get("look_ahead") is None else "no"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _rival(row: dict[str, Any]) -> str:
    if "rival" not in row:
        return "–"
    run = row["rival"]
    if run is None:
        return f"none after {SECONDS} s"
    if run["refused"]:
        return f"{run['seconds']:.0f} s, failed ({run['refused'].split(':')[0]})"
    return f"{run['seconds']:.0f} s, {row['rival error']:.1e}"


def reason(row: dict[str, Any]) -> str:
    """Why it is refused, in one line."""
    run = row["streamed"]
    return "no answer" if run is None else " ".join(run["refused"].split())


def versions() -> str:
    """Of what took part."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for, and write the page after a whole run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--again", action="store_true", help="write the lines of --only")
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--name")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    if asked.way:
        found = WAYS[asked.way](named(asked.name), asked.out)
        print(json.dumps(asdict(found) if isinstance(found, Run) else found))
        return
    rows = []
    for case in CASES:
        wanted = not asked.only or any(part.lower() in case.name.lower() for part in asked.only)
        if wanted and available(case):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(row(case, Path(folder)))
            print(" | ".join(cells(rows[-1])), flush=True)
    if not asked.only:
        (DOCS / "decoders.md").write_text(markdown(rows), encoding="utf-8")
    elif asked.again:
        page = (DOCS / "decoders.md").read_text(encoding="utf-8")
        (DOCS / "decoders.md").write_text(run_again(page, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
