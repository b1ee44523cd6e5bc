"""Jobs of crops in batches: the same result, also where they are interrupted within one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

from fieldwise.errors import UsageError
from fieldwise.tile.files import AxisLayout, open_source
from fieldwise.tile.jobs import Journal, Request, job_model, plan_job, tiles
from tests.tile.jobs.cases import carried_out, content, enter, image, planned

IN, OUT = Path("in.npy"), Path("out.npy")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save(tmp_path / "in.npy", image(3, 96, 80))


def job(out: Path = OUT, **options):
    return planned(IN, out, engine="halo", tile=options.pop("tile", 16), **options)


def test_batches_give_what_single_crops_give():
    one, many = job(Path("one.npy"), batch=1), job(batch=4)
    assert many.plan.batch == 4
    assert one.plan.batches == ()
    assert many.plan.notes == ("crops of one shape are computed together, at most 4 per call",)
    numbers = [number for batch in many.plan.batches for number in batch]
    assert numbers == [piece.number for piece in many.plan.pieces]
    carried_out(one)
    carried_out(many)
    np.testing.assert_allclose(np.load(OUT), np.load("one.npy"), atol=1e-6)


@pytest.mark.parametrize("after", [1, 6, 13])
def test_a_job_that_is_interrupted_within_a_batch_ends_with_the_same_bytes(monkeypatch, after):
    carried_out(job(Path("whole.npy"), batch=4))
    recorded, whole = list[int](), Journal.record

    def record(self, piece):
        if len(recorded) == after:
            raise KeyboardInterrupt
        recorded.append(piece.piece)
        whole(self, piece)

    with monkeypatch.context() as broken:
        broken.setattr(Journal, "record", record)
        with pytest.raises(KeyboardInterrupt):
            carried_out(job(batch=4))
    carried_out(job(batch=4), resume=True)
    assert content(OUT) == content(Path("whole.npy"))


def test_another_batch_is_another_plan():
    carried_out(job(batch=4))
    with pytest.raises(UsageError):
        job(batch=2).open(resume=True)


def test_less_memory_is_fewer_crops_per_call_first_and_smaller_ones_then():
    memory = 1 << 20
    found = [job(tile=None, batch=4, memory=memory)]
    for _ in range(3):
        found.append(found[-1].in_less_memory())
    assert [one.plan.batch for one in found] == [4, 2, 1, 1]
    tiles = [[axis.tile for axis in one.plan.axes] for one in found]
    assert tiles[:3] == [tiles[0]] * 3
    assert tiles[3] < tiles[0]
    peaks = [one.plan.peak_bytes for one in found]
    assert peaks == sorted(set(peaks), reverse=True)
    assert peaks[0] <= memory


def test_what_does_not_fit_in_a_batch_is_told_with_what_takes_less():
    one = job(batch=1).plan.peak_bytes
    with pytest.raises(UsageError, match=r"4 tiles of 16 x 16 need .* or a smaller --batch"):
        job(batch=4, memory=one + 100)


def test_with_memory_batches_on_a_card_are_what_is_left(monkeypatch):
    one = job(batch=1).plan
    assert job(memory=1 << 20).plan.batch == 1  # on the processor
    monkeypatch.setattr(tiles, "batches_pay", lambda device: True)
    found = job(memory=1 << 20).plan
    assert 1 < found.batch <= (1 << 20) // (one.peak_bytes // 2)
    assert found.peak_bytes <= 1 << 20


@pytest.mark.parametrize("memory", [None, 700_000, 3_000_000])
@pytest.mark.parametrize("stride", [2, 3, 5])
def test_tiles_that_nobody_has_asked_for_are_those_that_the_network_and_a_tiff_file_take(
    stride, memory
):
    net = nn.Sequential(
        nn.Conv2d(3, 4, stride, stride), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1)
    ).eval()
    side = 1200 // stride * stride
    work = tiles.crop_work(net, (1, 3, side, side), dtype=torch.float32, memory=memory)
    sides = [axis.tile for axis in work.plan.axes]
    assert all(one % (16 * stride) == 0 and one < side for one in sides)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("layers:conv8/8 conv8/8", {"engine": "halo"}),
        ("layers:conv8/8 conv12/12", {"engine": "halo"}),
        ("layers:conv8/8 conv8/8", {"cache": "both"}),
        ("layers:conv8/8 conv8/8", {"cache": "rows", "along": 2, "memory": 60_000}),
    ],
)
def test_at_a_wide_stride_what_nobody_has_asked_for_is_as_a_tiff_file_takes_it(model, options):
    np.save("wide.npy", image(1, 2112, 1920))
    network = job_model(model, "1x1x192x192")
    layout = AxisLayout.of("CHW", rank=4)
    asked = Request(network, open_source(Path("wide.npy")), layout, Path("out.tif"), **options)
    found = plan_job(asked)
    assert len(found.plan.pieces) > 1
    carried_out(found)
    carried_out(plan_job(replace(asked, out=Path("whole.npy"), engine="stream", memory=None)))
    np.testing.assert_allclose(tifffile.imread("out.tif"), np.load("whole.npy"), atol=1e-5)


def test_a_tile_that_a_tiff_file_does_not_take_is_refused_where_a_user_asks_for_it():
    np.save("wide.npy", image(1, 2048, 1088))
    network = job_model("layers:conv8/8 conv8/8", "1x1x64x64")
    layout = AxisLayout.of("CHW", rank=4)
    source, out = open_source(Path("wide.npy")), Path("out.tif")
    asked = Request(network, source, layout, out, engine="halo", tile=512)
    with pytest.raises(UsageError, match="multiples of 16, and results come in steps of 8; choose"):
        plan_job(asked)
    with pytest.raises(UsageError, match=r"Tiles of 1024 x 1024 need .* is enough\)\.$"):
        plan_job(replace(asked, tile=None, memory=3 << 20))
