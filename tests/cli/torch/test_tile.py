"""``fieldwise tile``: the plan, the result, the journal, the exit codes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fieldwise.cli import app
from tests.tile.jobs_cases import image, write_nets


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    write_nets(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "job_nets", raising=False)


def run(*args, code=0):
    result = CliRunner().invoke(app, ["tile", *map(str, args)])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code == 0 else result.stderr


def whole(name, x):
    import job_nets  # type: ignore[import-not-found]

    with torch.no_grad():
        return getattr(job_nets, name)().eval()(torch.from_numpy(x))


def test_a_npy_file_becomes_what_the_model_makes_of_the_whole(tmp_path):
    x = image(3, 600, 30)
    np.save("in.npy", x)
    told = run("job_nets:unet", "in.npy", "out.npy", "--axes", "CHW", "--band", 16)
    assert "wrote out.npy" in told
    assert "pieces  3, each recorded when it is on disk" in told
    found = np.load("out.npy")
    wanted = whole("unet", x[None])[0].numpy()
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-6)
