"""What workers put aside, who takes it, and what is said of a cluster that fails: without one."""

from __future__ import annotations

import asyncio
import pickle
import sys
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from distributed import KilledWorker
from distributed.comm import CommClosedError

from fieldwise.errors import UsageError
from fieldwise.tile.spread import cluster
from fieldwise.tile.spread.failures import failures
from fieldwise.tile.spread.staging import remove_abandoned, staging
from tests.tile.jobs.cases import carried_out, content, image, planned, write_nets


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    write_nets(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "job_nets", raising=False)
    np.save(tmp_path / "in.npy", image(3, 1100, 12))


def job_to(out: str, **options):
    return planned(Path("in.npy"), Path(out), **options)


def taken(job, *, damage=lambda folder: None):
    """Carry a job out as a client and a worker do, one after the other."""
    with job.open() as journal, staging(job.request.out) as place:
        results = job.begin(journal)
        for piece in job.plan.pieces:
            staged = place.compute(job, piece.number)
            damage(place.folder / staged.name)
            place.take(job, staged, results)
            journal.record(staged.done)


@pytest.mark.parametrize("options", [{}, {"engine": "halo", "tile": 160}])
def test_pieces_put_aside_and_taken_are_the_result(tmp_path, options):
    carried_out(job_to("alone.zarr", **options))
    taken(job_to("out.zarr", **options))
    assert content(Path("out.zarr")) == content(Path("alone.zarr"))
    left = {path.name for path in tmp_path.iterdir()}
    assert not [name for name in left if name.startswith(".out")]


def test_several_outputs_are_taken_together():
    carried_out(planned(Path("in.npy"), Path("alone.zarr"), "several"))
    taken(planned(Path("in.npy"), Path("out.zarr"), "several"))
    for name in ("mask", "half"):
        assert content(Path(f"out.{name}.zarr")) == content(Path(f"alone.{name}.zarr"))


def flip(folder: Path) -> None:
    path = folder / "out.zarr" / "c" / "0" / "1" / "0"
    if path.exists():
        data = bytearray(path.read_bytes())
        data[50] ^= 1
        path.write_bytes(data)


def take_away(folder: Path) -> None:
    if folder.name.startswith("1-"):
        (folder / "out.zarr" / "zarr.json").unlink()


@pytest.mark.parametrize("damage", [flip, take_away])
def test_what_is_not_here_as_it_was_written_is_not_taken(damage):
    job = job_to("out.zarr")
    with pytest.raises(UsageError, match=r"Piece 1 is not here .* all machines share .* --resume"):
        taken(job, damage=damage)
    with job.open(resume=True) as journal:
        assert journal.done == {0}
        assert journal.spoilt is None
        job.run(journal)
    carried_out(job_to("alone.zarr"))
    assert content(Path("out.zarr")) == content(Path("alone.zarr"))


def test_a_worker_that_does_not_see_the_folder_says_so_and_leaves_nothing(tmp_path):
    job = job_to("out.zarr")
    with staging(job.request.out) as place:
        for other in (replace(place, token="another"), replace(place, folder=tmp_path / "none")):
            with pytest.raises(UsageError, match="mount one file system at the same path"):
                other.compute(job, 0)
        assert [path.name for path in place.folder.iterdir()] == ["token"]
    assert not (tmp_path / "none").exists()


def test_what_is_computed_for_a_run_that_is_over_reaches_nothing(tmp_path, monkeypatch):
    job = job_to("out.zarr")
    with staging(job.request.out) as place:
        whole = type(job).write

        def late(self, piece, folder):
            carried_out(job_to("out.zarr"))
            remove_abandoned(Path("out.zarr"), replace(place, folder=Path("new")))
            return whole(self, piece, folder)

        monkeypatch.setattr(type(job), "write", late)
        with pytest.raises(UsageError, match="does not see"):
            place.compute(job, 0)
    carried_out(job_to("alone.zarr"))
    assert content(Path("out.zarr")) == content(Path("alone.zarr"))
    assert not list(tmp_path.glob(".out.zarr.parts*"))


def test_what_is_sent_names_files_from_the_root(tmp_path, monkeypatch):
    packed = pickle.dumps(job_to("out.zarr"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.save("in.npy", image(3, 1100, 12, seed=1))
    sent = pickle.loads(packed)
    assert sent.request.out == tmp_path / "out.zarr"
    assert sent.request.source.path == tmp_path / "in.npy"
    assert sent.files[0].path == tmp_path / "out.zarr"


def client(status="running", workers=()):
    return SimpleNamespace(
        status=status,
        scheduler=SimpleNamespace(address="tcp://1.2.3.4:8786"),
        nthreads=lambda: dict.fromkeys(workers, 1),
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KilledWorker("task", "worker", 3), r"died over the same work, .* smaller --memory"),
        (MemoryError(), r"out of memory: give each more and --resume"),
        (
            CancelledError("lost"),
            r"scheduler at tcp://1\.2\.3\.4:8786 is gone; .* --resume goes on",
        ),
        (asyncio.CancelledError("lost"), r"is gone; .* --resume goes on"),
        (CommClosedError("in x"), r"is gone; .* --resume goes on"),
        (ModuleNotFoundError("No module named 'scipy'"), r"'scipy'.*install the same packages"),
    ],
)
def test_a_failure_of_the_cluster_is_one_sentence_with_the_remedy(error, told):
    with pytest.raises(UsageError, match=told) as caught, failures(client()):
        raise error
    assert "model" not in str(caught.value)


def test_other_errors_pass():
    for error in (ZeroDivisionError(), UsageError("No."), OSError("disk")):
        with pytest.raises(type(error)), failures(client()):
            raise error


def test_a_cluster_without_workers_is_waited_for_and_then_told(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.2)
    monkeypatch.setattr(cluster, "_SILENCE", 0.1)
    told = []
    with pytest.raises(UsageError, match=r"No worker .* dask worker tcp://1\.2\.3\.4:8786"):
        cluster.check_cluster(job_to("out.zarr"), client(), tell=told.append)
    assert told == ["waiting for a worker, at most 0 s"]
    assert not list(Path().glob("*out.zarr*"))
