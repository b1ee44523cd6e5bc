"""``fieldwise tile`` on folders and patterns: one model, a result for each file, one summary."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.torch.tile_command import run, whole
from tests.tile.jobs.cases import enter, image

SHAPES = {"a": (3, 64, 32), "b": (3, 40, 48), "c": (3, 96, 16)}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    Path("in").mkdir()
    for name, shape in SHAPES.items():
        np.save(f"in/{name}.npy", image(*shape))


def check(place: str = "out/{}.npy", names: str = "abc") -> None:
    for name in names:
        wanted = whole("unet", image(*SHAPES[name]))[0].numpy()
        np.testing.assert_allclose(np.load(place.format(name)), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("source", "out", "place"),
    [("in", "out", "out/{}.npy"), ("in/*.npy", "done/{stem}_seg.npy", "done/{}_seg.npy"),
     ("in/[a-c].npy", "out", "out/{}.npy")],
)  # fmt: skip
def test_every_file_of_a_folder_or_a_pattern_has_its_result(source, out, place):
    said = run("job_nets:unet", source, out)
    assert said.count("engine  stream") == 1
    assert "2 of 3  in/b.npy: written" in said
    assert said.endswith("3 files: 3 written\n")
    check(place)


def test_the_model_is_built_once(monkeypatch):
    from fieldwise.tile import jobs

    built, made = [], jobs.job_model
    monkeypatch.setattr(jobs, "job_model", lambda *a, **k: built.append(a) or made(*a, **k))
    run("job_nets:unet", "in", "out")
    assert len(built) == 1


def test_what_is_done_is_skipped_and_what_is_damaged_or_new_is_written():
    run("job_nets:unet", "in", "out")
    Path("out/b.npy").unlink()
    Path("out/b.npy.journal").unlink()
    said = run("job_nets:unet", "in", "out", "--resume")
    assert said.endswith("3 files: 1 written, 2 done before\n")
    check()
    failed = run("job_nets:unet", "in", "out", code=1)
    assert failed == ""
    assert run("job_nets:unet", "in", "out", "--overwrite").endswith("3 files: 3 written\n")


def test_a_file_that_cannot_be_read_is_told_first_and_the_others_are_written():
    Path("in/a.npy").write_bytes(b"this is none")
    np.save("in/d.npy", image(3, 61, 31))
    said = run("job_nets:unet", "in", "out", code=1)
    assert said.startswith("failed  in/a.npy: 'in/a.npy' cannot be read as npy")
    check(names="bc")
    report = json.loads(json_of("job_nets:unet", "in", "out", "--overwrite", "--format", "json"))
    states = {Path(one["source"]).stem: one["state"] for one in report["files"]}
    assert states == {"a": "failed", "b": "written", "c": "written", "d": "failed"}
    assert "failed on input 1x3x61x31" in report["files"][3]["why"]
    assert report["files"][1]["why"] is None


def json_of(*args: str) -> str:
    from typer.testing import CliRunner

    from fieldwise.cli import app

    result = CliRunner().invoke(app, ["tile", *args])
    assert result.exit_code == 1
    return result.stdout


def test_what_fails_for_the_first_fails_at_once():
    said = run("job_nets:none", "in", "out", code=2)
    assert "job_nets" in said
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("source", "out", "told"),
    [
        ("*.jpg", "out", "'*.jpg' names no file that can be read; check the path."),
        (
            "in",
            "in/a.npy",
            "'in/a.npy' is a file, and 3 results go to a folder; name one, or write",
        ),
        ("in", "in", "The result 'in/a.npy' is the input itself; name another OUT."),
        (
            "in/*.npy",
            "in/{stem}.x.npy",
            "The result of 'in/a.npy' would be 'in/a.x.npy', which is an input too; name another "
            "folder for OUT, or fewer inputs.",
        ),
        ("in", "out/{stem}.txt", "The suffix of 'out/a.txt' names no format"),
        ("in/a.npy", "{stem}.npy", "names results of several inputs, and IN is a single one"),
    ],
)
def test_places_that_cannot_be_are_told(source, out, told):
    if ".x." in out:
        np.save("in/a.x.npy", image(3, 8, 8))
    assert told in run("job_nets:unet", source, out, code=2)


def test_results_of_one_name_are_told():
    np.savez("in/a.npz", x=image(3, 8, 8))
    said = run("job_nets:unet", "in", "out/{stem}.npy", code=2)
    assert "'in/a.npy' and 'in/a.npz' would both be written as 'out/a.npy'; name fewer" in said
    said = run("job_nets:unet", "in", "out", code=2)
    assert "'in/a.npz' has a suffix in which no result is written; write OUT as" in said


def test_the_plan_is_that_of_the_first_file():
    said = run("job_nets:unet", "in", "out", "--plan")
    assert "reads   in/a.npy" in said
    assert not Path("out").exists()
