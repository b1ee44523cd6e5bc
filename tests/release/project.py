"""What pyproject.toml says of the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pythons() -> list[str]:
    """The versions of Python that the classifiers name."""
    found = [line.rpartition(" :: ")[2] for line in PROJECT["classifiers"]]
    return [version for version in found if re.fullmatch(r"3\.\d+", version)]
