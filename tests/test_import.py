"""What `import fieldwise` costs: no framework, whatever is installed."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import fieldwise

SOURCE = Path(__file__).parents[1] / "src"
FRAMEWORKS = (
    "torch", "torchvision", "timm", "onnx", "matplotlib", "dask", "distributed", "zarr", "tifffile",
)  # fmt: skip


def run_python(program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "package",
    [
        "",
        ".axes",
        ".graph",
        ".capture",
        ".field",
        ".folding",
        ".shift",
        ".see",
        ".testing",
        ".tile",
        ".views",
        ".cli",
    ],
)
def test_importing_a_package_imports_no_framework(package):
    found = run_python(
        f"import sys, fieldwise{package}; print(*set(sys.modules) & set({FRAMEWORKS}))"
    )
    assert found == ""


def test_fieldwise_imports_where_no_framework_is_installed():
    hide = f"import sys; sys.modules.update(dict.fromkeys({FRAMEWORKS}))"
    assert run_python(f"{hide}; import fieldwise; print(fieldwise.__version__)")


def test_fold_is_a_function_whatever_of_its_room_was_imported():
    program = "import fieldwise, fieldwise.folding.planner; print(type(fieldwise.fold).__name__)"
    assert run_python(program) == "function"


def test_every_file_can_be_imported():
    """Names are looked up late, so that a file with a stale import would stand unnoticed."""
    names = [found.name for found in pkgutil.walk_packages(fieldwise.__path__, "fieldwise.")]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    assert len(names) > 300
