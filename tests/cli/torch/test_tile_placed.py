"""``fieldwise tile`` in other types, on other devices, and in the memory that is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fieldwise.capture.torch import devices
from fieldwise.cli import app
from fieldwise.tile.jobs import job as jobs
from tests.tile.jobs.cases import enter, image

UNET = ("job_nets:unet", "in.npy", "out.npy", "--layout", "CHW", "--input", "1x3x8x8")
HALO = ("--engine", "halo", "--tile", "16")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save("in.npy", image(3, 64, 32))


def run(*args, code=0):
    result = CliRunner().invoke(app, ["tile", *map(str, args)])
    assert result.exit_code == code, result.output + result.stderr
    return result.stderr


def whole(dtype=torch.float32):
    import job_nets  # type: ignore[import-not-found]

    x = torch.from_numpy(np.load("in.npy"))[None].to(dtype)
    with torch.no_grad():
        return job_nets.unet().eval().to(dtype)(x)[0].float().numpy()


@pytest.mark.parametrize("how", [(), HALO])
def test_bfloat16_is_what_the_model_gives_in_it_written_as_float32(how):
    run(*UNET, *how, "--dtype", "bfloat16", "--verify")
    found = np.load("out.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, whole(torch.bfloat16))
    assert not np.array_equal(found, whole())


@pytest.mark.parametrize("how", [(), HALO])
def test_under_autocast_a_job_gives_what_the_model_gives_under_it(how):
    run(*UNET, *how, "--autocast", "bfloat16", "--verify")
    with torch.autocast("cpu", torch.bfloat16):
        wanted = whole()
    np.testing.assert_array_equal(np.load("out.npy"), wanted)
    assert not np.array_equal(wanted, whole())


def test_what_autocast_changes_is_another_job():
    run(*UNET)
    told = run(*UNET, "--resume", "--autocast", "bfloat16", code=2)
    assert "--autocast has changed since this job was begun" in told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gpu", "'gpu' is no device; name cpu, cuda, cuda:1 or mps."),
        ("meta", "The meta device holds no values; name cpu, cuda, cuda:1 or mps."),
        ("cuda:99", "leave --device out to compute on the processor."),
    ],
)
def test_a_device_that_is_not_here_is_told(name, told):
    assert told in run(*UNET, "--device", name, code=2)
    assert not Path("out.npy").exists()


def test_the_processor_is_a_device():
    run(*UNET, "--device", "cpu")
    np.testing.assert_allclose(np.load("out.npy"), whole(), atol=1e-5)


def test_a_run_that_goes_on_elsewhere_says_so():
    run(*UNET)
    journal = Path("out.npy.journal")
    header, *rest = journal.read_text().splitlines()
    begun = json.loads(header)
    begun["environment"]["device"] = "cuda:0 a card"
    journal.write_text("\n".join([json.dumps(begun), *rest, ""]))
    told = run(*UNET, "--resume")
    assert "begun elsewhere (device cuda:0 a card → cpu): the last bits may differ" in told


def test_auto_takes_a_power_of_two_of_what_is_free(monkeypatch):
    monkeypatch.setattr(devices, "free_bytes", lambda _: 10_000)
    assert devices.usable_bytes(torch.device("cpu")) == 4096
    monkeypatch.setattr(devices, "free_bytes", lambda _: None)
    assert "give an amount, --memory 4GiB" in run(*UNET, "--memory", "auto", code=2)


def test_the_processor_says_what_is_free():
    free = devices.free_bytes(torch.device("cpu"))
    assert free is not None
    assert free > 1 << 20


def too_large(monkeypatch, most):
    """Plans that hold more bytes than these do not run."""
    whole_run, tried = jobs.run_job, list[int]()

    def run_job(work, *args, **named):
        tried.append(work.plan.peak_bytes)
        if work.plan.peak_bytes > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        whole_run(work, *args, **named)

    monkeypatch.setattr(jobs, "run_job", run_job)
    return tried


@pytest.mark.parametrize("how", [(), ("--engine", "halo")])
def test_what_does_not_fit_is_told_with_what_takes_less(monkeypatch, how):
    tried = too_large(monkeypatch, 0)
    told = run(*UNET, *how, code=2)
    assert f"cpu has too little memory for this plan, which holds {tried[0] / 1024:.1f} KiB" in told
    assert "give less, for example --memory " in told


@pytest.mark.parametrize("how", [(), ("--engine", "halo")])
def test_auto_begins_again_with_less(monkeypatch, how):
    monkeypatch.setattr(devices, "free_bytes", lambda _: 1 << 18)
    tried = too_large(monkeypatch, 1 << 16)
    told = run(*UNET, *how, "--memory", "auto")
    assert "It begins again with half." in told
    assert tried[0] > 1 << 16 >= tried[-1]
    np.testing.assert_allclose(np.load("out.npy"), whole(), atol=1e-5)


def test_other_errors_of_torch_are_not_taken_for_it():
    assert not devices.is_out_of_memory(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert devices.is_out_of_memory(caught.value)
