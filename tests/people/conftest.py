"""What every walk starts from: an environment with an installed fieldwise, and an empty folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.people.bare import Bare


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """An environment with fieldwise from a wheel; the code that it runs is its own."""
    bare = Bare.made(tmp_path_factory.mktemp("bare"))
    said = bare.python("-c", "import fieldwise, sys; print(fieldwise.__file__, *sys.path)").out
    file, *searched = said.split()
    assert Path(file).is_relative_to(bare.scripts.parent), said
    assert not [path for path in searched if path.endswith("/src")], said
    return bare


@pytest.fixture(scope="module")
def user(installed: Bare, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """The user of one file of tests, in a folder of their own that has a file of networks."""
    here = tmp_path_factory.mktemp("user")
    shutil.copy(Path(__file__).with_name("nets.py"), here)
    return installed.at(here)
