"""Settings shared by the tests and the doctests."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from hypothesis import settings

settings.register_profile("fieldwise", deadline=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("fieldwise"), max_examples=1000)
settings.load_profile("fieldwise")

NEEDS = {
    "torch": ["src/fieldwise/capture/torch/*", "src/fieldwise/field/probes/*", "tests/*/torch/*"],
    "onnx": ["src/fieldwise/capture/onnx/*"],
    "matplotlib": ["src/fieldwise/views/plot*"],
}
collect_ignore_glob = [
    pattern for package, patterns in NEEDS.items() if not find_spec(package) for pattern in patterns
]


def pytest_collect_file(file_path: Path) -> None:
    """Import the table of kernels before one of its files, which pytest would run twice."""
    if file_path.match("src/fieldwise/tile/bands/kernels/*.py") and find_spec("torch"):
        import_module("fieldwise.tile.bands.kernels")
