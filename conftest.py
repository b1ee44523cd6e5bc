"""Settings shared by the tests and the doctests."""

from __future__ import annotations

from importlib.util import find_spec

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
