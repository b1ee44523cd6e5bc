"""A fieldwise that was installed from a wheel, in an environment that has nothing else of its own.

What fieldwise needs comes from the environment of the tests, whose folder is searched after the
new one; of that folder no ``.pth`` file is read, so an editable fieldwise in it is not found.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from tests.docs.command import folder

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
ELSEWHERE = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Said:
    """What a command wrote to stdout and to stderr."""

    out: str
    err: str


@dataclass(frozen=True)
class Bare:
    """An environment, and the folder in which its user works.

    Most commands are forks of one process of the environment that has imported torch (see
    ``tests.docs.command``); ``script`` and ``python`` are processes of their own.
    """

    scripts: Path
    here: Path

    @classmethod
    def made(cls, where: Path) -> Bare:
        """Builds the wheel of this checkout, and installs it into a new environment."""
        _run(sys.executable, "-m", "venv", "--without-pip", where / "venv")
        alone = ("--quiet", "--no-deps", "--no-index")
        _run(*PIP, "wheel", *alone, "--no-build-isolation", "-w", where / "dist", ROOT)
        (wheel,) = (where / "dist").glob("fieldwise-*.whl")
        scripts = Path(_path("scripts", where / "venv"))
        _run(*PIP, "--python", scripts / "python", "install", *alone, "--no-compile", wheel)
        others = Path(_path("purelib", where / "venv"), "others.pth")
        others.write_text(sysconfig.get_path("purelib"))
        return cls(scripts, where)

    def at(self, here: Path) -> Bare:
        """The same environment, in another folder."""
        return Bare(self.scripts, here)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its processes: none that names a checkout."""
        kept = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
        return {**kept, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def fieldwise(self, *arguments: object, code: int = 0) -> Said:
        """What a command says; it has to end with this code."""
        command = Path(folder(str(self.scripts / "python")), "fieldwise")
        return self._said([command, *arguments], code)

    def script(self, *arguments: object, code: int = 0) -> Said:
        """The same by the script that was installed, in a process of its own."""
        return self._said([self.scripts / "fieldwise", *arguments], code)

    def python(self, *arguments: object, code: int = 0) -> Said:
        """What its interpreter says, in a process of its own."""
        return self._said([self.scripts / "python", *arguments], code)

    def _said(self, command: list[object], code: int) -> Said:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.here, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, (command[1:], done.returncode, done.stdout, done.stderr)
        return Said(done.stdout, done.stderr)


def _run(*command: object) -> None:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)


def _path(name: str, prefix: Path) -> str:
    return sysconfig.get_path(name, "venv", vars={"base": str(prefix), "platbase": str(prefix)})
