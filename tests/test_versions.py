"""What the oldest environment installs is what pyproject.toml allows at the least."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNTIME = ("torch", "zoo", "plot", "tile")


def bounds() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = list(project["dependencies"])
    for extra in RUNTIME:
        needed += project["optional-dependencies"][extra]
    found = (re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", each) for each in needed)
    return {match[1].lower(): match[2] for match in found if match}


def test_the_oldest_environment_has_every_lower_bound():
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(line.lower().split("==") for line in lines if "==" in line)
    lower = bounds()
    assert len(lower) > 10
    assert set(lower) == set(pinned)
    for name, bound in lower.items():
        assert f"{pinned[name]}.".startswith(f"{bound}."), name
