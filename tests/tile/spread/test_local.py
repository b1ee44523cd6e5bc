"""Workers on the devices of this machine: each sees its own, and all give what one gives."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from typer.testing import CliRunner

from fieldwise.cli import app
from fieldwise.errors import UsageError
from fieldwise.tile.spread.local import environment_of, find_devices, local_workers
from tests.tile.jobs.cases import enter, image

UNET = ["tile", "job_nets:unet", "in.npy", "out.zarr", "--layout", "CHW", "--input", "1x3x8x8"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save(tmp_path / "in.npy", image(3, 96, 80))


def run(*more: str, code: int = 0) -> str:
    found = CliRunner().invoke(app, [*UNET, *more])
    assert found.exit_code == code, found.output
    return found.output


def test_devices_are_named_and_may_stand_there_twice():
    assert find_devices("cpu, cpu") == [torch.device("cpu")] * 2
    with pytest.raises(UsageError, match="'gpu' is no device"):
        find_devices("cpu,gpu")


def test_devices_of_several_kinds_are_refused(monkeypatch):
    from fieldwise.tile.spread import local

    monkeypatch.setattr(local, "find_device", torch.device)
    with pytest.raises(UsageError, match=r"several kinds \(cuda and cpu\)"):
        find_devices("cuda:0,cpu")


@pytest.mark.parametrize(
    ("device", "environment", "wanted"),
    [
        ("cuda:1", {}, {"CUDA_VISIBLE_DEVICES": "1"}),
        ("cuda", {}, {"CUDA_VISIBLE_DEVICES": "0"}),
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "3,5"}, {"CUDA_VISIBLE_DEVICES": "5"}),
        ("cpu", {}, {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // 2))}),
        ("mps", {}, {}),
    ],
)
def test_a_worker_sees_its_own_device_alone(device, environment, wanted):
    assert environment_of(torch.device(device), 2, environment) == wanted


def test_two_processes_give_the_result_of_one(capfd):
    run("--engine", "halo", "--tile", "32", "--batch", "2")
    alone = zarr.open_array("out.zarr")[:]
    told = run("--engine", "halo", "--tile", "32", "--batch", "2", "--devices", "cpu,cpu",
               "--overwrite")  # fmt: skip
    assert "compute elsewhere" not in told
    assert "distributed." not in capfd.readouterr().err
    assert np.array_equal(zarr.open_array("out.zarr")[:], alone)
    assert not list(Path.cwd().glob(".out.zarr*"))


@pytest.mark.parametrize("verbose", [False, True])
def test_workers_log_warnings_and_what_they_do_only_if_that_is_wanted(capfd, verbose):
    with local_workers([torch.device("cpu")], verbose=verbose) as client:
        client.run(_log)
    lines = capfd.readouterr().err.splitlines()
    logged = {kind: [line for line in lines if f" - {kind} - " in line] for kind in KINDS}
    assert bool(logged["INFO"]) is verbose
    for kind in ("WARNING", "ERROR"):
        assert [line for line in logged[kind] if "distributed.worker" in line and kind in line]


KINDS = ("INFO", "WARNING", "ERROR")


def _log():
    logger = logging.getLogger("distributed.worker")
    logger.warning("something is slow")
    logger.error("something is wrong")


def test_several_processes_go_on_in_the_crops_that_a_job_was_begun_with():
    """They asked for rows that are kept, and the job was refused for an option that nobody gave."""
    run("--engine", "halo", "--tile", "32")
    told = run("--devices", "cpu,cpu", "--resume")
    assert "pieces are on disk; nothing is computed" in told


def test_devices_take_the_place_of_device_and_dask():
    told = run("--devices", "cpu,cpu", "--device", "cpu", code=2)
    assert "--devices says where the model runs; leave --device out." in told
    told = run("--devices", "cpu,cpu", "--dask", "tcp://127.0.0.1:1", code=2)
    assert "--devices are of this machine, --dask of a cluster; give one." in told
