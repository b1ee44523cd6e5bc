"""What a command costs before its first row, against importing the framework alone.

Each round starts every program once, in a fresh process and in turns; CPU seconds and peak memory
are those of the whole process.  ``benchmarks/speed.py`` puts the table into docs/speed.md.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5
_TOLD = """
import json, resource
used = resource.getrusage(resource.RUSAGE_SELF)
print("@" + json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""
_MAKE = """
import torch
def make():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
"""
_FILES = """
import onnx, torch
from onnx import TensorProto, helper
from made import make
torch.export.save(torch.export.export(make().eval(), (torch.zeros(1, 3, 64, 64),)), "net.pt2")
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 64, 64)) for name in "xy")
onnx.save(helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])],
    "net", [x], [y])), "net.onnx")
"""
_COMMANDS: Mapping[str, str] = {
    "fieldwise field made:make --input 1x3x64x64": "import torch",
    "fieldwise field net.pt2": "import torch",
    "fieldwise field net.onnx": "import torch, onnx",
    "fieldwise field torchvision:resnet18": "import torch",
    "fieldwise field timm:resnet18": "import torch",
}
"""Commands, and the import that each is compared with."""
_BESIDE = ("import torchvision", "import timm")


@dataclass(frozen=True, slots=True)
class Start:
    """CPU seconds and peak memory in MB of a process, medians over the rounds."""

    seconds: float
    memory: float


def measure_starts(folder: Path) -> Mapping[str, Start]:
    """What each command, and each import that it is compared with, costs."""
    (folder / "made.py").write_text(_MAKE, encoding="utf-8")
    _run(folder, _FILES)
    programs = {against: against for against in _COMMANDS.values()}
    programs |= {one: one for one in _BESIDE}
    programs |= {command: _command(command) for command in _COMMANDS}
    for program in programs.values():  # compiled files are written once
        _run(folder, program)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, program in programs.items():
            found[name].append(_run(folder, program))
    return {
        name: Start(*(statistics.median(part) for part in zip(*values, strict=True)))
        for name, values in found.items()
    }


def start_table(found: Mapping[str, Start]) -> list[str]:
    """The lines of the table."""
    lines = [
        "| program | CPU s | MB | over | CPU | memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, start in found.items():
        against = _COMMANDS.get(name, "import torch")
        base = found[against]
        ratios = f"{start.seconds / base.seconds:.2f} | {start.memory / base.memory:.2f}"
        lines.append(
            f"| `{name}` | {start.seconds:.2f} | {start.memory:.0f} | `{against}` | {ratios} |"
        )
    return lines


def _command(command: str) -> str:
    arguments = command.split()
    return (
        f"import sys; sys.argv = {arguments}; from fieldwise.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code"
    )


def _run(folder: Path, program: str) -> tuple[float, float]:
    """CPU seconds and peak MB of a fresh process that runs this program."""
    environment = {name: each for name, each in os.environ.items() if name not in _UNWANTED}
    done = subprocess.run(
        [sys.executable, "-c", program + _TOLD],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, kilobytes = json.loads(done.stdout.rpartition("@")[2])
    return seconds, kilobytes / 1000


_UNWANTED = ("PYTHONDONTWRITEBYTECODE",)
