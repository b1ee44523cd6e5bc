"""What a command imports before its first row: what it needs, and nothing beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
COMMAND = {
    "fieldwise", "typer", "rich", "click", "pygments", "markdown_it", "mdurl", "shellingham",
    "annotated_doc", "annotated_types", "pydantic", "pydantic_core", "typing_extensions",
    "typing_inspection",
}  # fmt: skip
"""What the command line itself stands on."""
NEEDLESS = (
    "sympy", "triton", "torch._dynamo.eval_frame", "torch._inductor", "torch.export",
    "torch.distributed.tensor", "timm", "matplotlib", "networkx", "numpy.f2py",
    "dask", "zarr", "onnxruntime", "rich.markdown", "rich.traceback",
)  # fmt: skip
MODULE = """
import torch
def make():
    conv = torch.nn.Conv2d(3, 4, 3)
    layers = conv, torch.nn.BatchNorm2d(4), torch.nn.GELU(), torch.nn.MaxPool2d(2)
    wide = torch.nn.Upsample(scale_factor=2, mode="bilinear"), torch.nn.Upsample(scale_factor=2)
    return torch.nn.Sequential(*layers, *wide, torch.nn.AvgPool2d(2), torch.nn.Softmax(1)).eval()
"""
TILE = "tile mine:make in.npy out.npy --layout CHW --random-weights --overwrite --engine".split()
FILES = """
import sys, warnings; sys.path.insert(0, ".")
import torch, onnx
from onnx import TensorProto as T, helper as h
from mine import make
torch.export.save(torch.export.export(make(), (torch.zeros(1, 3, 16, 16),)), "net.pt2")
x, y = (h.make_tensor_value_info(name, T.FLOAT, (1, 1, 8)) for name in "xy")
graph = h.make_graph([h.make_node("Relu", ["x"], ["y"])], "net", [x], [y])
onnx.save(h.make_model(graph), "net.onnx")
import numpy as np
np.save("in.npy", np.zeros((3, 16, 16), np.float32))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a factory, a program and an ONNX file."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "mine.py").write_text(MODULE)
    run_python(FILES, folder)
    return folder


def run_python(program, folder):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported(folder, *arguments, before="pass"):
    """The modules that there are at the end of a command, or at the end of some statements."""
    run = f"sys.argv[1:] = {arguments}; main()" if arguments else "pass"
    start = "from fieldwise.cli import main" if arguments else "pass"
    tell = "atexit.register(lambda: print('@', *sys.modules))"
    output = run_python(f"import atexit, sys; {tell}; {start}; {before}; {run}", folder)
    *shown, names = output.split("@ ")
    assert shown != [""] or not arguments
    return set(names.split())


def packages(modules):
    names = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)
    return {name for name in names if not name.startswith(("_", "cython"))}


@pytest.mark.parametrize(
    ("arguments", "needed", "of_its_own"),
    [
        (["--help"], "pass", set()),
        (["field", "--help"], "pass", set()),
        (["tile", "--help"], "pass", set()),
        (["field", "layers:conv3 relu maxpool2"], "pass", set()),
        (["field", "mine:make", "--input", "1x3x16x16"], "import torch", {"mine"}),
        (["stream", "mine:make", "--input", "1x3x64x16"], "import torch", {"mine"}),
        ([*TILE, "stream"], "import torch", {"mine", "google_crc32c"}),
        (["field", "net.pt2"], "import torch", set()),
        (["field", "net.onnx"], "import torch, onnx", set()),
        (["field", "torchvision:resnet18"], "import torch", {"torchvision", "PIL"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_command_imports_what_it_needs(folder, arguments, needed, of_its_own):
    """Beside the framework that its model needs there is the command line, and nothing else."""
    modules, framework = imported(folder, *arguments), imported(folder, before=needed)
    assert packages(modules) - packages(framework) - COMMAND == of_its_own
    assert packages(framework) <= packages(modules)
    assert [name for name in NEEDLESS if name in modules - framework] == []
