"""Bands within strips give what the whole gives, and memory does not grow with the width."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from fieldwise.errors import UsageError
from fieldwise.tile.bands.choosing import TooLittleError, nearest
from fieldwise.tile.bands.plan import _Tally
from fieldwise.tile.certificate import MismatchError
from fieldwise.tile.errors import TileError
from fieldwise.tile.jobs.banded import BandedInput
from fieldwise.tile.jobs.streams import assembled as joined
from fieldwise.tile.jobs.streams import stream_work
from fieldwise.tile.jobs.strips import strip_widths, strip_work, widest_strip_work
from fieldwise.tile.jobs.work import Output, PieceState
from tests.tile.bands.test_streamed import CASES
from tests.tile.jobs.cases import carried_out, content, enter, image, planned
from tests.tile.jobs.test_job import CrashError, crashing
from tests.tile.jobs.test_sections import assembled

PLANES = [(kind, shape) for kind, shape in CASES if len(shape) > 3]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save(tmp_path / "in.npy", image(3, 60, 200))
    return tmp_path


def worked(model, shape, *, along=2, section=None, **options):
    """Planned along either axis; None where strips are refused."""
    given, across = BandedInput(model, shape, torch.float64, axis=along, **options), 5 - along
    found = None
    for strip in strip_widths(given, across):
        found = strip_work(given, across=across, strip=strip, section=section)
        if len(found.strips) > 2:
            break
    return found


@pytest.mark.parametrize(("kind", "shape"), PLANES, ids=lambda case: getattr(case, "__name__", ""))
@pytest.mark.parametrize(("along", "band", "section"), [(2, 1, 20), (3, 5, 9)])
def test_every_micro_network_gives_in_strips_what_it_gives_whole(kind, shape, along, band, section):
    torch.manual_seed(0)
    shape = (*shape[:2], *(2 * size for size in shape[2:]))
    model, x = kind().double().eval(), torch.randn(shape, dtype=torch.float64)
    with suppress(TileError):  # refused, as tiles along that axis are
        work = worked(model, shape, along=along, section=section, band=band)
        if work is not None:
            (found,) = assembled(work, x.numpy())
            with torch.no_grad():
                np.testing.assert_allclose(found, model(x).numpy(), atol=1e-11)


def test_most_micro_networks_are_cut_into_strips():
    cut = 0
    for kind, shape in PLANES:
        with suppress(TileError):
            model = kind().double().eval()
            shape = (*shape[:2], *(2 * size for size in shape[2:]))
            work = worked(model, shape)
            cut += work is not None and len(work.strips) > 1
    assert cut > len(PLANES) / 2


def test_a_periodic_axis_is_cut_too():
    """The outer strips read both ends of it."""
    net = nn.Conv2d(2, 3, 5, padding=2, padding_mode="circular").double().eval()
    x = torch.randn(1, 2, 24, 64, dtype=torch.float64)
    work = strip_work(BandedInput(net, x.shape, torch.float64, band=4), across=3, strip=16)
    assert {len(one.tile.reads[3]) for one in work.strips} == {1, 2}
    (found,) = joined(work, x.numpy()).values()
    with torch.no_grad():
        np.testing.assert_allclose(found, net(x).numpy(), atol=1e-12)


def test_memory_does_not_grow_with_the_width():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 5, padding=2)).eval()

    def peak(width):
        given = BandedInput(net, (1, 1, 64, width), torch.float32, band=8)
        return strip_work(given, across=3, strip=64).plan.peak_bytes

    assert peak(256) == peak(4096)


def test_strips_become_narrower_by_halves_on_the_grid():
    net = nn.Sequential(nn.MaxPool2d(3), nn.Conv2d(1, 1, 3, padding=1)).eval()
    widths = list(strip_widths(BandedInput(net, (1, 1, 24, 96), torch.float32), 3))
    assert widths == [48, 24, 12, 6, 3]
    wide = list(strip_widths(BandedInput(net, (1, 1, 24, 4000), torch.float32), 3))
    assert all(half * 2 <= one for one, half in pairwise(wide))
    assert [width % 48 for width in wide if width > 48] == [0] * 5


@pytest.mark.parametrize("out", ["out.npy", "out.zarr", "out.tif"])
@pytest.mark.parametrize("net", ["unet", "several"])
def test_a_job_in_strips_that_ends_at_any_step_is_resumed_with_the_same_bytes(
    folder, monkeypatch, out, net
):
    strips = {"along": 2, "strip": 96}
    whole = planned(folder / "in.npy", folder / "whole" / out, net, **strips)
    assert len(whole.plan.pieces) == 3
    carried_out(whole)
    wanted = [content(file.path) for file in whole.files]
    one = planned(folder / "in.npy", folder / "one" / "out.npy", net, along=2)
    carried_out(one)
    if out.endswith("npy"):
        for file, plain in zip(whole.files, one.files, strict=True):
            np.testing.assert_allclose(np.load(file.path), np.load(plain.path), atol=1e-5)
    for moment in (0, 1, 3, 5, 8, 12):
        place = folder / str(moment)
        with monkeypatch.context() as patch, suppress(CrashError):
            crashing(patch, moment)
            carried_out(planned(folder / "in.npy", place / out, net, **strips))
        resumed = planned(folder / "in.npy", place / out, net, **strips)
        carried_out(resumed, resume=True)
        assert [content(file.path) for file in resumed.files] == wanted


def test_where_memory_is_too_little_for_the_width_the_job_is_cut_into_strips(folder):
    wide = planned(folder / "in.npy", folder / "wide.npy", along=2)
    tight = planned(folder / "in.npy", folder / "tight.npy", along=2, memory=12_000, cache="rows")
    assert not wide.plan.axes
    (cut,) = tight.plan.axes
    assert cut.axis == 3
    assert tight.plan.peak_bytes <= 12_000 < wide.plan.peak_bytes
    assert 1 < tight.plan.reread < 3
    carried_out(wide)
    carried_out(tight)
    np.testing.assert_allclose(
        np.load(folder / "tight.npy"), np.load(folder / "wide.npy"), atol=1e-5
    )


def forced(net, shape, memory):
    """What the widest strips that fit come to, or the error, with every plan gone through."""
    given, errors = BandedInput(net, shape, torch.float32, memory=memory), list[UsageError]()
    try:
        return stream_work(given).plan
    except TooLittleError as error:
        errors.append(error)
    for strip in strip_widths(given, 3):
        try:
            return strip_work(given, across=3, strip=strip).plan
        except TooLittleError as error:
            errors.append(error)
    return nearest(errors)


def chosen(net, shape, memory):
    """The same as a job has it."""
    given = BandedInput(net, shape, torch.float32, memory=memory)
    try:
        return stream_work(given).plan
    except TooLittleError as whole:
        try:
            return widest_strip_work(given, across=3, nearest=whole).plan
        except TooLittleError as error:
            return error


def hourglass():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(4), nn.Conv2d(8, 16, 3, padding=1),
        nn.Upsample(scale_factor=4), nn.Conv2d(16, 1, 3, padding=1),
    )  # fmt: skip


NETWORKS = [hourglass, lambda: nn.Conv2d(3, 2, 9, padding=4), lambda: nn.Conv2d(3, 2, (3, 65))]


@pytest.mark.parametrize("net", NETWORKS)
def test_memory_is_enough_for_the_same_strips_and_as_much_is_said_to_be_as_every_plan_says(net):
    model, shape = net().eval(), (1, 3, 96, 160)
    least = forced(model, shape, 1).needed
    most = stream_work(BandedInput(model, shape, torch.float32)).plan.peak_bytes
    strips = set()
    for memory in (1, least - 1, least, *range(least + 1, most, max((most - least) // 6, 1))):
        wanted, found = forced(model, shape, memory), chosen(model, shape, memory)
        if memory < least:
            assert (str(found), found.needed) == (str(wanted), least)
        else:
            assert found == wanted
            assert found.peak_bytes <= memory
            strips.add(found.axes)
    assert len(strips) > 1


def test_too_little_memory_for_any_strips_is_refused_after_one_plan_that_is_gone_through(
    monkeypatch,
):
    """Every band of every width was planned to its end before it was refused."""
    given = BandedInput(hourglass().eval(), (1, 3, 4096, 4096), torch.float32, memory=1)
    with pytest.raises(TooLittleError) as whole:
        stream_work(given)
    plans, finished = [], _Tally.plan
    monkeypatch.setattr(_Tally, "plan", lambda self: plans.append(self) or finished(self))
    with pytest.raises(TooLittleError) as strips:
        widest_strip_work(given, across=3, nearest=whole.value)
    assert strips.value.needed < whole.value.needed
    assert len(plans) == 1


def test_a_job_in_strips_is_compared_with_the_whole(folder, monkeypatch):
    job = planned(folder / "in.npy", folder / "out.npy", along=2, strip=32, band=8)
    assert str(job.verify()).startswith("compared with the whole on 1x3x")
    monkeypatch.setattr(
        "fieldwise.tile.jobs.strips.StripView.__getitem__",
        lambda self, index: np.asarray(self.source[index])[..., : self.shape[3]],
    )
    with pytest.raises(MismatchError):
        job.verify()


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"strip": 33}, TileError, "not a multiple of the stride 2"),
        ({"strip": 32, "net": "gated"}, TileError, "group_norm"),
        ({"strip": 32, "global_ops": "multipass"}, UsageError, "give --strip or --global-ops"),
    ],
)
def test_strips_that_cannot_be_are_refused(folder, options, error, told):
    net = options.pop("net", "unet")
    with pytest.raises(error, match=told):
        planned(folder / "in.npy", folder / "out.npy", net, along=2, **options)


def test_the_files_of_the_whole_decide_how_many_rows_wait():
    seen = []

    def grains(output: Output) -> int:
        seen.append((output.shape, output.steps))
        return 4

    net = nn.Conv2d(1, 1, 3, padding=1).eval()
    given = BandedInput(net, (1, 1, 40, 100), torch.float32, grains=grains)
    work = strip_work(given, across=3, strip=32)
    assert set(seen) == {((1, 1, 40, 100), (None, None, None, 32))}
    parts = list(work.blocks(work.plan.pieces[1], np.zeros((1, 1, 40, 100), "f4")))
    assert all(
        part[1][3] == 32 and part[2].shape[3] == 32
        for part in parts
        if not isinstance(part, PieceState)
    )
