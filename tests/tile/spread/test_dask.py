"""Dask arrays: lazy, read exactly, equal to the whole; on a cluster that loses a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import torch
import zarr
from distributed import Client, LocalCluster
from torch import nn

from fieldwise.errors import UsageError
from fieldwise.tile import streamed, tiled
from fieldwise.tile.jobs import Journal, check_result, job_model, plan_job
from fieldwise.tile.spread import (
    check_cluster,
    run_on_cluster,
    streamed_array,
    tiled_array,
)
from tests.field.networks import CATALOGUE, Lstm
from tests.tile.bands.test_passes import CASES as GLOBAL
from tests.tile.bands.test_passes import norms
from tests.tile.jobs.cases import carried_out, content, image, planned, write_nets
from tests.tile.jobs.test_sections import Pyramid


def whole(model: nn.Module, x: np.ndarray):
    with torch.no_grad():
        return model(torch.from_numpy(x))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3, padding=1)
    ).eval()


@pytest.fixture(autouse=True)
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.parametrize("chunks", [(1, 3, 40, 20), (1, 3, 7, 33), (1, 1, 200, 200)])
@pytest.mark.parametrize("section", [None, 30])
def test_a_streamed_dask_array_is_what_the_model_makes_of_the_whole(chunks, section):
    x = image(1, 3, 200, 33)
    run = streamed(network(), torch.empty(1, 3, 8, 8), band=16)
    array = da.from_array(x, chunks)
    found = run(array) if section is None else streamed_array(run, array, section=section)
    assert isinstance(found, da.Array)
    wanted = whole(network(), x)
    assert (found.shape, found.dtype) == (tuple(wanted.shape), np.float32)
    np.testing.assert_allclose(found.compute(), wanted, atol=1e-6)


@pytest.mark.parametrize("chunks", [(1, 3, 64, 64), (1, 3, 7, 33), (1, 1, 200, 200)])
def test_a_tiled_dask_array_is_what_the_model_makes_of_the_whole(chunks):
    x = image(1, 3, 200, 130)
    run = tiled(network(), torch.empty(1, 3, 8, 8), tile=64)
    found = run(da.from_array(x, chunks))
    assert isinstance(found, da.Array)
    assert found.chunks[2] == (32, 32, 32, 4)
    np.testing.assert_allclose(found.compute(), whole(network(), x), atol=1e-6)


def test_several_outputs_at_several_rates_come_as_the_model_gives_them():
    torch.manual_seed(0)
    model = Pyramid()
    x = image(1, 1, 64, 9)
    run = streamed(model, torch.empty(1, 1, 8, 9), band=4)
    found = streamed_array(run, da.from_array(x, (1, 1, 10, 9)), section=20)
    assert isinstance(found, tuple)
    for one, wanted in zip(dask.compute(*found), whole(model, x), strict=True):
        np.testing.assert_allclose(one, wanted, atol=1e-6)


def test_a_state_is_handed_from_task_to_task():
    torch.manual_seed(0)
    model = Lstm().eval()
    shape = (*CATALOGUE[Lstm][:2], 40)
    x = image(*shape)
    run = streamed(model, torch.empty(shape), axis=2, band=3)
    found = streamed_array(run, da.from_array(x, (*shape[:2], 8)))
    assert len(found.chunks[-1]) > 3 or len(found.chunks[1]) > 3
    np.testing.assert_allclose(found.compute(), whole(model, x), atol=1e-6)


class Summed(nn.Module):
    """Two inputs by name, which it does not treat alike."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(first, 3, 1, 1) - 2 * second


@pytest.mark.parametrize("engine", ["streamed", "tiled"])
def test_several_inputs_are_given_by_name_in_any_order(engine):
    first, second = image(1, 2, 90, 20), image(1, 2, 90, 20, seed=1)
    example = {"first": torch.empty(1, 2, 9, 9), "second": torch.empty(1, 2, 9, 9)}
    if engine == "tiled":
        run = tiled(Summed(), example, tile=16)
    else:
        run = streamed(Summed(), example, band=16)
    found = run(second=da.from_array(second, (1, 2, 9, 20)), first=da.from_array(first))
    wanted = Summed()(torch.from_numpy(first), torch.from_numpy(second))
    np.testing.assert_allclose(found.compute(), wanted, atol=1e-6)


READ: list[tuple[int, int]] = []


class Noting:
    """An array that notes which rows are read of it."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.ndim = (
            values, values.shape, values.dtype, values.ndim,
        )  # fmt: skip

    def __getitem__(self, index):
        if index[2].start < index[2].stop:  # dask looks at empty parts for their type
            READ.append((index[2].start, index[2].stop))
        return self.values[index]


def test_nothing_is_read_before_it_is_computed_and_then_only_what_a_part_needs():
    READ.clear()
    array = da.from_array(Noting(image(1, 3, 400, 9)), (1, 3, 20, 9))
    run = streamed(network(), torch.empty(1, 3, 8, 8), band=16)
    found = streamed_array(run, array, section=100)
    tile = tiled_array(tiled(network(), torch.empty(1, 3, 8, 8), tile=64, axes=[2]), array)
    assert READ == []
    tile[:, :, 64:96].compute()
    assert (min(READ)[0], max(READ)[1]) == (124, 196)
    READ.clear()
    found[:, :, :50].compute()
    assert max(READ)[1] <= 120
    READ.clear()
    found.compute()
    assert sum(stop - start for start, stop in READ) <= 400 + 3 * 2 * 20


@pytest.mark.parametrize(("make", "passes"), GLOBAL.values(), ids=GLOBAL)
@pytest.mark.parametrize("section", [None, 13])
def test_layers_that_read_the_whole_axis_are_summed_up_over_tasks(make, passes, section):
    torch.manual_seed(0)
    model, x = make().double().eval(), torch.randn(2, 3, 41, 12, dtype=torch.float64)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    run = streamed(model, x, band=3, global_ops="multipass")
    assert len(run.plan(x.shape).passes) == passes
    array = da.from_array(x.numpy(), (2, 3, 7, 12))
    found = streamed_array(run, array, section=section)
    with torch.no_grad():
        wanted = model(x)
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    for one, other in pairs:
        assert isinstance(one, da.Array)
        assert one.shape == tuple(other.shape)
        assert np.abs(one.compute() - other.numpy()).max() <= 1e-12 * other.abs().max()


class Logits(nn.Module):
    """Nothing of the image is left in its output; the second input is one that is subtracted."""

    def forward(self, x: torch.Tensor, dark: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x - dark, 3).mean((2, 3))


def test_an_output_without_the_streamed_axis_comes_from_its_sums_alone():
    x, dark = image(1, 3, 100, 9), image(1, 3, 100, 9, seed=1)
    example = torch.empty(1, 3, 9, 9), torch.empty(1, 3, 9, 9)
    run = streamed(Logits(), example, band=16, global_ops="multipass")
    found = run(da.from_array(x, (1, 3, 30, 9)), da.from_array(dark, (1, 3, 50, 9)))
    assert isinstance(found, da.Array)
    wanted = Logits()(torch.from_numpy(x), torch.from_numpy(dark))
    np.testing.assert_allclose(found.compute(), wanted, atol=1e-6)


def test_passes_are_as_lazy_as_the_rest_and_see_what_the_input_has_become():
    values = image(1, 3, 100, 9)
    READ.clear()
    run = streamed(norms().eval(), torch.empty(1, 3, 9, 9), band=16, global_ops="multipass")
    found = run(da.from_array(Noting(values), (1, 3, 20, 9)))
    assert READ == []
    for _ in range(2):
        np.testing.assert_allclose(found.compute(), run(values), atol=1e-5)
        values += 7 * image(1, 3, 100, 9, seed=1)


# ------------------------------------------------------------------------------- a cluster


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """A folder on the path of all processes."""
    folder = tmp_path_factory.mktemp("nets")
    write_nets(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.delitem(sys.modules, "job_nets", raising=False)
        yield folder


@pytest.fixture(scope="module")
def cluster(nets):
    settings = {
        "distributed.worker.daemon": False,
        "distributed.scheduler.allowed-failures": 20,
        "distributed.comm.timeouts.connect": "30s",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            env={"PYTHONPATH": os.pathsep.join([str(nets), os.environ.get("PYTHONPATH", "")])},
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def wait_for_both_workers(client: Client) -> None:
    """One that was killed is started anew by its nanny; where that fails, one more is."""
    try:
        client.wait_for_workers(2, timeout=60)
    except TimeoutError:
        client.cluster.scale(len(client.cluster.worker_spec) + 1)
        client.wait_for_workers(2, timeout=120)


def kill_a_worker_after(client: Client, seconds: float) -> threading.Timer:
    """The operating system's kill, without a word to anyone."""
    (pid, *_) = client.run(os.getpid).values()
    timer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
    timer.start()
    return timer


def slowly(block: np.ndarray) -> np.ndarray:
    time.sleep(0.1)
    return block


def test_a_cluster_that_loses_a_worker_gives_the_same_bytes(cluster):
    x = image(1, 3, 800, 16)
    array = da.from_array(x, (1, 3, 40, 16))
    stream = streamed(network(), torch.empty(1, 3, 8, 8), band=20)
    halo = tiled(network(), torch.empty(1, 3, 8, 8), tile=128, axes=[2])
    alone, lazy = (
        [streamed_array(stream, given, section=200), tiled_array(halo, given)]
        for given in (array, array.map_blocks(slowly, dtype=x.dtype))
    )
    wanted = [one.compute().tobytes() for one in alone]
    cluster.run(whole, network(), x[:, :, :8])
    timer = kill_a_worker_after(cluster, 0.7)
    begun = time.monotonic()
    found = dask.compute(*lazy, scheduler=cluster)
    assert time.monotonic() - begun > 0.7
    assert not timer.is_alive()
    assert [one.tobytes() for one in found] == wanted


def test_passes_on_a_cluster_that_loses_a_worker_give_the_bytes_of_one_machine(cluster):
    torch.manual_seed(0)
    model, x = norms().double().eval(), image(1, 3, 600, 16).astype(np.float64)
    array = da.from_array(x, (1, 3, 40, 16))
    run = streamed(model, torch.empty(1, 3, 8, 8).double(), band=20, global_ops="multipass")
    alone = streamed_array(run, array, section=100).compute()
    lazy = streamed_array(run, array.map_blocks(slowly, dtype=x.dtype), section=100)
    cluster.run(whole, model, x[:, :, :8])
    timer = kill_a_worker_after(cluster, 0.7)
    begun = time.monotonic()
    found = lazy.compute(scheduler=cluster)
    assert time.monotonic() - begun > 0.7
    assert not timer.is_alive()
    assert found.tobytes() == alone.tobytes()
    wanted = whole(model, x).numpy()
    assert np.abs(found - wanted).max() <= 1e-12 * np.abs(wanted).max()


def test_a_job_on_a_cluster_that_loses_a_worker_has_the_bytes_of_one_machine(cluster, tmp_path):
    np.save(tmp_path / "in.npy", image(3, 3000, 150))
    options = {"band": 8}
    carried_out(planned(tmp_path / "in.npy", tmp_path / "alone.zarr", "unet", **options))
    job = planned(tmp_path / "in.npy", tmp_path / "out.zarr", "unet", **options)
    written = []

    def advance(nbytes: int) -> None:
        if not written:
            os.kill(next(iter(cluster.run(os.getpid).values())), signal.SIGKILL)
        written.append(nbytes)

    with job.open() as journal:
        run_on_cluster(job, journal, cluster, advance=advance)
    assert len(written) == len(job.plan.pieces) > 3
    assert content(tmp_path / "out.zarr") == content(tmp_path / "alone.zarr")
    with job.open(resume=True) as journal:
        assert journal.done == set(range(len(job.plan.pieces)))


def test_a_cluster_goes_on_with_a_job_that_one_machine_left_in_the_middle(
    cluster, tmp_path, monkeypatch
):
    np.save(tmp_path / "in.npy", image(3, 3000, 150))
    options = {"band": 8}
    carried_out(planned(tmp_path / "in.npy", tmp_path / "alone.zarr", "unet", **options))
    job = planned(tmp_path / "in.npy", tmp_path / "out.zarr", "unet", **options)
    with monkeypatch.context() as patch:
        patch.setattr("fieldwise.tile.jobs.checkpoint.LEAST", 0.0)
        patch.setattr("fieldwise.tile.jobs.checkpoint._SHARE", 0.0)
        patch.setattr(Journal, "record", interrupted)
        with pytest.raises(KeyboardInterrupt):
            carried_out(job)
    assert (tmp_path / "out.zarr.journal.piece").exists()
    with job.open(resume=True) as journal:
        assert journal.begun
        assert not journal.done
        run_on_cluster(job, journal, cluster)
    assert content(tmp_path / "out.zarr") == content(tmp_path / "alone.zarr")
    assert not list(tmp_path.glob("*.piece*"))


def interrupted(self: Journal, piece: int) -> None:
    raise KeyboardInterrupt


def held_back(path: str) -> None:
    """On a worker: whatever it writes of a result, it writes once this file is there."""
    from fieldwise.tile.files.zarr_array import ZarrSink

    whole = ZarrSink.write

    def write(self, start, block):
        while not os.path.exists(path):
            time.sleep(0.02)
        whole(self, start, block)

    ZarrSink.write = write
    ZarrSink.held_back = whole


def let_go() -> None:
    from fieldwise.tile.files.zarr_array import ZarrSink

    ZarrSink.write = ZarrSink.held_back


def nothing_is_left_beside(out: Path) -> bool:
    """Whether what was put aside is gone, once workers have left what nobody waits for."""
    until = time.monotonic() + 30
    while left := list(out.parent.glob(f".{out.name}*")):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return not left


def test_a_worker_of_an_interrupted_job_changes_nothing_of_the_next_one(cluster, tmp_path):
    np.save(tmp_path / "in.npy", image(3, 2100, 20))
    source, out, go = tmp_path / "in.npy", tmp_path / "out.zarr", str(tmp_path / "go")
    carried_out(planned(source, tmp_path / "alone.zarr", "unet", band=8))
    wait_for_both_workers(cluster)
    late = next(iter(cluster.nthreads()))
    cluster.run(held_back, go, workers=[late])
    first = planned(source, out, "other", band=8)
    check_cluster(first, cluster)

    def interrupt(nbytes: int) -> None:
        raise KeyboardInterrupt

    try:
        with first.open() as journal, pytest.raises(KeyboardInterrupt):
            run_on_cluster(first, journal, cluster, advance=interrupt)
        assert nothing_is_left_beside(out)
        second = planned(source, out, "unet", band=8)
        with second.open(overwrite=True) as journal:
            threading.Timer(1.0, Path(go).touch).start()
            run_on_cluster(second, journal, cluster)
    finally:
        Path(go).touch()
        cluster.submit(time.monotonic, workers=[late], pure=False).result()
        cluster.run(let_go, workers=[late])
    assert content(out) == content(tmp_path / "alone.zarr")
    assert check_result(out).faults == ()
    assert nothing_is_left_beside(out)


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_ends_and_a_worker_that_was_stopped_change_nothing_of_the_next_job(
    cluster, nets, tmp_path, end
):
    np.save(tmp_path / "in.npy", image(3, 2100, 20))
    out, go = tmp_path / "out.zarr", tmp_path / "go"
    carried_out(planned(tmp_path / "in.npy", tmp_path / "alone.zarr", "unet"))
    wait_for_both_workers(cluster)
    late = next(iter(cluster.nthreads()))
    (pid,) = cluster.run(os.getpid, workers=[late]).values()
    cluster.run(held_back, str(go), workers=[late])
    arguments = ["job_nets:other", "in.npy", "out.zarr", "--layout", "CHW"]
    code = (
        "import sys; from tests.tile.jobs.cases import *; command_line(sys.argv[1], sys.argv[2:])"
    )
    folders = [str(nets), *sys.path]
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path, *arguments, "--dask", cluster.scheduler.address],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        cwd=Path(__file__).parents[3],
    ) as client:
        while not list(tmp_path.glob(".out.zarr.parts-*/*-*/out.zarr")):
            assert client.poll() is None
            time.sleep(0.02)
        os.kill(pid, signal.SIGSTOP)
        client.send_signal(end)
        assert client.wait() == (130 if end is signal.SIGINT else -signal.SIGKILL)

    def go_on() -> None:
        go.touch()
        os.kill(pid, signal.SIGCONT)

    job = planned(tmp_path / "in.npy", out, "unet")
    threading.Timer(2.0, go_on).start()
    try:
        with job.open(overwrite=True) as journal:
            run_on_cluster(job, journal, cluster)
    finally:
        cluster.submit(time.monotonic, workers=[late], pure=False).result()
        cluster.run(let_go, workers=[late])
    assert content(out) == content(tmp_path / "alone.zarr")
    assert check_result(out).faults == ()


def test_relative_names_are_those_of_the_client(cluster, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folders = cluster.run(os.getcwd)
    for folder, seed in ((tmp_path, 0), (elsewhere, 1)):
        np.save(folder / "in.npy", image(3, 600, 16, seed=seed))
    carried_out(planned(elsewhere / "in.npy", elsewhere / "out.zarr"))
    decoy = content(elsewhere / "out.zarr")
    cluster.run(os.chdir, str(elsewhere))
    try:
        monkeypatch.chdir(tmp_path)
        job = planned(Path("in.npy"), Path("out.zarr"))
        with job.open() as journal:
            run_on_cluster(job, journal, cluster)
    finally:
        for worker, folder in folders.items():
            cluster.run(os.chdir, folder, workers=[worker])
    carried_out(planned(tmp_path / "in.npy", tmp_path / "alone.zarr"))
    assert content(tmp_path / "out.zarr") == content(tmp_path / "alone.zarr")
    assert content(elsewhere / "out.zarr") == decoy


def test_a_worker_that_computes_otherwise_or_lacks_a_module_is_told(cluster, tmp_path, monkeypatch):
    np.save(tmp_path / "in.npy", image(3, 64, 8))
    job, told = planned(tmp_path / "in.npy", tmp_path / "out.zarr"), []
    wait_for_both_workers(cluster)
    odd = next(iter(cluster.nthreads()))
    cluster.run(torch.set_num_threads, 2, workers=[odd])
    try:
        check_cluster(job, cluster, tell=told.append)
    finally:
        cluster.run(torch.set_num_threads, 1, workers=[odd])
    (warning,) = told
    assert "1 of 2 workers compute elsewhere than this machine (threads 1 → 2)" in warning
    (tmp_path / "only_here.py").write_text("from job_nets import unet")
    monkeypatch.syspath_prepend(tmp_path)
    model = job_model("only_here:unet", "1x3x8x8")
    here = plan_job(replace(job.request, model=model))
    with pytest.raises(UsageError, match=r"worker at tcp:.* 'only_here'.* its PYTHONPATH"):
        check_cluster(here, cluster)
    assert not list(tmp_path.glob("*out*"))


def test_a_job_on_a_cluster_writes_zarr_only(cluster, tmp_path):
    np.save(tmp_path / "in.npy", image(3, 64, 8))
    job = planned(tmp_path / "in.npy", tmp_path / "out.npy")
    with job.open() as journal, pytest.raises(UsageError, match=r"name OUT\.zarr"):
        run_on_cluster(job, journal, cluster)


@pytest.mark.parametrize(
    ("net", "global_ops"),
    [
        ("gated", "multipass"),
        pytest.param("attends", "materialise", marks=pytest.mark.slow),
    ],
)
def test_passes_of_a_job_on_a_cluster_that_loses_a_worker_give_what_one_machine_does(
    cluster, tmp_path, net, global_ops
):
    np.save(tmp_path / "in.npy", image(3, 3000, 60))
    options = {"band": 8, "global_ops": global_ops}
    carried_out(planned(tmp_path / "in.npy", tmp_path / "alone.zarr", net, **options))
    job = planned(tmp_path / "in.npy", tmp_path / "out.zarr", net, **options)
    killed = kill_a_worker_after(cluster, 0.3)
    with job.open() as journal:
        run_on_cluster(job, journal, cluster)
    killed.join()
    found, wanted = (zarr.open_array(tmp_path / f"{name}.zarr")[:] for name in ("out", "alone"))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert not list(tmp_path.glob("*.passes*"))
