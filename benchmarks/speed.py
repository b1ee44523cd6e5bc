"""What an analysis costs, against one forward pass of the same model.

    python benchmarks/speed.py [--busy]

Ratios of medians, measured in one run with forward passes and analyses taking turns, on the CPU
with two threads.  ``--busy`` is for a machine that has other work: one thread, in CPU seconds; a
forward pass then takes up to twice as long, and what is said of it is as much less.  Writes
docs/speed.md.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from onnxruntime import InferenceSession
from start_up import ROUNDS as STARTS
from start_up import Start, measure_starts, start_table
from torch import nn

from fieldwise.axes.region import Shape
from fieldwise.capture.onnx import load_onnx
from fieldwise.capture.specs import load_model
from fieldwise.capture.torch import capture, meta_tensor
from fieldwise.capture.torch.alike import CALLS
from fieldwise.field import receptive_fields
from fieldwise.field.closed import FOUND
from fieldwise.field.rows import SUMMARIES

DOCS = Path(__file__).parents[1] / "docs"
MODELS = (
    "torchvision:resnet50",
    "torchvision:densenet121",
    "torchvision:inception_v3",
    "timm:convnext_tiny",
    "timm:swin_tiny_patch4_window7_224",
)
CONVOLUTIONAL = MODELS[:4]
ROUNDS = 11
BUSY = "--busy" in sys.argv
THREADS = 1 if BUSY else 2
CLOCK = time.process_time if BUSY else time.perf_counter
LARGE = 4096


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds, medians over the rounds.

    capture, closed: when nothing is known of what is alike, and the next time
    large:           of a whole analysis at another size, after one at the usual size
    """

    spec: str
    forward: float
    capture: tuple[float, float]
    closed: tuple[float, float]
    large: float | None

    def row(self) -> str:
        """A line of the table, in forward passes."""
        both = tuple(map(sum, zip(self.capture, self.closed, strict=True)))
        pairs = (self.capture, self.closed, both)
        each = " | ".join(f"{part / self.forward:.2f}" for pair in pairs for part in pair)
        large = "" if self.large is None else f"{self.large / both[0]:.2f}"
        return f"| {self.spec} | {each} | {large} |"


def measure(spec: str) -> Cost:
    """The forward pass and the two halves of the analysis, in turns."""
    model = load_model(spec, "1x3x224x224")
    module = model.source
    assert isinstance(module, nn.Module)
    example = torch.randn(1, 3, 224, 224)
    wide = meta_tensor((1, 3, LARGE, LARGE))
    times: dict[str, list[float]] = defaultdict(list)

    def forward() -> None:
        with torch.inference_mode():
            module(example)

    forward()
    for _ in range(ROUNDS):
        times["forward"].append(seconds(forward))
        forget()
        for turn in ("first", "again"):
            times[f"capture {turn}"].append(seconds(lambda: capture(module, example)))
            graph = capture(module, example)
            closed = seconds(lambda graph=graph: receptive_fields(graph).rows)
            times[f"closed {turn}"].append(closed)
        if spec in CONVOLUTIONAL:
            times["large"].append(seconds(lambda: receptive_fields(module, wide).rows))
    medians = {name: statistics.median(values) for name, values in times.items()}
    captures, forms = (
        (medians[f"{part} first"], medians[f"{part} again"]) for part in ("capture", "closed")
    )
    return Cost(spec, medians["forward"], captures, forms, medians.get("large"))


def forget() -> None:
    """Nothing is known of calls, values and rows that are alike."""
    for known in (CALLS, FOUND, SUMMARIES):
        known.clear()


@dataclass(frozen=True, slots=True)
class FileCost:
    """Seconds for an ONNX file, medians over the rounds; a session is ONNX Runtime's."""

    name: str
    nodes: int
    loaded: float
    captured: float
    closed: float
    session: float

    def row(self) -> str:
        """A line of the table: milliseconds a node, and the whole over a session."""
        parts = (self.loaded, self.captured, self.closed, self.session)
        each = " | ".join(f"{1000 * part / self.nodes:.2f}" for part in parts)
        whole = (self.loaded + self.captured + self.closed) / self.session
        return f"| {self.name} | {self.nodes} | {each} | {whole:.1f} |"


def measure_file(name: str, path: Path, shape: Shape) -> FileCost:
    """Reading, recording and analysing a file, and making a session of it, in turns."""
    example = meta_tensor(shape)
    times: dict[str, list[float]] = {"load": [], "capture": [], "closed": [], "session": []}
    net = load_onnx(path)
    capture(net, example)
    for _ in range(ROUNDS):
        forget()
        times["load"].append(seconds(lambda: load_onnx(path)))
        times["capture"].append(seconds(lambda: capture(net, example)))
        graph = capture(net, example)
        times["closed"].append(seconds(lambda graph=graph: receptive_fields(graph).rows))
        times["session"].append(
            seconds(lambda: InferenceSession(path, providers=["CPUExecutionProvider"]))
        )
    medians = {part: statistics.median(values) for part, values in times.items()}
    return FileCost(
        name,
        len(net.graph.nodes),
        medians["load"],
        medians["capture"],
        medians["closed"],
        medians["session"],
    )


def written_chain(path: Path, count: int) -> Path:
    """A file of so many nodes: convolutions, biases, activations and skips in turns."""
    graph = onnx.helper.make_graph([], "chain", [], [])
    float32, shape = onnx.TensorProto.FLOAT, [1, 8, 64, 64]
    graph.input.append(onnx.helper.make_tensor_value_info("v0", float32, shape))
    graph.output.append(onnx.helper.make_tensor_value_info(f"v{count}", float32, shape))
    for name, sizes in (("w", (8, 8, 3, 3)), ("b", (8, 1, 1))):
        graph.initializer.append(onnx.numpy_helper.from_array(np.ones(sizes, np.float32), name))
    for number in range(count):
        before, after = f"v{number}", f"v{number + 1}"
        op, more, options = (
            ("Conv", ["w"], {"pads": [1, 1, 1, 1]}),
            ("Add", ["b"], {}),
            ("Relu", [], {}),
            ("Add", [f"v{max(number - 3, 0)}"], {}),
        )[number % 4]
        graph.node.append(onnx.helper.make_node(op, [before, *more], [after], **options))
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
    return path


def files(folder: Path) -> list[FileCost]:
    """The files of PP-OCR that a package ships, and one of 4,000 nodes."""
    found = find_spec("rapidocr_onnxruntime")
    assert found is not None, "pip install --no-deps rapidocr-onnxruntime"
    assert found.submodule_search_locations is not None
    shipped = Path(found.submodule_search_locations[0]) / "models"
    return [
        measure_file("PP-OCRv4 detector", shipped / "ch_PP-OCRv4_det_infer.onnx", (1, 3, 320, 320)),
        measure_file("PP-OCRv4 reader", shipped / "ch_PP-OCRv4_rec_infer.onnx", (1, 3, 48, 320)),
        measure_file("a chain", written_chain(folder / "chain.onnx", 4000), (1, 8, 64, 64)),
    ]


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = CLOCK()
    work()
    return CLOCK() - start


def markdown(costs: Sequence[Cost], found: Sequence[FileCost], starts: Mapping[str, Start]) -> str:
    """The tables."""
    packages = ("fieldwise", "torch", "torchvision", "timm")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    lines = [
        "# Speed",
        "",
        f"`python benchmarks/speed.py` on {date.today()}, {versions}, CPU, {_how()}; "
        f"medians of {ROUNDS} rounds, taken in turns.",
        "",
        "Capture and closed form of the whole network, in forward passes of the same model at "
        "224 × 224. What a call reads, and what a value sees, is worked out once per process for "
        "all that are alike (`capture/torch/alike.py`, `field/closed.py`): *first* is when nothing "
        "is known, *again* the next time.",
        "",
        "| model | capture, first | again | closed form, first | again | both / forward, first "
        f"| again | at {LARGE} × {LARGE} then |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(cost.row() for cost in costs),
        "",
        f"The last column is a second analysis, at {LARGE} × {LARGE}, over the first at 224 × 224. "
        "It costs more than its closed form: Python may branch on a size, so the model runs again, "
        "and every call whose operands have another size is one that is not known yet. What it "
        "shares is what has the same inputs, such as a head behind a global pool; were every call "
        "known, it would cost what *again* says.",
        "",
        "ONNX files, in milliseconds per node: reading the file, recording it when no call is "
        "known, its closed form, and the making of a session by ONNX Runtime "
        f"{version('onnxruntime')}; and the first three over the session.",
        "",
        "| file | nodes | load | capture | closed form | session | all / session |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(one.row() for one in found),
        "",
        *start_section(starts),
    ]
    return "\n".join([*lines, ""])


def _how() -> str:
    """How time is taken."""
    if not BUSY:
        return f"{THREADS} threads"
    return (
        "one thread, in CPU seconds, on a machine that had other work (`--busy`; two threads make "
        "a forward pass up to twice as fast, and an analysis no faster)"
    )


def start_section(starts: Mapping[str, Start]) -> list[str]:
    """What a command costs before its first row, in words and as a table."""
    return [
        "The start of a command: what a fresh process takes for a small network, in CPU seconds "
        "and MB at its peak, over importing the framework alone; medians of "
        f"{STARTS} rounds. torchvision and timm import torch's compiler; a command does without it "
        "until something asks for it.",
        "",
        *start_table(starts),
    ]


def main() -> int:
    """Measure, print and write the table."""
    torch.set_num_threads(THREADS)
    with TemporaryDirectory() as folder:
        starts = measure_starts(Path(folder))
        text = markdown([measure(spec) for spec in MODELS], files(Path(folder)), starts)
    DOCS.mkdir(exist_ok=True)
    (DOCS / "speed.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
