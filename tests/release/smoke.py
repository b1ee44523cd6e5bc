"""What an installed fieldwise does without any extra: run by ``make release``, with ``python -I``.

The name of the distribution that was installed may follow; its version has to be the one that runs.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

LAYERS = "layers:conv3 relu conv3/2 maxpool2/2 conv3"
SCRIPT = Path(sysconfig.get_path("scripts"), "fieldwise")


def run(*arguments: str, code: int = 0) -> str:
    """What a command prints, run where no checkout is; it has to end with this code."""
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [str(SCRIPT), *arguments], cwd=elsewhere, capture_output=True, text=True, check=False
        )
    assert done.returncode == code, (arguments, done)
    return done.stdout if code == 0 else done.stderr


def main(built: str | None = None) -> None:
    """Raises AssertionError where something is amiss."""
    for extra in ("torch", "onnx", "matplotlib", "zarr"):
        assert importlib.util.find_spec(extra) is None, f"the environment is not bare: {extra}"
    version = run("--version").split()[-1]
    assert built is None or f"-{version}" in Path(built).name, (version, built)

    import fieldwise

    assert (fieldwise.__version__, "torch" in sys.modules) == (version, False)
    assert Path(fieldwise.__file__).is_relative_to(sysconfig.get_path("purelib"))
    last = json.loads(run("field", LAYERS, "--format", "json"))["layers"][-1]
    assert (last["extent"], last["stride"], last["start"]) == ([15], [4], [0]), last
    for names in (["--help"], ["field", "--help"], ["tile", "--help"]):
        assert "Usage" in run(*names)
    for extra, asked in {
        "zoo": ["field", "torchvision:resnet50"],
        "plot": ["diagram", LAYERS, "-o", "fig.svg"],
    }.items():
        missing = run(*asked, code=2)
        assert f"pip install 'fieldwise[{extra}]'" in missing, missing
    print(f"fieldwise {version} runs without any extra: {built or fieldwise.__file__}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
