"""fieldwise beside TorchLens and TorchStream, on the same networks.

    make peers                   in a venv of its own, with what it takes
    python benchmarks/peers.py   in any environment that has fieldwise, torchvision, torchlens
                                 and torchstream-lib (pip install torchlens torchstream-lib)

TorchLens computes receptive fields by rules, as fieldwise does; it is asked for the box that a
unit sees, at a corner of the output, in its middle and beside that.  Truth is fieldwise's gradient
probe, which differentiates the recorded calls in float64 and does not look at any rule: the
smallest box around all inputs with a derivative.  TorchStream finds the window of a model by
running it on NaN; it is asked to stream, and truth is the model on the whole signal, in float64.

Every question has a process of its own and a time limit.  Times are ratios of medians, in turns
with fieldwise, on the CPU with one thread; a tool's model and its example are built before.  A
whole run writes the table of docs/comparison.md between its marks.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peers_networks import IMAGES, SIGNALS, Network
from torch import Tensor

from fieldwise import receptive_fields
from fieldwise.capture.torch.running import copied, doubled
from fieldwise.field.probes.gradient import GradientProbe
from fieldwise.tile import streamed

PAGE = Path(__file__).parents[1] / "docs" / "comparison.md"
BEGIN, END = "<!-- peers -->", "<!-- end of peers -->"
SECONDS = 300
ROUNDS = 3
CHUNK = 40

Box = tuple[tuple[int, int], ...]
"""Per spatial axis of the input, the first index that is seen and one past the last."""

Answer = tuple[Box, bool]
"""The box, and whether the tool calls it exact."""


class NoAnswerError(Exception):
    """A tool says that it does not know."""


# ------------------------------------------------------------------------------ receptive fields


def units(spatial: Sequence[int]) -> list[tuple[int, ...]]:
    """Output positions: a corner, the middle, and the one beside it."""
    middle = tuple(size // 2 for size in spatial)
    beside = tuple(min(at + 1, size - 1) for at, size in zip(middle, spatial, strict=True))
    return list(dict.fromkeys([(0,) * len(spatial), middle, beside]))


def by_fieldwise(network: Network) -> Callable[[], Callable[[tuple[int, ...]], Answer]]:
    """Capture and closed forms of all layers; then boxes of units."""
    model, x = network.made(), torch.randn(network.shape)

    def run() -> Callable[[tuple[int, ...]], Answer]:
        report = receptive_fields(model, x)
        last = report[report.rows[-1].name]  # this computes every row

        def at(unit: tuple[int, ...]) -> Answer:
            seen = last.at(*unit)
            hull = tuple((lo, hi + 1) for lo, hi in zip(seen.lo, seen.hi, strict=True))
            return hull, last.row.exact

        return at

    return run


def by_torchlens(network: Network) -> Callable[[], Callable[[tuple[int, ...]], Answer]]:
    """A trace, of which TorchLens's rules solve all layers at once; then boxes of units."""
    import torchlens

    model, x = network.made(), torch.randn(network.shape)

    def run() -> Callable[[tuple[int, ...]], Answer]:
        trace = torchlens.trace(model, x)
        view = trace.output_ops[0].receptive_field
        status = view.status.value  # this solves the trace

        def at(unit: tuple[int, ...]) -> Answer:
            if status == "whole_input":
                return tuple((0, size) for size in network.shape[2:]), True
            if status in ("unknown", "unsupported", "data_dependent"):
                raise NoAnswerError(f"it says '{status}'")
            box = view.at(unit)
            return tuple(
                (side.clipped_start, side.clipped_stop) for side in box.axes[2:]
            ), box.exact

        return at

    return run


FIELDS = {"fieldwise": by_fieldwise, "TorchLens": by_torchlens}


def judged_field(network: Network, tool: str) -> dict[str, object]:
    """What a tool says of a network, held against the probe; its time over fieldwise's."""
    made = network.made()
    with torch.no_grad():
        spatial = made(torch.randn(network.shape)).shape[2:]
    probe = GradientProbe(made, torch.randn(network.shape))
    run = FIELDS[tool](network)
    try:
        at = run()
        found = [at(unit) for unit in units(spatial)]
    except NoAnswerError as error:
        return {"verdict": "no answer", "why": str(error)}
    except Exception as error:  # noqa: BLE001  (whatever another tool raises is its refusal)
        return {"verdict": "refuses", "why": _line_of(error)}
    verdicts = []
    for unit, (box, exact) in zip(units(spatial), found, strict=True):
        seen = probe.field(None, unit)
        truth = tuple((lo, hi + 1) for lo, hi in zip(seen.lo, seen.hi, strict=True))
        verdicts.append(_verdict(box, truth, exact=exact))
    verdict = max(verdicts, key=_ORDER.index)
    return {"verdict": verdict, "ratio": None if tool == "fieldwise" else _ratio(
        run, FIELDS["fieldwise"](network))}  # fmt: skip


def _verdict(box: Box, truth: Box, *, exact: bool) -> str:
    if box == truth:
        return "right" if exact else "right, called a bound"
    holds = all(a <= c and b >= d for (a, b), (c, d) in zip(box, truth, strict=True))
    return "a bound" if holds and not exact else "wrong"


_ORDER = ["right", "right, called a bound", "a bound", "wrong"]


# ------------------------------------------------------------------------------ streams


def by_streamed(network: Network) -> Callable[[], Callable[[Tensor], Tensor]]:
    """The stream of fieldwise: planned without running the model."""
    model = doubled(copied(network.made()))
    example = torch.randn(network.shape, dtype=torch.float64)

    def run() -> Callable[[Tensor], Tensor]:
        found = streamed(model, example, axis=-1, band=CHUNK)
        found.plan(example.shape)
        return found

    return run


def by_torchstream(network: Network) -> Callable[[], Callable[[Tensor], Tensor]]:
    """The window that TorchStream's solver finds by runs on NaN, and a stream with it."""
    from torchstream import SeqSpec, SlidingWindowStream, find_sliding_window_params

    logging.getLogger("torchstream").setLevel(logging.ERROR)
    model = doubled(copied(network.made()))
    with torch.no_grad():
        channels = model(torch.randn(network.shape, dtype=torch.float64)).shape[1]
    taken = SeqSpec(1, network.shape[1], -1, dtype=torch.float64)
    given = SeqSpec(1, channels, -1, dtype=torch.float64)

    def run() -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            (params, *_) = find_sliding_window_params(model, taken, given)

        def stream(signal: Tensor) -> Tensor:
            found = SlidingWindowStream(model, params, taken, given)
            with torch.no_grad():
                rows = [
                    chunk.data[0]
                    for chunk in found.forward_in_chunks_iter(signal, chunk_size=CHUNK)
                    if chunk.size
                ]
            return torch.cat(rows, -1)

        return stream

    return run


STREAMS = {"fieldwise": by_streamed, "TorchStream": by_torchstream}


def judged_stream(network: Network, tool: str) -> dict[str, object]:
    """Whether the stream that a tool makes of a network gives what the whole signal gives."""
    model, signal = doubled(copied(network.made())), torch.randn(network.shape, dtype=torch.float64)
    with torch.no_grad():
        wanted = model(signal)
    run = STREAMS[tool](network)
    try:
        found = run()(signal)
    except Exception as error:  # noqa: BLE001  (as above)
        return {"verdict": "refuses", "why": _line_of(error)}
    same = found.shape == wanted.shape and bool(
        (found - wanted).abs().max() <= 1e-9 * wanted.abs().max()
    )
    ratio = None if tool == "fieldwise" else _ratio(run, STREAMS["fieldwise"](network))
    return {"verdict": "right" if same else "wrong", "ratio": ratio}


# ------------------------------------------------------------------------------ time and processes


def _ratio(run: Callable[[], Any], base: Callable[[], Any]) -> float | None:
    """How many times as long a tool's analysis takes as fieldwise's; None where that refuses."""
    times: dict[int, list[float]] = {0: [], 1: []}
    try:
        base()
    except Exception:  # noqa: BLE001
        return None
    for _ in range(ROUNDS):
        for number, function in enumerate((run, base)):
            start = time.process_time()
            function()
            times[number].append(time.process_time() - start)
    return statistics.median(times[0]) / statistics.median(times[1])


def _line_of(error: BaseException) -> str:
    """The error and its first sentence."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0].split('. ')[0].rstrip(':')}"


KINDS: dict[str, tuple[Sequence[Network], Callable[[Network, str], dict[str, object]], list[str]]]
KINDS = {
    "field": (IMAGES, judged_field, list(FIELDS)),
    "stream": (SIGNALS, judged_stream, list(STREAMS)),
}


def asked(kind: str, network: Network, tool: str) -> dict[str, Any]:
    """The answer of one tool, from a process of its own."""
    command = [sys.executable, __file__, "--one", kind, network.name, tool]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except subprocess.TimeoutExpired:
        return {"verdict": f"none within {SECONDS} s"}
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        return {"verdict": "refuses", "why": last[:160]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# ------------------------------------------------------------------------------ the page


def table(kind: str, answers: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """A row per network: what each tool says, and how long the peer takes."""
    tools = KINDS[kind][2]
    peer = tools[1]
    lines = [f"| network | {' | '.join(tools)} | time of {peer} |", "| --- | --- | --- | --- |"]
    for name, by_tool in answers.items():
        ratio = by_tool[peer].get("ratio")
        spent = "–" if ratio is None else f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×"
        cells = " | ".join(_cell(by_tool[tool]) for tool in tools)
        lines.append(f"| {name} | {cells} | {spent} |")
    return lines


def _cell(found: dict[str, Any]) -> str:
    why = found.get("why")
    return str(found["verdict"]) + (f": {_escaped(why)}" if why else "")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def page(answers: dict[str, dict[str, dict[str, dict[str, Any]]]]) -> str:
    """The tables with what they are of."""
    names = ("torch", "torchvision", "torchlens", "torchstream-lib")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    text = [
        BEGIN,
        "",
        f"`make peers` with {versions}, on the CPU, one thread; times are over fieldwise's.",
        "",
        *table("field", answers["field"]),
        "",
        *table("stream", answers["stream"]),
        "",
        END,
    ]
    return "\n".join(text)


def main(arguments: Sequence[str]) -> int:
    """Ask, print, and write the page unless some networks alone are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, default=None)
    parser.add_argument("--only", default=None, help="networks whose name holds this")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.one is not None:
        kind, name, tool = given.one
        networks, judged, _ = KINDS[kind]
        network = next(one for one in networks if one.name == name)
        print(json.dumps(judged(network, tool)))
        return 0
    answers: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for kind, (networks, _, tools) in KINDS.items():
        chosen = [one for one in networks if given.only is None or given.only in one.name]
        answers[kind] = {}
        for network in chosen:
            answers[kind][network.name] = {tool: asked(kind, network, tool) for tool in tools}
            print(table(kind, answers[kind])[-1], flush=True)
    if given.only is None:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        PAGE.write_text(f"{before}{page(answers)}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
