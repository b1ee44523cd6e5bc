"""A resumed job is cut as it was begun, whatever memory there is now."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from fieldwise.cli import app
from fieldwise.tile.files import FileView
from fieldwise.tile.jobs import begun_cut, journal_path, plan_job
from fieldwise.tile.jobs.cuts import Cut
from tests.tile.jobs.cases import carried_out, enter, image, planned

LITTLE = 60 << 10

ASKED = {
    "bands": {},
    "bands by memory": {"memory": 4 * LITTLE},
    "strips by memory": {"memory": LITTLE},
    "strips that keep rows": {"strip": 30, "piece": 16},
    "strips that keep columns": {"cache": "both", "memory": LITTLE},
    "crops": {"engine": "halo", "batch": 3, "tile": 32},
    "crops by memory": {"engine": "halo", "memory": 2 * LITTLE},
    "one crop": {"engine": "halo"},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save(tmp_path / "in.npy", image(3, 70, 122))
    return tmp_path


def as_asked(folder, **options):
    """The request itself, whose axis is chosen when it is planned."""
    request = planned(folder / "in.npy", folder / "out.npy", **options).request
    return replace(request, along=options.get("along"))


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_what_was_left_open_is_as_it_was_begun(folder, asked):
    begun = planned(folder / "in.npy", folder / "out.npy", **asked)
    cut = Cut.parse(json.loads(json.dumps(begun.cut.plain())))
    for memory in (None, 64 << 20):
        usual = as_asked(folder, memory=memory)
        again = plan_job(usual.as_begun(cut))
        assert again.identity == begun.identity
        assert again.plan.batches == begun.plan.batches


@pytest.mark.parametrize("other", [{"engine": "halo"}, {"cache": "rows"}, {"strip": 12}])
def test_what_is_asked_for_is_not_changed(folder, other):
    begun = planned(folder / "in.npy", folder / "out.npy", cache="both", strip=30)
    asked = as_asked(folder, **other).as_begun(begun.cut)
    assert {name: getattr(asked, name) for name in other} == other
    assert plan_job(asked).identity.plan != begun.identity.plan


@pytest.mark.parametrize(
    "plain",
    [None, [2, 64], {"engine": "other"}, {"engine": "stream", "band": 0}, {"memory": 1},
     {"engine": "halo", "tile": 8}, {"engine": "halo", "tile": ["8"]}, {"cache": "all"}],
)  # fmt: skip
def test_what_is_no_cut_is_none(plain):
    assert Cut.parse(plain) is None


class CrashError(Exception):
    """The machine is gone."""


def test_a_job_in_strips_is_resumed_without_its_options(folder, monkeypatch):
    job = planned(folder / "in.npy", folder / "out.npy", cache="both", strip=30, band=16)
    with monkeypatch.context() as patch:
        writes = []

        def write(self, start, block, *, whole=FileView.write):
            writes.append(start)
            if len(writes) > len(job.plan.pieces) // 2:
                raise CrashError
            whole(self, start, block)

        patch.setattr(FileView, "write", write)
        with pytest.raises(CrashError):
            carried_out(job)
    assert begun_cut(journal_path(folder / "out.npy")) == job.cut
    arguments = ["tile", "job_nets:unet", "in.npy", "out.npy", "--layout", "CHW", "--resume"]
    refused = CliRunner().invoke(app, [*arguments, "--strip", "20"])
    assert refused.exit_code == 2
    assert "since this job was begun with --engine stream --cache both --axis 2 --band 16 " in (
        " ".join(refused.output.split())
    )
    said = CliRunner().invoke(app, [*arguments, "--memory", "auto"])
    assert said.exit_code == 0, said.output
    whole = folder / "whole.npy"
    carried_out(planned(folder / "in.npy", whole, cache="both", strip=30, band=16))
    np.testing.assert_array_equal(np.load(folder / "out.npy"), np.load(whole))


def test_less_memory_than_a_job_was_begun_with_is_less_than_was_asked_for(folder):
    begun = planned(folder / "in.npy", folder / "out.npy", band=64)
    job = plan_job(as_asked(folder).as_begun(begun.cut))
    less = job.in_less_memory()
    assert less.plan.step < begun.plan.step
    assert less.plan.peak_bytes <= job.plan.peak_bytes // 2
