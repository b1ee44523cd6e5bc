"""What workers put aside, who takes it, and what is said of a cluster that fails: without one."""

from __future__ import annotations

import asyncio
import pickle
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from distributed import KilledWorker
from distributed.comm import CommClosedError

from fieldwise.errors import UsageError
from fieldwise.tile.jobs.shares import prepared_by, prepared_from
from fieldwise.tile.spread import cluster
from fieldwise.tile.spread.failures import failures
from fieldwise.tile.spread.staging import remove_abandoned, staging
from tests.tile.jobs.cases import carried_out, content, enter, image, planned


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save(tmp_path / "in.npy", image(3, 1100, 12))


def job_to(out: str, **options):
    return planned(Path("in.npy"), Path(out), **options)


def taken(job, *, damage=lambda folder: None):
    """Carry a job out as a client and a worker do, one after the other."""
    with job.open() as journal, staging(job.request.out) as place:
        results = job.begin(journal)
        for pieces in list(job.plan.waiting(journal.done)):
            for staged in place.compute(job, pieces):
                damage(place.folder / staged.name)
                place.take(job, staged, results)
                journal.record(staged.done)


@pytest.mark.parametrize(
    "options", [{}, {"engine": "halo", "tile": 160}, {"engine": "halo", "tile": 160, "batch": 3}]
)
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


PASSES = {
    "sums": ("gated", {"global_ops": "multipass"}),
    "values that are kept": ("attends", {"global_ops": "materialise"}),
    "what costs less": ("attends", {"global_ops": "auto"}),
}


def shared(job, *, damage=lambda folder: None, end_after=None):
    """Carry out a job with passes as a client and workers do, one after the other.

    The number of sections of each pass that it has gone through.
    """
    begun = list[int]()
    with job.open(resume=True) as journal, staging(job.request.out) as place:
        results, sent = job.begin(journal), pickle.loads(pickle.dumps(job))

        def sharing(finished: int, sections: int):
            if len(begun) == end_after:
                raise KeyboardInterrupt
            begun.append(sections)
            for section in range(sections):
                name, share = place.share(sent, journal.passes, finished, section)
                damage(place.folder / name)
                yield from place.take_share(name, share)

        prepared_by(job.work, job.request.view(), journal.passes, sharing)
        ready = prepared_from(sent.work, sent.request.view(), journal.passes)
        for piece in job.plan.pieces:
            (staged,) = place.compute(replace(sent, work=ready), [piece.number])
            place.take(job, staged, results)
        journal.clear()
    return begun


def differences(one: str, other: str) -> float:
    found = (zarr.open_array(name)[:] for name in (one, other))
    return float(np.abs(np.subtract(*found)).max())


@pytest.mark.parametrize(("net", "options"), PASSES.values(), ids=PASSES)
def test_passes_that_are_shared_out_find_what_one_machine_finds(tmp_path, net, options):
    options = {**options, "band": 16}
    carried_out(planned(Path("in.npy"), Path("alone.zarr"), net, **options))
    assert max(shared(planned(Path("in.npy"), Path("out.zarr"), net, **options))) > 1
    assert differences("out.zarr", "alone.zarr") < 1e-5
    assert not [path for path in tmp_path.iterdir() if "passes" in path.name]
    assert not list(tmp_path.glob(".out*"))


def test_passes_that_are_shared_out_are_gone_on_with_after_the_last_that_was_finished():
    options = {"global_ops": "materialise", "band": 16}
    with pytest.raises(KeyboardInterrupt):
        shared(planned(Path("in.npy"), Path("out.zarr"), "attends", **options), end_after=1)
    again = shared(planned(Path("in.npy"), Path("out.zarr"), "attends", **options))
    whole = shared(planned(Path("in.npy"), Path("alone.zarr"), "attends", **options))
    assert len(again) == len(whole) - 1
    assert content(Path("out.zarr")) == content(Path("alone.zarr"))


def empty(folder: Path) -> None:
    for path in folder.glob("*.rows"):
        path.write_bytes(b"")


def test_rows_of_a_pass_that_are_not_here_as_they_were_written_are_not_taken():
    job = planned(Path("in.npy"), Path("out.zarr"), "attends", global_ops="materialise")
    with pytest.raises(UsageError, match=r"What was gathered in a pass is not here .* --resume"):
        shared(job, damage=empty)


def test_a_worker_that_sees_other_passes_than_the_client_says_so(monkeypatch):
    monkeypatch.setattr("fieldwise.tile.spread.staging.PATIENCE", 0.0)
    job = planned(Path("in.npy"), Path("out.zarr"), "gated", global_ops="multipass")
    with job.open() as journal, staging(job.request.out) as place:
        told = r"finds 0 finished passes beside .*, and the machine that sent the job has 1"
        with pytest.raises(UsageError, match=told):
            place.share(job, journal.passes, 1, 0)


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
                other.compute(job, [0])
        assert [path.name for path in place.folder.iterdir()] == ["token"]
    assert not (tmp_path / "none").exists()


def test_what_is_computed_for_a_run_that_is_over_reaches_nothing(tmp_path, monkeypatch):
    job = job_to("out.zarr")
    with staging(job.request.out) as place:
        whole = type(job).write

        def late(self, pieces, folders):
            carried_out(job_to("out.zarr"))
            remove_abandoned(Path("out.zarr"), replace(place, folder=Path("new")))
            return whole(self, pieces, folders)

        monkeypatch.setattr(type(job), "write", late)
        with pytest.raises(UsageError, match="does not see"):
            place.compute(job, [0])
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
