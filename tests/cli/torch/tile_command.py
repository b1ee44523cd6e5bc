"""``fieldwise tile`` as a function, for its tests."""

from __future__ import annotations

from typing import Any

import torch
from typer.testing import CliRunner

from fieldwise.cli import app


def run(*args: object, code: int = 0) -> str:
    """What the command prints; what it says on stderr where it ends with another code than 0."""
    result = CliRunner().invoke(app, ["tile", *map(str, args)])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code == 0 else result.stderr


def whole(name: str, x: Any) -> Any:
    """What a network of the tests makes of a whole input."""
    import job_nets  # type: ignore[import-not-found]

    with torch.no_grad():
        return getattr(job_nets, name)().eval()(torch.from_numpy(x)[None])
